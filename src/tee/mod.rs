// SPDX-License-Identifier: MPL-2.0
//! The element: a frame's way is sink → fan-out → queue → branch → out.
//!
//! # Threads
//!
//! | thread | runs | may be held up by | for how long |
//! | --- | --- | --- | --- |
//! | upstream's, with a frame or an event | the sink pad's chain and event functions; frees the frames that no window holds any more | its own requests upstream; what the free of a buffer runs | as long as these take |
//! | upstream's, with a query | asks the branches, by helpers or by the branches' threads | branches that are busy or hang | serialized: 20 ms in all; others: 500 ms in all, once for a branch that hangs |
//! | that of a flush, often the application's | the sink pad's event function; pushes FLUSH_STOP into branches that are done with their frames | branches that are busy or hang | FLUSH_START: 20 ms in all; FLUSH_STOP: 20 ms in all, 10 ms more for each busy branch whose thread is just taking, and 500 ms in all when the stream flows again, once for a branch that hangs; in FLUSH_STOP itself without bound |
//! | a branch's or the application's, with an event or a query to a src pad | the src pad's functions; passes most on upstream | upstream | as long as that takes |
//! | the application's, with a property or a new pad | brings it to the core; RECONFIGURE upstream if more frames may be out | upstream | as long as that takes |
//! | the application's, with a receiver (`api/`) | takes in its place | nothing but an empty queue | as the application says |
//! | a src pad's, one a session (`task.rs`) | takes, pushes, puts serialized queries to its branch; before EOS has the summary told | its branch; handlers, before EOS | without bound; 200 ms |
//! | a helper (`helpers.rs`) | FLUSH_START, FLUSH_STOP to a branch that is busy, what is not serialized, CAPS and ACCEPT_CAPS queries, what a branch's own event makes necessary; asks upstream whether it is live; posts a sink's STREAM_START and EOS for receivers | a branch, upstream, or the application's handlers | without bound |
//! | the reporter (`reporter.rs`) | posts messages, notifies properties | the application's handlers | without bound |
//! | the application's, a state change to READY or below | ends the sessions | pushes, handlers and helpers that have not returned | 1 s in all, and 10 ms for each pad |
//! | the application's, a release or deactivation of a pad | ends its session | a push that is just beginning; the end of the thread | 10 ms; 1 ms |
//! | the watcher (`pool.rs`), while the size of upstream's pool is not known | gives frames back when upstream is silent | what the free of a buffer runs | without bound |
//! | one that joins a task (`session.rs`) | nothing else | a push that hung in a session that is over | without bound |
//!
//! No element in a branch is called from a thread in which it has just called this one with an event or
//! a query: it may hold its locks.
//!
//! # Locks
//!
//! In this order; a lock may be taken while those above it are held. None is held across a push, an event, a
//! query, a message, a notify or a callback.
//!
//! | lock | what it guards |
//! | --- | --- |
//! | the role as a sink (`role.rs`) | which receivers there are, and which end they were handed; also held over the object locks of elements |
//! | the core's (`fanout`) | the log, the consumers and their accounts; [`fanout`](crate::fanout) says over which closures it is held |
//! | names (`names.rs`) | which pads and consumers there are; held over the element's object lock and over a pad's settings |
//! | settings of the element, settings of a pad | what properties set; read under the core's lock, so that of two that are set at once the last one stays |
//! | a pad's last accounts | left there under the core's lock when the pad is released |
//! | session, peer slot | which thread and which branch a pad has now; a session's is held over its baton, a slot over its peer's lanes |
//! | baton, lane | who may push; events on their way around the frames; held over the progress of the session that waits |
//! | progress of a session or of the reporter | how far its thread is |
//! | timings, QoS, a peer's offer and latency, what the sink pad knows of the stream (`input.rs`), what ALLOCATION was promised, answers to a query, helpers under way, observers, the reporter's thread | each alone |

mod answers;
mod as_sink;
mod asking;
mod element;
mod flows;
mod guard;
mod helpers;
mod imp;
mod input;
mod input_losses;
mod item;
mod latency;
mod messages;
mod negotiation;
mod notice;
mod observers;
mod output;
mod pace;
mod pool;
mod props;
mod receivers;
mod registration;
mod reporter;
mod role;
mod state;
mod stats;
mod timings;
mod voices;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fanout::{self, Fanout};
pub(crate) use item::Item;
pub use notice::Notice;
pub(crate) use observers::Observer;
use once_cell::sync::Lazy;
pub(crate) use output::{Label, Refusal};
pub(crate) use props::MAX_DEPTH;
pub(crate) use receivers::{Handle, Place, ReceiverLimits, Replayed, reason_of};
pub(crate) use registration::{dronetee, register};

pub(crate) static CAT: Lazy<gst::DebugCategory> = Lazy::new(|| {
    gst::DebugCategory::new(
        "dronetee",
        gst::DebugColorFlags::empty(),
        Some("Lossy fan-out of video frames"),
    )
});

pub(crate) type Stream = Fanout<gst::Buffer, Item, Label>;
pub(crate) type Snapshot = fanout::Snapshot<Label>;

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
    /// with why, and the others get theirs:
    ///
    /// ```text
    /// … ! dronetee name=t  t.src_detection_client ! slow  t.src_telemetry ! fast
    /// ```
    pub struct DroneTee(ObjectSubclass<element::DroneTee>)
        @extends gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

glib::wrapper! {
    /// A src pad of [`DroneTee`]: one consumer, with its limits and its accounts as properties.
    pub struct DroneTeePad(ObjectSubclass<output::DroneTeePad>)
        @extends gst::Pad, gst::Object;
}

/// Monotonic time, ns; never zero, which stands for "never" in the accounts.
#[inline]
pub(crate) fn now() -> u64 {
    // That of `Instant`, which takes twice as long to be made a number of.
    gst::get_timestamp().nseconds()
}

/// Levels are 32 bits wide, as those of `queue`.
fn saturated(level: u64) -> u32 {
    u32::try_from(level).unwrap_or(u32::MAX)
}

/// Locks are held for a look or a change of their own data; the core's alone may be held over those
/// of settings and of a pad's last accounts, which are read and left under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic leaves them half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
