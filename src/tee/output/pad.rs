// SPDX-License-Identifier: MPL-2.0
//! The src pad: one consumer's settings, who takes from it, and what can be read of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::{Lazy, OnceCell};

use super::branch::Branch;
use super::label::Label;
use super::member::Member;
use super::names::default_consumer;
use super::peer::Peer;
use crate::facts::{ConsumerLimits, DropReason, Ledger, QosReport, State};
use crate::fanout::{ConsumerId, Link, Stamp};
use crate::tee::flows::flow_from;
use crate::tee::props::{self, PadSettings, dropped_name};
use crate::tee::state::PadState;
use crate::tee::stats::pad_stats;
use crate::tee::timings::Timings;
use crate::tee::{CAT, Snapshot, lock, now, saturated};

/// Who takes from the pad's queue.
enum Service {
    /// A thread of the pad's, which pushes into what is linked.
    Branch(Branch),
    /// The application itself.
    Receiver,
}

#[derive(Default)]
pub struct DroneTeePad {
    settings: Mutex<PadSettings>,
    /// Set once, when the pad is requested.
    member: OnceCell<Arc<Member>>,
    service: OnceCell<Service>,
    /// The first thread that releases the pad sets it.
    released: AtomicBool,
    timings: Mutex<Timings>,
    qos: Mutex<QosReport>,
    warned_of_latency: AtomicBool,
    /// The last accounts of a pad that was released.
    last: Mutex<Option<Snapshot>>,
}

impl DroneTeePad {
    /// A receiver has its settings from the start.
    pub(in crate::tee) fn join(&self, member: Member, receiver: Option<PadSettings>) {
        let member = Arc::new(member);
        let service = match receiver {
            Some(settings) => {
                *lock(&self.settings) = settings;
                Service::Receiver
            }
            None => Service::Branch(Branch::new(&self.obj(), &member)),
        };
        // A pad is requested once.
        let _ = self.service.set(service);
        let _ = self.member.set(member);
    }

    pub(in crate::tee) fn member(&self) -> Option<&Arc<Member>> {
        self.member.get()
    }

    pub(in crate::tee) fn id(&self) -> Option<ConsumerId> {
        self.member().map(|member| member.id)
    }

    pub(in crate::tee) fn settings(&self) -> PadSettings {
        lock(&self.settings).clone()
    }

    /// Frames that may wait, if the element's depth is this.
    pub(in crate::tee) fn depth(&self, element_depth: u32) -> u32 {
        let depth = self.settings().limits(element_depth).depth;
        u32::try_from(depth).unwrap_or(props::MAX_DEPTH)
    }

    pub(super) fn sends_loss_events(&self) -> bool {
        lock(&self.settings).loss_events
    }

    /// What may wait, in force; with a `depth` of zero before the pad has joined.
    pub(in crate::tee) fn limits(&self) -> ConsumerLimits {
        let element_depth = self.member().map(|member| member.settings.get().depth);
        let limits = self.settings().limits(element_depth.unwrap_or_default());
        props::plain_limits(&limits)
    }

    pub(in crate::tee) fn is_silent(&self) -> bool {
        lock(&self.settings).silent
    }

    pub(in crate::tee) fn consumer(&self) -> String {
        let own = lock(&self.settings).consumer.clone();
        own.unwrap_or_else(|| default_consumer(&self.obj().name()))
    }

    fn label(&self) -> Label {
        self.label_for(lock(&self.settings).consumer.clone())
    }

    /// How a consumer is called that was given this name, or none.
    pub(in crate::tee) fn label_for(&self, consumer: Option<String>) -> Label {
        let pad = self.obj();
        let consumer = consumer.unwrap_or_else(|| default_consumer(&pad.name()));
        Label::new(consumer, &pad)
    }

    // ---- life ------------------------------------------------------------------------------

    pub(in crate::tee) fn activate(&self, active: bool) -> Result<(), gst::LoggableError> {
        let Some(member) = self.member() else {
            return Ok(());
        };
        match (active, self.branch()) {
            (true, Some(branch)) => {
                let begun = |session| lock(&self.timings).session = Some(session);
                branch.begin(&self.obj(), &self.consumer(), begun)?;
            }
            (true, None) => {
                let replays = lock(&self.settings).replays;
                let link = if replays { Link::Made } else { Link::Live };
                let session = member.stream.activate(member.id, link, now());
                lock(&self.timings).session = Some(session);
            }
            (false, Some(branch)) => branch.end(),
            (false, None) => member.stream.deactivate(member.id, now()),
        }
        Ok(())
    }

    /// What serves the branch behind the pad; `None` for the pad of a receiver.
    pub(in crate::tee) fn branch(&self) -> Option<&Branch> {
        match self.service.get()? {
            Service::Branch(branch) => Some(branch),
            Service::Receiver => None,
        }
    }

    pub(in crate::tee) fn is_receiver(&self) -> bool {
        matches!(self.service.get(), Some(Service::Receiver))
    }

    /// Waits for the thread of a pad that was stopped; false if it is stuck.
    pub(in crate::tee) fn wait_left(&self, deadline: Instant) -> bool {
        self.branch()
            .is_none_or(|branch| branch.wait_left(deadline))
    }

    /// True for the first thread that releases the pad.
    pub(in crate::tee) fn begin_release(&self) -> bool {
        !self.released.swap(true, Ordering::AcqRel)
    }

    pub(in crate::tee) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// Leaves the stream for good.
    pub(in crate::tee) fn leave(&self) {
        if let Some(member) = self.member() {
            let keep = |last| *lock(&self.last) = Some(last);
            let label = self.label().leaving();
            member.stream.leave(member.id, label, now(), keep);
        }
        if let Some(branch) = self.branch() {
            branch.leave();
        }
    }

    /// New accounts with a new life of the element.
    pub(in crate::tee) fn reset(&self) {
        *lock(&self.timings) = Timings::default();
        *lock(&self.qos) = QosReport::default();
        if let Some(branch) = self.branch() {
            branch.forget();
        }
        self.warned_of_latency.store(false, Ordering::Relaxed);
    }

    // ---- the branch ------------------------------------------------------------------------

    /// What is known of the branch; of a receiver nothing is.
    pub(in crate::tee) fn peer(&self) -> Arc<Peer> {
        self.branch().map_or_else(Arc::default, Branch::peer)
    }

    /// Whether frames have reached what is linked now, and may be there still.
    pub(in crate::tee) fn may_hold_frames(&self) -> bool {
        self.peer().was_reached()
    }

    /// Whether frames have reached the branch and it lives, and whether it failed.
    pub(in crate::tee) fn standing(&self) -> (bool, bool) {
        let Some(snapshot) = self.snapshot() else {
            return (false, false);
        };
        let failed = snapshot.state == State::Failed;
        let ledger = &snapshot.ledger;
        let reached = match self.is_receiver() {
            true => ledger.frames_out + ledger.in_flight > 0,
            false => self.may_hold_frames(),
        };
        (reached && !failed, failed)
    }

    // ---- what was seen ---------------------------------------------------------------------

    pub(in crate::tee) fn record(&self, session: Stamp, waited: u64, service: u64) {
        lock(&self.timings).record(session, waited, service);
    }

    pub(in crate::tee) fn with_timings(&self, read: impl FnOnce(&Timings)) {
        read(&lock(&self.timings));
    }

    pub(in crate::tee) fn note_qos(&self, event: &gst::event::Qos) {
        let (_, proportion, jitter, _) = event.get();
        let mut qos = lock(&self.qos);
        qos.events += 1;
        // JSON has no other numbers.
        qos.proportion = if proportion.is_finite() {
            proportion
        } else {
            0.0
        };
        qos.jitter = jitter;
    }

    pub(in crate::tee) fn qos(&self) -> QosReport {
        *lock(&self.qos)
    }

    /// True from the second call on.
    pub(in crate::tee) fn warned_of_latency(&self) -> bool {
        self.warned_of_latency.swap(true, Ordering::Relaxed)
    }

    pub(in crate::tee) fn snapshot(&self) -> Option<Snapshot> {
        let living = self
            .member()
            .and_then(|member| member.stream.snapshot_of(member.id, now()));
        living.or_else(|| lock(&self.last).clone())
    }

    pub(in crate::tee) fn state(&self) -> State {
        self.snapshot().map_or(State::Ok, |snapshot| snapshot.state)
    }

    pub(in crate::tee) fn set(&self, change: impl FnOnce(&mut PadSettings)) {
        change(&mut lock(&self.settings));
        self.apply();
        if let Some(member) = self.member() {
            (member.changed)();
        }
    }

    /// Names the consumer, `None` after its pad; a name that another pad's has is refused.
    fn set_consumer(&self, name: Option<String>) {
        let pad = self.obj().name();
        let consumer = name.clone().unwrap_or_else(|| default_consumer(&pad));
        let set = || lock(&self.settings).consumer = name;
        let Some(member) = self.member() else {
            return set();
        };
        match member
            .names
            .rename(&pad, &consumer, || self.is_released(), set)
        {
            Ok(()) => self.apply(),
            Err(by) => {
                let still = self.consumer();
                gst::error!(
                    CAT,
                    obj = self.obj(),
                    "Its consumer is still '{still}': {by}"
                );
            }
        }
    }

    /// Brings the settings to the core, where they take effect at once.
    pub(in crate::tee) fn apply(&self) {
        let Some(member) = self.member() else { return };
        let limits = || self.settings().limits(member.settings.get().depth);
        let enabled = || lock(&self.settings).enabled;
        member.stream.set_label(member.id, || self.label(), now());
        member.stream.set_limits(member.id, limits, now());
        member.stream.set_enabled(member.id, enabled, now());
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

#[glib::object_subclass]
impl ObjectSubclass for DroneTeePad {
    const NAME: &'static str = "GstDroneTeePad";
    /// With another copy of the crate in the process, see `registration`.
    const ALLOW_NAME_CONFLICT: bool = true;
    type Type = crate::tee::DroneTeePad;
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
            "consumer" => {
                // The type was checked by GObject.
                if let Ok(name) = value.get() {
                    self.set_consumer(name);
                }
            }
            "depth" => set!(depth),
            "max-size-bytes" => set!(max_size_bytes),
            "max-size-time" => set!(max_size_time),
            "max-age" => set!(max_age),
            "max-lag" => set!(max_lag),
            "enabled" => set!(enabled),
            "loss-events" => set!(loss_events),
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
            "enabled" => return settings.enabled.to_value(),
            "loss-events" => return settings.loss_events.to_value(),
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
            "stats" => pad_stats(&self.obj(), &snapshot).to_value(),
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
        if let Some(branch) = self.branch() {
            branch.linked(peer);
        }
    }

    fn unlinked(&self, peer: &gst::Pad) {
        self.parent_unlinked(peer);
        if let Some(branch) = self.branch() {
            branch.unlinked(peer);
        }
    }
}
