// SPDX-License-Identifier: MPL-2.0
//! What the thread of a src pad does: take, flag DISCONT, push, say what came of it.

use std::sync::Arc;

use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::buffer::flagged;
use super::member::Member;
use super::peer::Peer;
use super::session::{Course, Phase};
use crate::facts::DropReason;
use crate::fanout::{Done, Outcome, Stamp, Taken, TakenFrame};
use crate::park::thread_waker;
use crate::tee::item::is_around;
use crate::tee::{CAT, DroneTeePad, Item, now};

/// Which sticky events come once more, as the branch may not know what GstPad believes it to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Repeat {
    #[default]
    No,
    /// From the first one on that a branch does not have which was linked during a push.
    Missing,
    /// To a branch that was stopped and started.
    All,
}

/// The sticky events from the first one on that the peer does not have.
fn missing_events(pad: &DroneTeePad) -> Vec<gst::Event> {
    let mut events = sticky_events(pad);
    let held = pad.peer().map_or(Vec::new(), |peer| sticky_events(&peer));
    let is_held = |event: &gst::Event| held.iter().any(|one| one.as_ptr() == event.as_ptr());
    let first = events.iter().position(|event| !is_held(event));
    events.drain(..first.unwrap_or(events.len()));
    events
}

fn sticky_events(pad: &impl IsA<gst::Pad>) -> Vec<gst::Event> {
    let mut events = Vec::new();
    pad.as_ref().sticky_events_foreach(|event| {
        events.push(event.clone());
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    events
}

/// What the thread of a session works with, and what it remembers from one push to the next.
struct Task<'a> {
    pad: &'a DroneTeePad,
    member: &'a Member,
    course: &'a Course,
    repeats: Repeat,
    /// The peer refused the last frame as flushing, after so many flushes: without another it was
    /// stopped, and has forgotten what GstPad believes it to know.
    was_refused: Option<u32>,
    was_evicted: bool,
}

/// Serves the branch until the session is over.
pub(super) fn serve(pad: &DroneTeePad, member: &Member, session: Stamp, course: &Course) {
    let waker = thread_waker();
    let mut spare = None;
    let mut task = Task::new(pad, member, course);
    let mut done = None;
    loop {
        spare.get_or_insert_with(|| waker.clone());
        course.enter(Phase::Taking);
        let peer = task.sync();
        if peer.flush.is_busy() {
            if let Some((done, at)) = done.take() {
                member.stream.finish(member.id, done, at);
            }
            // What comes next is for after the flush, of which the branch does not know the end yet.
            course.enter(Phase::Idle);
            peer.flush.wait_delivered_or(|| course.is_stopped());
            if course.is_stopped() {
                return;
            }
            continue;
        }
        let taken = match done.take() {
            Some((done, at)) => member
                .stream
                .finish_and_take(member.id, done, session, at, &mut spare),
            None => member.stream.take(member.id, session, now(), &mut spare),
        };
        match taken {
            Taken::Frame(frame) => done = Some(task.push(&peer, frame)),
            Taken::Wait => {
                course.enter(Phase::Idle);
                std::thread::park();
            }
            Taken::Event(Item::Event(event), stamp) => task.deliver(event, stamp),
            Taken::Event(Item::Query(question), _) => {
                task.pushing(|pad| question.put_to(pad, &peer));
            }
            Taken::Evicted => task.evict(),
            Taken::Resumed => {}
            Taken::Closed(_) | Taken::Superseded(_) | Taken::Cancelled | Taken::Released => return,
        }
    }
}

impl<'a> Task<'a> {
    fn new(pad: &'a DroneTeePad, member: &'a Member, course: &'a Course) -> Self {
        Self {
            pad,
            member,
            course,
            repeats: Repeat::No,
            was_refused: None,
            was_evicted: false,
        }
    }

    fn sync(&self) -> Arc<Peer> {
        let branch = self.pad.imp().branch();
        branch.map_or_else(Arc::default, |branch| branch.sync(self.pad))
    }

    /// Pushes, but for a session that is over. A link that is made while the branch of before is at it
    /// takes what is pushed for delivered.
    fn pushing<T>(&mut self, push: impl FnOnce(&DroneTeePad) -> T) -> Option<T> {
        let before = self.pad.peer();
        if !self.course.may_push() {
            return None;
        }
        let result = push(self.pad);
        // To a first branch GstPad itself sends all: what is repeated would come twice.
        let is_relinked = before.is_some() && self.pad.peer() != before;
        if is_relinked && self.repeats == Repeat::No {
            self.repeats = Repeat::Missing;
        }
        Some(result)
    }

    /// Sends the sticky events once more that the branch may not have; from the beginning for a branch
    /// that is linked meanwhile.
    fn repeat_sticky(&mut self) {
        loop {
            let events = match std::mem::take(&mut self.repeats) {
                Repeat::No => return,
                Repeat::Missing => missing_events(self.pad),
                Repeat::All => sticky_events(self.pad),
            };
            for event in events {
                self.pushing(|pad| send(pad, event.copy()));
                if self.repeats != Repeat::No {
                    break;
                }
            }
        }
    }

    fn deliver(&mut self, event: gst::Event, stamp: Stamp) {
        gst::debug!(CAT, obj = self.pad, "Passing on {event:?}");
        let is_end = event.type_() == gst::EventType::Eos;
        if is_end {
            // Handlers run meanwhile, which may stop this session: it is no time to wait for this.
            self.course.enter(Phase::Pushing);
            self.member.reporter.send_before_end();
        }
        // A branch that is linked now gets the end and what is not sticky after the frames that are kept
        // for it; the link may be a moment older than the word of it.
        if (is_end || !event.is_sticky()) && !self.is_for_branch(stamp) {
            return;
        }
        self.repeat_sticky();
        if is_end {
            // A pad refuses a second one.
            self.pad.unset_pad_flags(gst::PadFlags::EOS);
        }
        // After its EOS the branch needs a stream-start, of which it knows this one.
        let event = if self.was_evicted {
            event.copy()
        } else {
            event
        };
        if self.pushing(|pad| send(pad, event)) != Some(true) {
            gst::debug!(CAT, obj = self.pad, "The branch did not take the event");
        }
    }

    fn is_for_branch(&self, stamp: Stamp) -> bool {
        let is_linked = self.sync().is_linked();
        is_linked && self.member.stream.is_current(self.member.id, stamp)
    }

    fn evict(&mut self) {
        gst::warning!(CAT, obj = self.pad, "Evicted, ending the branch");
        self.pushing(|pad| pad.push_event(gst::event::Eos::new()));
        self.was_evicted = true;
    }

    /// Pushes the frame; what came of it, and when.
    fn push(&mut self, peer: &Peer, taken: TakenFrame<gst::Buffer>) -> (Done, u64) {
        self.was_evicted = false;
        let flushes = peer.flushes();
        if self.was_refused.take() == Some(flushes) {
            self.repeats = Repeat::All;
        }
        self.repeat_sticky();
        let is_first = peer.note_frame();
        let told = self.tell_loss(taken.lost_before, taken.sequence);
        let buffer = flagged(taken.frame, taken.discont);
        gst::trace!(CAT, obj = self.pad, "Pushing {buffer:?}");
        let flow = self.pushing(|pad| pad.push(buffer));
        let flow = flow.unwrap_or(Err(gst::FlowError::Flushing));
        if is_first && flow == Err(gst::FlowError::NotNegotiated) {
            peer.note_refusal();
        }
        let at = now();
        let service = at.saturating_sub(taken.at);
        self.pad.imp().record(taken.stamp, taken.waited, service);
        let outcome = outcome(flow);
        self.was_refused = (outcome == Outcome::Lost(DropReason::Flushing)).then_some(flushes);
        if let Outcome::Ended(reason) = outcome {
            gst::info!(
                CAT,
                obj = self.pad,
                "The branch said {flow:?}: drops are {reason} from now on"
            );
        }
        // A branch that took the frame had the event too, whatever it said of that.
        let is_untold = !told && outcome != Outcome::Delivered;
        let done = Done {
            stamp: taken.stamp,
            outcome,
            flow: gst::FlowReturn::from(flow).into_glib(),
            untold: if is_untold { taken.lost_before } else { 0 },
        };
        (done, at)
    }

    /// Tells the branch how many frames were lost before the one with that number, if it wants to know.
    /// False if the branch did not take it; some elements say so of each event that they do not know.
    fn tell_loss(&mut self, count: u64, sequence: u64) -> bool {
        if count == 0 || !self.pad.imp().sends_loss_events() {
            return true;
        }
        let loss = gst::Structure::builder("dronetee-loss")
            .field("count", count)
            .field("sequence", sequence)
            .build();
        let event = gst::event::CustomDownstream::new(loss);
        self.pushing(|pad| pad.push_event(event)) == Some(true)
    }
}

/// A sticky event that is not serialized waits at the pad for what comes next: pushed, it comes twice.
fn send(pad: &DroneTeePad, event: gst::Event) -> bool {
    if is_around(event.type_()) {
        pad.store_sticky_event(&event).is_ok()
    } else {
        pad.push_event(event)
    }
}

fn outcome(flow: Result<gst::FlowSuccess, gst::FlowError>) -> Outcome {
    match flow {
        Ok(_) => Outcome::Delivered,
        Err(gst::FlowError::Flushing) => Outcome::Lost(DropReason::Flushing),
        Err(gst::FlowError::NotLinked) => Outcome::Ended(DropReason::NotLinked),
        Err(gst::FlowError::Eos) => Outcome::Ended(DropReason::Eos),
        Err(_) => Outcome::Ended(DropReason::Error),
    }
}
