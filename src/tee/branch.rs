// SPDX-License-Identifier: MPL-2.0
//! A src pad's streaming thread: take, flag DISCONT, push, keep the flow.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use glib::prelude::*;
use glib::translate::IntoGlib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::item::Item;
use super::{CAT, DroneTeePad, imp, lock, now};
use crate::facts::DropReason;
use crate::fanout::{Done, Outcome, Stamp, Taken, TakenFrame};

/// Wakes a thread that parks.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker for the running thread, which waits by [`std::thread::park`].
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// The thread of one activation of a src pad.
pub(super) struct Branch {
    task: gst::Task,
    left: Arc<Left>,
}

#[derive(Default)]
struct Left {
    left: Mutex<bool>,
    changed: Condvar,
}

impl Branch {
    /// Starts the thread, which ends when `session` does.
    ///
    /// It is a task of its own rather than the pad's: the pad's could not be stopped without
    /// waiting for a push that may never return.
    pub(super) fn start(pad: &DroneTeePad, session: Stamp) -> Result<Self, glib::BoolError> {
        let left = Arc::new(Left::default());
        let [weak, entering, leaving] = [pad.downgrade(), pad.downgrade(), pad.downgrade()];
        let signal = left.clone();
        let task_lock = gst::TaskLock::new();
        let task = gst::Task::builder(move |task| {
            if let Some(pad) = weak.upgrade()
                && let Some(tee) = pad.imp().tee()
            {
                tee.imp()
                    .catch_panic(|| (), |tee| serve(tee, &pad, session));
            }
            // Failing to stop would mean that it is stopped.
            let _ = task.stop();
        })
        .lock(&task_lock)
        .enter_callback(move |task| post_status(&entering, task, gst::StreamStatusType::Enter))
        .leave_callback(move |task| {
            post_status(&leaving, task, gst::StreamStatusType::Leave);
            *lock(&signal.left) = true;
            signal.changed.notify_all();
        })
        .build();
        task.set_property("name", pad.imp().consumer());
        post_status(&pad.downgrade(), &task, gst::StreamStatusType::Create);
        task.start()?;
        Ok(Self { task, left })
    }

    /// Ends the thread as soon as its push returns; does not wait for that.
    pub(super) fn stop(&self) {
        // Failing to stop would mean that it is stopped.
        let _ = self.task.stop();
    }

    /// Waits until the thread has ended, at most until `deadline`; false if it has not.
    pub(super) fn wait_left(&self, deadline: Instant) -> bool {
        let left = lock(&self.left.left);
        let patience = deadline.saturating_duration_since(Instant::now());
        let (left, _) = self
            .left
            .changed
            .wait_timeout_while(left, patience, |left| !*left)
            .unwrap_or_else(PoisonError::into_inner);
        *left
    }
}

fn post_status(pad: &glib::WeakRef<DroneTeePad>, task: &gst::Task, type_: gst::StreamStatusType) {
    let Some(pad) = pad.upgrade() else { return };
    let Some(element) = pad.imp().tee() else {
        return;
    };
    let message = gst::message::StreamStatus::builder(type_, element.upcast_ref())
        .status_object(task)
        .src(&pad)
        .build();
    // Nobody listens without a bus.
    let _ = element.post_message(message);
}

/// Serves the branch until its pad is stopped.
fn serve(tee: &imp::DroneTee, pad: &DroneTeePad, session: Stamp) {
    let Some(id) = pad.imp().id() else { return };
    let waker = thread_waker();
    let mut spare = None;
    let mut peer_was_inactive = false;
    let mut was_evicted = false;
    let mut done = None;
    loop {
        spare.get_or_insert_with(|| waker.clone());
        let taken = match done.take() {
            Some((done, at)) => tee
                .stream
                .finish_and_take(id, done, session, at, &mut spare),
            None => tee.stream.take(id, session, now(), &mut spare),
        };
        match taken {
            Taken::Wait => std::thread::park(),
            Taken::Closed(_) | Taken::Superseded(_) => return,
            Taken::Event(Item::Event(event), stamp) => {
                // After its EOS the peer needs a stream-start, of which it knows this one.
                let event = if was_evicted { event.copy() } else { event };
                let is_current = || tee.stream.is_current(id, stamp);
                deliver_event(tee, pad, event, is_current);
            }
            Taken::Event(Item::Query(ask), _) => ask.put_to(pad),
            Taken::Evicted => {
                pad.imp().flush.deliver_stop(pad);
                gst::warning!(CAT, obj = pad, "Evicted, ending the branch");
                pad.push_event(gst::event::Eos::new());
                was_evicted = true;
            }
            Taken::Resumed => {
                peer_was_inactive = false;
                pad.imp().flush.deliver_stop(pad);
            }
            Taken::Frame(frame) => {
                was_evicted = false;
                if std::mem::take(&mut peer_was_inactive) {
                    send_sticky_again(pad);
                }
                let (pushed, at) = push(pad, frame);
                peer_was_inactive = pushed.outcome == Outcome::Lost(DropReason::Flushing);
                done = Some((pushed, at));
            }
        }
    }
}

fn deliver_event(
    tee: &imp::DroneTee,
    pad: &DroneTeePad,
    event: gst::Event,
    is_current: impl Fn() -> bool,
) {
    gst::debug!(CAT, obj = pad, "Passing on {event:?}");
    let type_ = event.type_();
    if type_ == gst::EventType::Eos {
        tee.tell_before_end();
    }
    if type_ == gst::EventType::Eos || !type_.is_sticky() {
        // Whoever is linked now gets it after the frames that are kept for it; the link may be a
        // moment older than the word of it.
        if !pad.is_linked() {
            return;
        }
        pad.imp().begin_linked();
        if !is_current() {
            return;
        }
    }
    if type_ == gst::EventType::Eos {
        // A pad refuses a second one.
        pad.unset_pad_flags(gst::PadFlags::EOS);
    }
    if !pad.push_event(event) {
        gst::debug!(CAT, obj = pad, "The branch did not take the event");
    }
}

/// A peer that was stopped and started has forgotten what the pad believes it to know.
fn send_sticky_again(pad: &DroneTeePad) {
    let mut events = Vec::new();
    pad.sticky_events_foreach(|event| {
        events.push(event.copy());
        std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
    });
    for event in events {
        pad.push_event(event);
    }
}

/// Pushes the frame; what came of it, and when.
fn push(pad: &DroneTeePad, taken: TakenFrame<gst::Buffer>) -> (Done, u64) {
    let buffer = flagged(taken.frame, taken.discont);
    gst::trace!(CAT, obj = pad, "Pushing {buffer:?}");
    let flow = pad.push(buffer);
    let at = now();
    let service = at.saturating_sub(taken.at);
    pad.imp().record(taken.stamp, taken.waited, service);
    let outcome = outcome(flow);
    if let Outcome::Ended(reason) = outcome {
        gst::info!(
            CAT,
            obj = pad,
            "The branch said {flow:?}: drops are {reason} from now on"
        );
    }
    let done = Done {
        stamp: taken.stamp,
        outcome,
        flow: gst::FlowReturn::from(flow).into_glib(),
    };
    (done, at)
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

/// The same memory, with DISCONT set if that can be had without a copy.
pub(super) fn flagged(mut buffer: gst::Buffer, discont: bool) -> gst::Buffer {
    if !discont || buffer.flags().contains(gst::BufferFlags::DISCONT) {
        return buffer;
    }
    if let Some(own) = buffer.get_mut() {
        own.set_flags(gst::BufferFlags::DISCONT);
        return buffer;
    }
    let no_share = |memory: &gst::MemoryRef| memory.flags().contains(gst::MemoryFlags::NO_SHARE);
    if buffer.iter_memories().any(no_share) {
        return buffer;
    }
    // Shares the memories; a pool gets the original back only when this one is gone.
    let mut flagged = buffer.copy();
    let shares = buffer
        .iter_memories()
        .map(gst::MemoryRef::as_ptr)
        .eq(flagged.iter_memories().map(gst::MemoryRef::as_ptr));
    match flagged.get_mut() {
        Some(own) if shares => own.set_flags(gst::BufferFlags::DISCONT),
        // Memory that somebody has mapped for writing is copied by GStreamer.
        _ => return buffer,
    }
    flagged
}

/// How long a stop waits for pushes to return.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(1);
