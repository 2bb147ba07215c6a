// SPDX-License-Identifier: MPL-2.0
//! What serves the branch behind one src pad: its link, its session, and what goes around the frames.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use glib::prelude::*;
use glib::translate::IntoGlib;

use super::around::{self, Lane};
use super::member::Member;
use super::peer::{Peer, PeerSlot};
use super::session::{Baton, Course, Session};
use super::task;
use crate::fanout::{Link, Stamp};
use crate::tee::{CAT, DroneTeePad, lock, now};

pub(in crate::tee) struct Branch {
    pad: glib::WeakRef<DroneTeePad>,
    member: Arc<Member>,
    peer: PeerSlot,
    session: Mutex<Option<Session>>,
    baton: Baton,
}

impl Branch {
    pub(super) fn new(pad: &DroneTeePad, member: &Arc<Member>) -> Self {
        Self {
            pad: pad.downgrade(),
            member: member.clone(),
            peer: PeerSlot::default(),
            session: Mutex::default(),
            baton: Baton::default(),
        }
    }

    // ---- the link --------------------------------------------------------------------------

    /// What is known of the branch; its link may be a moment older than the word of it.
    pub(in crate::tee) fn peer(&self) -> Arc<Peer> {
        self.peer.current()
    }

    /// The branch that is linked now; the consumer is served again if it is a new one.
    pub(in crate::tee) fn sync(&self, pad: &DroneTeePad) -> Arc<Peer> {
        let readmit = || self.member.readmit(true);
        self.peer.sync(pad, readmit, |lane| self.start(lane))
    }

    pub(super) fn linked(&self, peer: &gst::Pad) {
        let readmit = || self.member.readmit(true);
        self.peer.linked(peer, readmit, |lane| self.start(lane));
    }

    pub(super) fn unlinked(&self, peer: &gst::Pad) {
        if let Some(pad) = self.pad.upgrade() {
            self.peer.unlinked(&pad, peer, |lane| self.start(lane));
        }
    }

    fn start(&self, lane: &Lane) {
        if let Some(pad) = self.pad.upgrade() {
            lane.start(&self.member.helpers, &pad);
        }
    }

    /// RECONFIGURE: the first one after a link brings no news.
    pub(in crate::tee) fn reconfigure(&self) {
        self.member.readmit(self.peer.reconfigure());
    }

    // ---- sessions --------------------------------------------------------------------------

    /// The pad was activated; `begun` gets the session before anything is taken in it.
    pub(super) fn begin(
        &self,
        pad: &DroneTeePad,
        name: &str,
        begun: impl FnOnce(Stamp),
    ) -> Result<(), gst::LoggableError> {
        let member = &self.member;
        let was_linked = self.sync(pad).is_linked();
        let link = if was_linked {
            Link::Made
        } else {
            Link::Missing(gst::FlowReturn::NotLinked.into_glib())
        };
        let stamp = member.stream.activate(member.id, link, now());
        begun(stamp);
        if !was_linked && self.sync(pad).is_linked() {
            // Linked just now, which was told before the core could note it.
            member.readmit(true);
        }
        let own = member.clone();
        let serve = move |pad: &_, course: &_| task::serve(pad, &own, stamp, course);
        let session = Session::start(pad, name, &self.baton, serve)
            .map_err(|_| gst::loggable_error!(CAT, "No thread for the branch"))?;
        let old = lock(&self.session).replace(session);
        drop(old);
        Ok(())
    }

    /// The pad was deactivated, and refuses what is pushed: a thread that is not in the branch ends soon.
    pub(super) fn end(&self) {
        self.member.stream.deactivate(self.member.id, now());
        let course = lock(&self.session).as_ref().map(|session| {
            session.stop();
            session.course.clone()
        });
        self.peer().flush.wake();
        if let Some(course) = course {
            // What it took before must not come after what the next session pushes.
            course.wait_refused();
        }
    }

    /// Waits for the thread of a session that was ended; false if it is stuck.
    pub(super) fn wait_left(&self, deadline: Instant) -> bool {
        let session = lock(&self.session).take();
        session.is_none_or(|session| session.wait_left(deadline))
    }

    /// The pad is released: its thread is not waited for.
    pub(super) fn leave(&self) {
        let session = lock(&self.session).take();
        drop(session);
    }

    /// The element starts anew: nothing is known of the branch but its link.
    pub(super) fn forget(&self) {
        self.peer.forget();
    }

    // ---- around the frames -----------------------------------------------------------------

    /// FLUSH_START: by a helper, as elements wait for their own stuck threads in it.
    pub(in crate::tee) fn start_flush(&self, event: gst::Event) {
        if let Some(pad) = self.pad.upgrade() {
            self.send(&pad, event, |peer| &peer.flush);
        }
    }

    /// Waits until the branch has got the start of a flush; one that hangs in an earlier one is not
    /// waited for.
    pub(in crate::tee) fn wait_flushing(&self, deadline: Instant) {
        self.peer().flush.wait_begun(deadline);
    }

    /// Waits until the branch has got the end of a flush; one that hangs in an earlier one is not waited
    /// for.
    pub(in crate::tee) fn wait_flushed(&self, deadline: Instant) {
        self.peer().flush.wait_delivered_once(deadline);
    }

    /// FLUSH_STOP: by the calling thread, which may hold locks that the branch needs. Behind a FLUSH_START,
    /// which the branch may still need, or a frame that has not returned by `deadline` a helper delivers it;
    /// and to a branch linked amid the flush, which may be at a FLUSH_START of a link before.
    pub(in crate::tee) fn stop_flush(&self, event: gst::Event, deadline: Instant) {
        let Some(pad) = self.pad.upgrade() else {
            return;
        };
        let peer = self.sync(&pad);
        let course = lock(&self.session).as_ref().map(|one| one.course.clone());
        peer.note_flush();
        let is_free = |course: &Arc<_>| Course::wait_idle(course, deadline);
        let has_start = || peer.flush.began_flush() && !around::lacks_start(&pad);
        if peer.flush.wait_delivered(deadline)
            && (!peer.is_linked() || has_start())
            && course.as_ref().is_none_or(is_free)
        {
            around::pass(&pad, event);
            return;
        }
        self.send(&pad, event, |peer| &peer.flush);
        if let Some(course) = course {
            // It looks whether a flush is under way before it takes: it must not have looked before.
            course.wait_taken();
        }
    }

    /// Has a helper deliver `event` to the branch that is linked when it is put on its way.
    fn send(&self, pad: &DroneTeePad, mut event: gst::Event, lane: impl Fn(&Peer) -> &Lane) {
        let mut peer = self.sync(pad);
        while let Err(refused) = lane(&peer).send(&self.member.helpers, pad, event) {
            event = refused;
            let old = std::mem::replace(&mut peer, self.sync(pad));
            if Arc::ptr_eq(&old, &peer) {
                gst::warning!(CAT, obj = pad, "There is no thread for {event:?}");
                return;
            }
        }
    }

    /// Waits until what the branch's thread has taken is pushed, however long that takes.
    pub(super) fn wait_pushed(&self) {
        let course = lock(&self.session).as_ref().map(|one| one.course.clone());
        if let Some(course) = course {
            course.wait_pushed();
        }
    }

    /// An event that is not serialized, by a helper.
    pub(in crate::tee) fn send_around(&self, event: gst::Event) {
        if let Some(pad) = self.pad.upgrade() {
            self.send(&pad, event, |peer| &peer.out_of_band);
        }
    }
}
