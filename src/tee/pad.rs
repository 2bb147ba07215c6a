// SPDX-License-Identifier: MPL-2.0
//! The src pad: one consumer's settings and what can be read of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use glib::prelude::*;
use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::{Lazy, OnceCell};

use super::allocation::Offer;
use super::branch::Branch;
use super::flush::{Flush, OutOfBand};
use super::inquiry::Overdue;
use super::messages::flow_from;
use super::props::{self, PadSettings, dropped_name};
use super::state::PadState;
use super::stats::{Qos, Timings, saturated};
use super::{DroneTee, lock, now};
use crate::facts::{DropReason, Ledger, State};
use crate::fanout::{ConsumerId, Label, Link, Snapshot, Stamp};

#[derive(Default)]
pub struct DroneTeePad {
    settings: Mutex<PadSettings>,
    /// Element and consumer; set once when the pad is requested.
    membership: OnceCell<(glib::WeakRef<DroneTee>, ConsumerId)>,
    /// Somebody is releasing it.
    released: AtomicBool,
    /// The stream was told that there is no link yet.
    unlinked: AtomicBool,
    /// It was linked, and the RECONFIGURE of that has not come yet.
    reconfigures: AtomicBool,
    /// Taken by the application itself, not by a branch.
    receiver: AtomicBool,
    branch: Mutex<Option<Branch>>,
    pub(super) flush: Flush,
    pub(super) out_of_band: OutOfBand,
    pub(super) overdue: Overdue,
    timings: Mutex<Timings>,
    qos: Mutex<Qos>,
    offer: Mutex<Option<Offer>>,
    /// Frames that went out before its peer was linked.
    before_link: AtomicU64,
    warned_of_latency: AtomicBool,
    /// The last accounts of a pad that was released.
    last: Mutex<Option<Snapshot>>,
}

impl DroneTeePad {
    pub(super) fn join(&self, tee: &DroneTee, receiver: Option<PadSettings>) {
        if let Some(settings) = receiver {
            *lock(&self.settings) = settings;
            self.receiver.store(true, Ordering::Release);
        }
        let limits = self.settings().limits(tee.imp().settings().depth);
        let id = tee.imp().stream.join(self.label(), limits);
        // A pad is requested once.
        let _ = self.membership.set((tee.downgrade(), id));
    }

    pub(super) fn id(&self) -> Option<ConsumerId> {
        self.membership.get().map(|(_, id)| *id)
    }

    pub(super) fn tee(&self) -> Option<DroneTee> {
        self.membership.get()?.0.upgrade()
    }

    pub(super) fn settings(&self) -> PadSettings {
        lock(&self.settings).clone()
    }

    pub(super) fn is_silent(&self) -> bool {
        lock(&self.settings).silent
    }

    pub(super) fn is_receiver(&self) -> bool {
        self.receiver.load(Ordering::Acquire)
    }

    pub(super) fn consumer(&self) -> String {
        let own = lock(&self.settings).consumer.clone();
        own.unwrap_or_else(|| default_consumer(&self.obj().name()))
    }

    fn label(&self) -> Label {
        Label {
            consumer: self.consumer(),
            pad: self.obj().name().into(),
        }
    }

    // ---- life ------------------------------------------------------------------------------

    pub(super) fn activate(&self, active: bool) -> Result<(), gst::LoggableError> {
        let (Some(tee), Some(id)) = (self.tee(), self.id()) else {
            return Ok(());
        };
        if !active {
            tee.imp().stream.deactivate(id, now());
            if let Some(branch) = lock(&self.branch).as_ref() {
                branch.stop();
            }
            return Ok(());
        }
        let pad = self.obj();
        let unlinked = !self.is_receiver() && !pad.is_linked();
        let link = match unlinked {
            true => Link::Missing(gst::FlowReturn::NotLinked.into_glib()),
            false => Link::Made,
        };
        let session = tee.imp().stream.activate(id, link, now());
        self.unlinked.store(unlinked, Ordering::Release);
        // It may have been linked just now, which was told too early.
        self.begin_linked();
        lock(&self.timings).session = Some(session);
        if !self.is_receiver() {
            let branch = Branch::start(&pad, session)
                .map_err(|_| gst::loggable_error!(super::CAT, "No thread for the branch"))?;
            *lock(&self.branch) = Some(branch);
        }
        Ok(())
    }

    /// Has a pad that is linked by now served as one that joins, if the stream does not know of the
    /// link.
    pub(super) fn begin_linked(&self) {
        let is_new = self.unlinked.load(Ordering::Acquire)
            && self.obj().is_linked()
            && self.unlinked.swap(false, Ordering::AcqRel);
        if is_new {
            self.readmit(true);
        }
    }

    fn readmit(&self, repeats: bool) {
        if let (Some(tee), Some(id)) = (self.tee(), self.id()) {
            tee.imp().stream.readmit(id, repeats, now());
        }
    }

    /// RECONFIGURE: the first one after a link brings no news.
    pub(super) fn reconfigure(&self) {
        let is_known = self.reconfigures.swap(false, Ordering::AcqRel);
        self.readmit(!is_known);
    }

    /// Waits for the thread of a pad that was stopped; false if it is stuck.
    pub(super) fn wait_left(&self, deadline: Instant) -> bool {
        let branch = lock(&self.branch).take();
        branch.is_none_or(|branch| branch.wait_left(deadline))
    }

    /// True once: for whoever is the first to release it.
    pub(super) fn begin_release(&self) -> bool {
        !self.released.swap(true, Ordering::AcqRel)
    }

    /// Leaves the stream for good.
    pub(super) fn leave(&self) {
        if let (Some(tee), Some(id)) = (self.tee(), self.id()) {
            let keep = |last| *lock(&self.last) = Some(last);
            tee.imp().stream.leave(id, now(), keep);
        }
    }

    /// New accounts with a new life of the element.
    pub(super) fn reset(&self) {
        *lock(&self.timings) = Timings::default();
        *lock(&self.qos) = Qos::default();
        *lock(&self.offer) = None;
        self.before_link.store(0, Ordering::Relaxed);
        self.warned_of_latency.store(false, Ordering::Relaxed);
    }

    // ---- what was seen ---------------------------------------------------------------------

    pub(super) fn record(&self, stamp: Stamp, waited: u64, service: u64) {
        lock(&self.timings).record(stamp, waited, service);
    }

    pub(super) fn with_timings(&self, read: impl FnOnce(&Timings)) {
        read(&lock(&self.timings));
    }

    pub(super) fn note_qos(&self, event: &gst::event::Qos) {
        let (_, proportion, jitter, _) = event.get();
        let mut qos = lock(&self.qos);
        qos.events += 1;
        qos.proportion = proportion;
        qos.jitter = jitter;
    }

    pub(super) fn qos(&self) -> Qos {
        *lock(&self.qos)
    }

    pub(super) fn remember_offer(&self, offer: Offer) {
        *lock(&self.offer) = Some(offer);
    }

    pub(super) fn last_offer(&self) -> Option<Offer> {
        lock(&self.offer).clone()
    }

    /// True from the second call on.
    pub(super) fn warned_of_latency(&self) -> bool {
        self.warned_of_latency.swap(true, Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let living = self
            .tee()
            .zip(self.id())
            .and_then(|(tee, id)| tee.imp().stream.snapshot_of(id, now()));
        living.or_else(|| lock(&self.last).clone())
    }

    pub(super) fn state(&self) -> State {
        self.snapshot().map_or(State::Ok, |snapshot| snapshot.state)
    }

    /// Whether frames have reached the branch and it lives, and whether it failed.
    pub(super) fn standing(&self) -> (bool, bool) {
        self.snapshot().map_or((false, false), |snapshot| {
            let failed = snapshot.state == State::Failed;
            let before = self.before_link.load(Ordering::Relaxed);
            (frames_begun(&snapshot) > before && !failed, failed)
        })
    }

    /// Whether frames have reached what is linked now, and may be there still.
    pub(super) fn may_hold_frames(&self) -> bool {
        let before = self.before_link.load(Ordering::Relaxed);
        let begun = self.snapshot().as_ref().map_or(0, frames_begun);
        self.obj().is_linked() && begun > before
    }

    fn set(&self, change: impl FnOnce(&mut PadSettings)) {
        change(&mut lock(&self.settings));
        self.apply();
        if let Some(tee) = self.tee() {
            tee.imp().apply_report();
            tee.imp().renew_if_outgrown();
        }
    }

    /// Brings the settings to the core, where they take effect at once.
    pub(super) fn apply(&self) {
        let (Some(tee), Some(id)) = (self.tee(), self.id()) else {
            return;
        };
        let limits = || self.settings().limits(tee.imp().settings().depth);
        tee.imp().stream.set_label(id, || self.label(), now());
        tee.imp().stream.set_limits(id, limits, now());
    }

    fn ledger_value(&self, name: &str, ledger: &Ledger) -> Option<u64> {
        Some(match name {
            "in" => ledger.frames_in,
            "out" => ledger.frames_out,
            "in-flight" => ledger.in_flight,
            "dropped" => ledger.dropped.total(),
            _ => {
                let counted = |reason: &DropReason| dropped_name(*reason) == name;
                ledger
                    .dropped
                    .get(DropReason::ALL.into_iter().find(counted)?)
            }
        })
    }
}

/// Frames that were handed to the branch.
fn frames_begun(snapshot: &Snapshot) -> u64 {
    snapshot.ledger.frames_out + snapshot.ledger.in_flight
}

/// The pad's name without `src_`; a number alone keeps it.
fn default_consumer(pad: &str) -> String {
    match pad.strip_prefix("src_") {
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => pad.to_owned(),
    }
}

#[glib::object_subclass]
impl ObjectSubclass for DroneTeePad {
    const NAME: &'static str = "GstDroneTeePad";
    type Type = super::DroneTeePad;
    type ParentType = gst::Pad;
}

impl ObjectImpl for DroneTeePad {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(props::pad);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        macro_rules! set {
            ($field:ident) => {{
                // The type was checked by GObject.
                if let Ok(value) = value.get() {
                    self.set(|settings| settings.$field = value);
                }
            }};
        }
        match pspec.name() {
            "consumer" => set!(consumer),
            "depth" => set!(depth),
            "max-size-bytes" => set!(max_size_bytes),
            "max-size-time" => set!(max_size_time),
            "max-age" => set!(max_age),
            "max-lag" => set!(max_lag),
            "silent" => set!(silent),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings();
        match pspec.name() {
            "consumer" => return self.consumer().to_value(),
            "depth" => return settings.depth.to_value(),
            "max-size-bytes" => return settings.max_size_bytes.to_value(),
            "max-size-time" => return settings.max_size_time.to_value(),
            "max-age" => return settings.max_age.to_value(),
            "max-lag" => return settings.max_lag.to_value(),
            "silent" => return settings.silent.to_value(),
            _ => {}
        }
        let Some(snapshot) = self.snapshot() else {
            return pspec.default_value().clone();
        };
        match pspec.name() {
            "current-level-buffers" => saturated(snapshot.ledger.waiting).to_value(),
            "current-level-bytes" => saturated(snapshot.bytes).to_value(),
            "current-level-time" => snapshot.time.to_value(),
            "is-healthy" => snapshot.state.is_healthy().to_value(),
            "state" => PadState::from(snapshot.state).to_value(),
            "last-flow" => flow_from(snapshot.flow).to_value(),
            "stats" => self
                .tee()
                .map(|tee| tee.imp().pad_stats(&self.obj(), &snapshot))
                .to_value(),
            name => match self.ledger_value(name, &snapshot.ledger) {
                Some(count) => count.to_value(),
                None => pspec.default_value().clone(),
            },
        }
    }
}

impl GstObjectImpl for DroneTeePad {}
impl PadImpl for DroneTeePad {
    /// A link that was made with NO_RECONFIGURE is told by this alone.
    fn linked(&self, peer: &gst::Pad) {
        self.parent_linked(peer);
        // What is known of the branch is of the one before.
        *lock(&self.offer) = None;
        self.overdue.forgive();
        self.flush.abandon();
        self.out_of_band.abandon();
        let begun = self.snapshot().as_ref().map_or(0, frames_begun);
        self.before_link.store(begun, Ordering::Relaxed);
        self.reconfigures.store(true, Ordering::Release);
        self.readmit(true);
        if self.unlinked.swap(false, Ordering::AcqRel) {
            // It may have been activated as one without a link since.
            self.readmit(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::default_consumer;

    #[test]
    fn consumers_are_named_after_their_pads() {
        assert_eq!(default_consumer("src_detection_client"), "detection_client");
        assert_eq!(default_consumer("src_0"), "src_0");
        assert_eq!(default_consumer("src_2nd"), "2nd");
    }
}
