// SPDX-License-Identifier: MPL-2.0
//! Events that go around the frames: FLUSH_START and FLUSH_STOP, and those that are not serialized.
//!
//! They must reach a branch whose thread is stuck in a push, and a branch that hangs in its handler
//! must not hold up upstream. So a helper thread delivers them, one at a time and in order.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::tee::helpers::Helpers;
use crate::tee::{CAT, DroneTeePad, lock};

/// Hands `event` to the branch that is linked. The end of a flush alone would take the segment from frames that wait in the
/// branch, and wait for a sink that prerolls.
pub(super) fn pass(pad: &DroneTeePad, event: gst::Event) {
    let ends_flush = event.type_() == gst::EventType::FlushStop;
    if ends_flush && lacks_start(pad) {
        let start = gst::event::FlushStart::builder().seqnum(event.seqnum());
        pad.push_event(start.build());
    }
    match ends_flush && !is_flushing_behind(pad) {
        true => end_flush(pad),
        false => _ = pad.push_event(event),
    }
}

/// The first element was linked or restarted amid the flush. Those further down may know of it, and wait for its end: the
/// branch gets all of it.
pub(super) fn lacks_start(pad: &DroneTeePad) -> bool {
    is_active(pad) && pad.pad_flags().contains(gst::PadFlags::FLUSHING) && !is_flushing_behind(pad)
}

/// False if the pad is linked to one that knows of no flush.
fn is_flushing_behind(pad: &DroneTeePad) -> bool {
    let is_flushing = |peer: gst::Pad| peer.pad_flags().contains(gst::PadFlags::FLUSHING);
    pad.peer().is_none_or(is_flushing)
}

fn is_active(pad: &DroneTeePad) -> bool {
    pad.mode() != gst::PadMode::None
}

/// What GStreamer does to a src pad that passes FLUSH_STOP on.
fn end_flush(pad: &DroneTeePad) {
    if !is_active(pad) {
        return;
    }
    use gst::EventType::{Eos, Segment, StreamGroupDone};
    remove_sticky(pad, |event| {
        [Eos, Segment, StreamGroupDone].contains(&event.type_())
    });
    pad.unset_pad_flags(gst::PadFlags::EOS | gst::PadFlags::FLUSHING);
}

/// The pad forgets its sticky events that are over.
pub(super) fn remove_sticky(pad: &DroneTeePad, is_over: impl Fn(&gst::Event) -> bool) {
    pad.sticky_events_foreach(|event| {
        std::ops::ControlFlow::Continue(match is_over(event) {
            true => gst::EventForeachAction::Remove,
            false => gst::EventForeachAction::Keep,
        })
    });
}

/// No more events wait for a branch that hangs in one.
const MAX_WAITING: usize = 256;

/// Events of one kind on their way to one branch.
#[derive(Clone, Default)]
pub(in crate::tee) struct Lane(Arc<Shared>);

#[derive(Default)]
struct Shared {
    events: Mutex<Events>,
    changed: Condvar,
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<gst::Event>,
    /// A helper thread delivers; set when it is started, cleared by itself when none waits.
    delivering: bool,
    /// The branch is linked no longer: what waits is not for the one that is.
    abandoned: bool,
    /// FLUSH_START was sent: the branch has got it when nothing is on its way.
    began_flush: bool,
    /// A thread of upstream's has waited in vain; cleared when all is delivered.
    overdue: bool,
}

impl Events {
    fn is_busy(&mut self) -> bool {
        self.delivering && !self.abandoned
    }

    /// The oldest one, if too many wait.
    fn excess(&mut self) -> Option<gst::Event> {
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        self.waiting.pop_front()
    }
}

impl Lane {
    /// Has a helper thread deliver `event` after those that wait; gives it back if another branch is
    /// linked now.
    pub(in crate::tee) fn send(
        &self,
        helpers: &Helpers,
        pad: &DroneTeePad,
        event: gst::Event,
    ) -> Result<(), gst::Event> {
        let (excess, was_busy) = {
            let mut events = lock(&self.0.events);
            if events.abandoned {
                return Err(event);
            }
            events.began_flush |= event.type_() == gst::EventType::FlushStart;
            events.waiting.push_back(event);
            let excess = events.excess();
            (excess, std::mem::replace(&mut events.delivering, true))
        };
        if let Some(event) = excess {
            gst::warning!(CAT, obj = pad, "The branch hangs, {event:?} is dropped");
        }
        if !was_busy {
            self.start(helpers, pad);
        }
        Ok(())
    }

    /// Has a helper thread deliver what waits.
    pub(super) fn start(&self, helpers: &Helpers, pad: &DroneTeePad) {
        let (lane, target) = (self.clone(), pad.clone());
        if !helpers.run(move || lane.deliver(&target)) {
            gst::error!(CAT, obj = pad, "No thread for what goes around the stream");
            drop(self.abandon());
        }
    }

    fn deliver(&self, pad: &DroneTeePad) {
        loop {
            // A frame or an end of before the flush must not come after it. The end of the flush stays in
            // the lane meanwhile: from there it is taken over if another branch is linked.
            if self.is_stop_next()
                && let Some(branch) = pad.imp().branch()
            {
                branch.wait_pushed();
            }
            let Some(event) = self.next() else { break };
            gst::debug!(CAT, obj = pad, "Passing on {event:?} around the stream");
            pass(pad, event);
        }
    }

    fn is_stop_next(&self) -> bool {
        let events = lock(&self.0.events);
        let next = events.waiting.front();
        next.is_some_and(|event| event.type_() == gst::EventType::FlushStop)
    }

    fn next(&self) -> Option<gst::Event> {
        let mut events = lock(&self.0.events);
        let event = events.waiting.pop_front();
        events.delivering = event.is_some();
        if event.is_none() {
            events.overdue = false;
            self.0.changed.notify_all();
        }
        event
    }

    /// Another branch is linked now: nothing more goes to the old one, nothing waits for it. Returns what
    /// waited.
    pub(super) fn abandon(&self) -> VecDeque<gst::Event> {
        let waiting = {
            let mut events = lock(&self.0.events);
            events.abandoned = true;
            std::mem::take(&mut events.waiting)
        };
        self.0.changed.notify_all();
        waiting
    }

    /// A lane that `event` waits in, until [`start`](Self::start).
    pub(super) fn holding(event: gst::Event) -> Self {
        let lane = Self::default();
        {
            let mut events = lock(&lane.0.events);
            events.waiting.push_back(event);
            events.delivering = true;
        }
        lane
    }

    /// FLUSH_START was sent to the branch since it was linked.
    pub(super) fn began_flush(&self) -> bool {
        lock(&self.0.events).began_flush
    }

    /// True while an event waits or its delivery has not returned.
    pub(in crate::tee) fn is_busy(&self) -> bool {
        lock(&self.0.events).is_busy()
    }

    /// Waits until all is delivered; false if it was not until `deadline`.
    pub(in crate::tee) fn wait_delivered(&self, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        let (mut events, _) = self
            .0
            .changed
            .wait_timeout_while(lock(&self.0.events), patience, Events::is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        !events.is_busy()
    }

    /// As [`wait_delivered`](Self::wait_delivered), but not for a branch that hangs.
    pub(super) fn wait_begun(&self, deadline: Instant) {
        let is_overdue = lock(&self.0.events).overdue;
        if !is_overdue {
            self.wait_delivered(deadline);
        }
    }

    /// As [`wait_delivered`](Self::wait_delivered), but once only for a branch that hangs.
    pub(super) fn wait_delivered_once(&self, deadline: Instant) {
        let is_overdue = lock(&self.0.events).overdue;
        if !is_overdue && !self.wait_delivered(deadline) {
            let mut events = lock(&self.0.events);
            events.overdue = events.is_busy();
        }
    }

    /// Waits until all is delivered or `is_over`; [`wake`](Self::wake) has it look again.
    pub(super) fn wait_delivered_or(&self, is_over: impl Fn() -> bool) {
        let waits = |events: &mut Events| events.is_busy() && !is_over();
        drop(self.0.changed.wait_while(lock(&self.0.events), waits));
    }

    pub(super) fn wake(&self) {
        // Under the lock, so that a thread that has just looked does not miss it.
        let _events = lock(&self.0.events);
        self.0.changed.notify_all();
    }
}
