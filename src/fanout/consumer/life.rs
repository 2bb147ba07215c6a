// SPDX-License-Identifier: MPL-2.0
//! How a consumer joins, ends, and is served again: its state, and what that does to what waits for it.

use super::events::Events;
use super::queue::Queue;
use super::service::{Gate, Phase, Service};
use super::step::Step;
use crate::facts::DropReason;
use crate::fanout::key::Stamp;
use crate::fanout::log::{Log, Placed, Start};
use crate::fanout::types::{Event, Limits, Link};

pub(super) struct Life<E, L> {
    pub(super) service: Service,
    pub(super) queue: Queue<L>,
    pub(super) events: Events<E>,
}

impl<E: Event, L> Life<E, L> {
    pub(super) fn new<F>(label: L, limits: Limits, joined: Stamp, log: &Log<F, E>) -> Self {
        Self {
            service: Service::new(joined),
            queue: Queue::new(label, limits, log.end()),
            events: Events::new(log.event_end()),
        }
    }

    /// Starts over with all counters at zero, at the beginning of an empty log.
    pub(super) fn reset<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let session = step.stamp.advance();
        self.service.reset(session);
        self.queue.reset();
        self.events.clear(step.log, step.effects);
        self.events = Events::new(0);
        step.effects.report = true;
    }

    /// Position of the first frame that it still needs.
    #[inline]
    pub(super) fn needs_from(&self) -> u64 {
        self.queue.window.cursor()
    }

    // ---- how it comes and goes -------------------------------------------------------------

    /// Joins or comes back.
    pub(super) fn activate<F>(&mut self, step: &mut Step<'_, F, E, L>, link: Link) {
        if self.service.is_active() {
            self.deactivate(step);
        }
        let joins = self.service.phase() == Phase::Idle;
        let start = match link {
            Link::Made if joins && self.service.is_gate_open() => step.log.start_replayed(),
            _ => step.log.start_live(),
        };
        if joins {
            self.queue.account.join(start.position);
        }
        if self.service.ended() == Some(DropReason::Evicted) {
            self.queue.account.forgive();
        }
        self.queue.abandon_flight(step);
        self.service.activate(step.stamp.advance());
        self.begin(step, start);
        if let Link::Missing(flow) = link {
            self.end(step, DropReason::NotLinked);
            self.service.set_flow(flow);
        }
        step.effects.served_changed = true;
        step.effects.report = true;
    }

    /// Reads from `start` on.
    fn begin<F>(&mut self, step: &mut Step<'_, F, E, L>, start: Start<E>) {
        self.queue.begin(step, start.position);
        self.events.begin(start);
        step.effects.events_moved = true;
    }

    /// Stops: what waits is dropped, and its thread learns it.
    pub(super) fn deactivate<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.service.is_well() {
            self.queue.drop_all(step, DropReason::Flushing);
            step.effects.served_changed = true;
            step.effects.report = true;
        }
        self.service.deactivate();
        self.clear_events(step);
    }

    /// Is served again after it had ended. It is active.
    ///
    /// With `repeats`, if nothing waits for it, the last sticky event does once more: the sticky
    /// events of a pad come with the next event only, which may be long in coming.
    pub(super) fn readmit<F>(&mut self, step: &mut Step<'_, F, E, L>, repeats: bool) {
        let ended = self.service.ended();
        self.service.readmit(step.stamp.advance());
        // Another branch has nothing of what was taken.
        self.queue.window.forget_taken();
        if ended == Some(DropReason::Evicted) {
            self.queue.account.forgive();
            self.events.begin(step.log.start_live());
        } else if ended == Some(DropReason::NotLinked)
            && !self.queue.account.has_delivered()
            && self.service.is_gate_open()
        {
            self.begin_replayed(step);
        } else if repeats {
            self.repeat_last_event(step);
        }
        if ended.is_some() {
            self.queue.decoding.begin(self.needs_from() < step.end);
            step.effects.served_changed = true;
            step.effects.report = true;
        }
    }

    /// It joined some time ago, but is linked only now: it gets what others get when they join.
    fn begin_replayed<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let start = step.log.start_replayed();
        let frames = step.end - start.position;
        if frames == 0 {
            return self.repeat_last_event(step);
        }
        self.service.replay(step.stamp.advance());
        self.clear_events(step);
        self.begin(step, start);
        self.queue.account.offer_again(frames);
    }

    fn repeat_last_event<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let frames_wait = self.needs_from() < step.end;
        let events_wait = self.events.waiting(step.log).next().is_some();
        if !frames_wait
            && !events_wait
            && let Some(last) = step.log.start_live().events.pop()
        {
            self.events.repeat(last);
        }
    }

    // ---- its gate --------------------------------------------------------------------------

    /// Opens or closes the gate. True if frames wait for it now.
    pub(super) fn set_gate<F>(&mut self, step: &mut Step<'_, F, E, L>, gate: Gate) -> bool {
        if !self.service.set_gate(gate) {
            return false;
        }
        step.effects.report = true;
        match gate {
            Gate::Closed => {
                self.queue.drop_all(step, DropReason::Disabled);
                false
            }
            Gate::Open => {
                self.events.retract_stand_in(step.effects);
                if !self.service.is_serving() {
                    return false;
                }
                let waits = self.queue.resume(step, step.log.kept_keyframe());
                self.events.go_back(self.needs_from());
                waits
            }
        }
    }

    /// In place of the newest frame, which its gate holds back: an event that a sink which waits for its
    /// first frame takes for one. True if there is one.
    pub(super) fn stand_in<F>(&mut self, step: &mut Step<'_, F, E, L>) -> bool {
        if !self.service.is_stand_in_due() || step.flushing {
            return false;
        }
        let newest = step.end - 1;
        let pts = step.log.entry(newest).and_then(|entry| entry.lost.pts());
        let Some(event) = pts.map(|pts| E::in_place_of(pts, step.log.time_from(newest))) else {
            return false;
        };
        self.service.give_stand_in();
        self.events.stand_in(step.log, event);
        step.effects.events_moved = true;
        true
    }

    // ---- how it ends -----------------------------------------------------------------------

    /// Takes no more frames: those that wait and those that come are dropped for `reason`.
    pub(super) fn end<F>(&mut self, step: &mut Step<'_, F, E, L>, reason: DropReason) {
        self.service.end(reason);
        self.queue.drop_all(step, reason);
        step.effects.served_changed = true;
        step.effects.report = true;
    }

    /// Drops the oldest frames until all limits hold, and evicts it if it lost too many, which it has
    /// to hear.
    pub(super) fn enforce_limits<F>(&mut self, step: &mut Step<'_, F, E, L>) -> bool {
        self.queue.enforce_limits(step);
        self.check_lag(step)
    }

    /// Evicts it if it lost too many frames, which it has to hear.
    pub(super) fn check_lag<F>(&mut self, step: &mut Step<'_, F, E, L>) -> bool {
        let is_evicted = self.queue.lags() && self.service.is_serving();
        if is_evicted {
            self.evict(step);
        }
        is_evicted
    }

    fn evict<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.end(step, DropReason::Evicted);
        self.service.evict();
        // An end of the stream that waited does not come any more.
        let ends = |placed: &&Placed<E>| placed.event.ends_stream();
        if let Some(end) = self.events.waiting(step.log).filter(ends).last() {
            self.queue.told.note_end(end.sequence);
        }
        self.clear_events(step);
    }

    pub(super) fn clear_events<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.events.clear(step.log, step.effects);
        step.effects.events_moved = true;
    }
}
