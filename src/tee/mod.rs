// SPDX-License-Identifier: MPL-2.0
//! The element: a frame's way is `sink` → fan-out → `branch` → out.

mod allocation;
mod caps;
mod consumers;
mod helpers;
mod imp;
mod inquiry;
mod item;
mod latency;
mod messages;
mod output;
mod props;
mod receiver;
mod reporter;
mod sink;
mod state;
mod stats;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use glib::prelude::*;

use crate::fanout::Fanout;
pub(crate) use item::Item;
use once_cell::sync::Lazy;
pub(crate) use receiver::ReceiverPad;

pub(crate) static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "dronetee",
        gst::DebugColorFlags::empty(),
        Some("Lossy fan-out of video frames"),
    )
});

pub(crate) type Stream = Fanout<gst::Buffer, Item>;

glib::wrapper! {
    /// The element `dronetee`: one stream in, one leaky queue and one streaming thread per src pad.
    ///
    /// `tee ! queue leaky=downstream` drops frames without a trace, lets a branch's EOS, error or
    /// QoS reach the others, and waits behind a full queue for every caps change:
    ///
    /// ```text
    /// … ! tee name=t  t. ! queue leaky=downstream ! slow  t. ! queue leaky=downstream ! fast
    /// ```
    ///
    /// Here each consumer that does not keep up loses its own oldest frames, counted and tagged
    /// with why, and nobody else notices:
    ///
    /// ```text
    /// … ! dronetee name=t  t.src_detection_client ! slow  t.src_telemetry ! fast
    /// ```
    pub struct DroneTee(ObjectSubclass<imp::DroneTee>)
        @extends gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

glib::wrapper! {
    /// A src pad of [`DroneTee`]: one consumer, with its limits and its accounts as properties.
    pub struct DroneTeePad(ObjectSubclass<output::DroneTeePad>)
        @extends gst::Pad, gst::Object;
}

/// Monotonic time, ns.
pub(crate) fn now() -> u64 {
    static START: Lazy<Instant> = Lazy::new(Instant::now);
    // Not zero at the first call: zero stands for "never" in the accounts.
    START.elapsed().as_nanos() as u64 + 1
}

pub(crate) fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, "dronetee", gst::Rank::NONE, DroneTee::static_type())
}

/// Locks are held for a look or a change of their own data; the core's alone may be held over those
/// of settings and of a pad's last accounts, which are read and left under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic leaves them half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
