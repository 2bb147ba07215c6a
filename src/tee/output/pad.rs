// SPDX-License-Identifier: MPL-2.0
//! The src pad: one consumer's settings, its session and its peer, and what can be read of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use glib::prelude::*;
use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::{Lazy, OnceCell};

use super::peer::{Peer, PeerSlot};
use super::session::{Baton, Course, Session};
use super::task;
use crate::facts::{DropReason, Ledger, State};
use crate::fanout::{ConsumerId, Label, Link, Snapshot, Stamp};
use crate::tee::helpers::Helpers;
use crate::tee::messages::flow_from;
use crate::tee::props::{self, PadSettings, dropped_name};
use crate::tee::reporter::Reporter;
use crate::tee::state::PadState;
use crate::tee::stats::{Qos, Timings, saturated};
use crate::tee::{CAT, DroneTee, Stream, lock, now};

/// Whose consumer the pad is, and who takes from it.
pub(in crate::tee) struct Member {
    pub(in crate::tee) tee: glib::WeakRef<DroneTee>,
    pub(in crate::tee) stream: Arc<Stream>,
    pub(in crate::tee) helpers: Helpers,
    pub(in crate::tee) reporter: Arc<Reporter>,
    pub(in crate::tee) id: ConsumerId,
    /// Taken by the application itself, not by a branch.
    pub(in crate::tee) is_receiver: bool,
}

#[derive(Default)]
pub struct DroneTeePad {
    settings: Mutex<PadSettings>,
    /// Set once, when the pad is requested.
    member: OnceCell<Arc<Member>>,
    /// The first thread that releases the pad sets it.
    released: AtomicBool,
    peer: PeerSlot,
    session: Mutex<Option<Session>>,
    baton: Baton,
    timings: Mutex<Timings>,
    qos: Mutex<Qos>,
    warned_of_latency: AtomicBool,
    /// The last accounts of a pad that was released.
    last: Mutex<Option<Snapshot>>,
}

impl DroneTeePad {
    pub(in crate::tee) fn join(&self, member: Member, settings: Option<PadSettings>) {
        if let Some(settings) = settings {
            *lock(&self.settings) = settings;
        }
        // A pad is requested once.
        let _ = self.member.set(Arc::new(member));
    }

    pub(in crate::tee) fn member(&self) -> Option<&Arc<Member>> {
        self.member.get()
    }

    pub(in crate::tee) fn id(&self) -> Option<ConsumerId> {
        self.member().map(|member| member.id)
    }

    pub(in crate::tee) fn tee(&self) -> Option<DroneTee> {
        self.member()?.tee.upgrade()
    }

    pub(in crate::tee) fn settings(&self) -> PadSettings {
        lock(&self.settings).clone()
    }

    pub(in crate::tee) fn is_silent(&self) -> bool {
        lock(&self.settings).silent
    }

    pub(in crate::tee) fn is_receiver(&self) -> bool {
        self.member().is_some_and(|member| member.is_receiver)
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
        let pad = self.obj().name();
        Label {
            consumer: consumer.unwrap_or_else(|| default_consumer(&pad)),
            pad: pad.into(),
        }
    }

    // ---- sessions --------------------------------------------------------------------------

    pub(in crate::tee) fn activate(&self, active: bool) -> Result<(), gst::LoggableError> {
        let Some(member) = self.member().cloned() else {
            return Ok(());
        };
        if active {
            self.begin_session(&member)
        } else {
            self.end_session(&member);
            Ok(())
        }
    }

    fn begin_session(&self, member: &Arc<Member>) -> Result<(), gst::LoggableError> {
        let was_linked = self.sync_peer().is_linked();
        let link = if was_linked || member.is_receiver {
            Link::Made
        } else {
            Link::Missing(gst::FlowReturn::NotLinked.into_glib())
        };
        let stamp = member.stream.activate(member.id, link, now());
        lock(&self.timings).session = Some(stamp);
        if !was_linked && self.sync_peer().is_linked() {
            // Linked just now, which was told before the core could note it.
            self.readmit(true);
        }
        if member.is_receiver {
            return Ok(());
        }
        let own = member.clone();
        let serve = move |pad: &_, course: &_| task::serve(pad, &own, stamp, course);
        let session = Session::start(&self.obj(), &self.consumer(), &self.baton, serve)
            .map_err(|_| gst::loggable_error!(CAT, "No thread for the branch"))?;
        let old = lock(&self.session).replace(session);
        drop(old);
        Ok(())
    }

    /// GStreamer has made the pad refuse what is pushed: a thread that is not in the branch ends soon.
    fn end_session(&self, member: &Member) {
        member.stream.deactivate(member.id, now());
        let course = lock(&self.session).as_ref().map(|session| {
            session.stop();
            session.course.clone()
        });
        self.peer.current().flush.wake();
        if let Some(course) = course {
            // What it took before must not come after what the next session pushes.
            course.wait_refused();
        }
    }

    /// Waits for the thread of a pad that was stopped; false if it is stuck.
    pub(in crate::tee) fn wait_left(&self, deadline: Instant) -> bool {
        let session = lock(&self.session).take();
        session.is_none_or(|session| session.wait_left(deadline))
    }

    /// True for the first thread that releases the pad.
    pub(in crate::tee) fn begin_release(&self) -> bool {
        !self.released.swap(true, Ordering::AcqRel)
    }

    /// Leaves the stream for good.
    pub(in crate::tee) fn leave(&self) {
        if let Some(member) = self.member() {
            let keep = |last| *lock(&self.last) = Some(last);
            member.stream.leave(member.id, now(), keep);
        }
        let session = lock(&self.session).take();
        drop(session);
    }

    /// New accounts with a new life of the element.
    pub(in crate::tee) fn reset(&self) {
        *lock(&self.timings) = Timings::default();
        *lock(&self.qos) = Qos::default();
        self.peer.forget();
        self.warned_of_latency.store(false, Ordering::Relaxed);
    }

    // ---- the branch ------------------------------------------------------------------------

    /// The branch that is linked now; the consumer is served again if it is a new one.
    pub(in crate::tee) fn sync_peer(&self) -> Arc<Peer> {
        self.peer.sync(&*self.obj(), || self.readmit(true))
    }

    fn readmit(&self, repeats: bool) {
        if let Some(member) = self.member() {
            member.stream.readmit(member.id, repeats, now());
        }
    }

    /// RECONFIGURE: the first one after a link brings no news.
    pub(in crate::tee) fn reconfigure(&self) {
        let is_news = self.peer.reconfigure();
        self.readmit(is_news);
    }

    /// FLUSH_START to a branch: by a helper, as elements wait for their own stuck threads in it.
    pub(in crate::tee) fn start_flush(&self, event: gst::Event) {
        if let Some(member) = self.branch() {
            let peer = self.sync_peer();
            peer.flush.send(&member.helpers, &self.obj(), event);
        }
    }

    /// Waits until the branch has got the start or the end of a flush; one that hangs in an earlier
    /// one is not waited for.
    pub(in crate::tee) fn wait_flushed(&self, deadline: Instant) {
        self.peer.current().flush.wait_delivered_once(deadline);
    }

    /// FLUSH_STOP to a branch: by the calling thread, which may hold locks that the branch needs. Behind a
    /// FLUSH_START or a frame that has not returned by `deadline` a helper delivers it.
    pub(in crate::tee) fn stop_flush(&self, event: gst::Event, deadline: Instant) {
        let Some(member) = self.branch() else { return };
        let peer = self.sync_peer();
        let course = lock(&self.session).as_ref().map(|one| one.course.clone());
        peer.note_flush();
        let is_free = |course: &Arc<_>| Course::wait_idle(course, deadline);
        if peer.flush.wait_delivered(deadline) && course.as_ref().is_none_or(is_free) {
            self.obj().push_event(event);
            return;
        }
        peer.flush.send(&member.helpers, &self.obj(), event);
        if let Some(course) = course {
            // It looks whether a flush is under way before it takes: it must not have looked before.
            course.wait_taken();
        }
    }

    /// An event that is not serialized, by a helper.
    pub(in crate::tee) fn send_around(&self, event: gst::Event) {
        if let Some(member) = self.branch() {
            let peer = self.sync_peer();
            peer.out_of_band.send(&member.helpers, &self.obj(), event);
        }
    }

    /// The membership of a pad that a branch can be behind.
    fn branch(&self) -> Option<&Arc<Member>> {
        self.member().filter(|member| !member.is_receiver)
    }

    /// Whether frames have reached what is linked now, and may be there still.
    pub(in crate::tee) fn may_hold_frames(&self) -> bool {
        self.peer.current().was_reached()
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

    pub(in crate::tee) fn peer(&self) -> Arc<Peer> {
        self.peer.current()
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
        qos.proportion = proportion;
        qos.jitter = jitter;
    }

    pub(in crate::tee) fn qos(&self) -> Qos {
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

    fn set(&self, change: impl FnOnce(&mut PadSettings)) {
        change(&mut lock(&self.settings));
        self.apply();
        if let Some(tee) = self.tee() {
            tee.imp().apply_report();
            tee.imp().renew_if_outgrown();
        }
    }

    /// Brings the settings to the core, where they take effect at once.
    pub(in crate::tee) fn apply(&self) {
        let (Some(tee), Some(member)) = (self.tee(), self.member()) else {
            return;
        };
        let limits = || self.settings().limits(tee.imp().settings().depth);
        member.stream.set_label(member.id, || self.label(), now());
        member.stream.set_limits(member.id, limits, now());
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
        self.peer.linked(peer, || self.readmit(true));
    }

    fn unlinked(&self, peer: &gst::Pad) {
        self.parent_unlinked(peer);
        self.peer.unlinked(&*self.obj(), peer);
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
