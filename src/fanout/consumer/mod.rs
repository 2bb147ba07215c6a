// SPDX-License-Identifier: MPL-2.0
//! One consumer: the parts that decide, each with one promise, and what they cause in common.

pub(super) mod account;
pub(super) mod decoding;
pub(super) mod events;
mod life;
mod queue;
pub(super) mod service;
mod step;
pub(super) mod window;

use std::sync::Arc;
use std::task::Waker;

use account::Flight;
use life::Life;
use queue::Queue;
pub(super) use service::Gate;
use service::{Admission, Greeting, Phase, Verdict};
pub(super) use step::Step;

use super::effects::Effects;
use super::figures::Snapshot;
use super::key::{ConsumerId, Stamp};
use super::log::{Log, Placed};
use super::notices::{NoticeQueue, NoticeState};
use super::types::{Done, Event, Limits, Link, Lost, Outcome, TakenFrame};
use super::upstream::Standing;
use crate::facts::{DropReason, Ledger, State};
use crate::sync::atomic::{AtomicU64, Ordering};

/// What the consumer gets next.
pub(super) enum Next<E> {
    Event(E, Stamp),
    Frame(TakenFrame<()>),
    Evicted,
    Resumed,
    Nothing,
    Cancelled,
    Closed(Stamp),
    Superseded(Stamp),
}

pub(super) struct Consumer<E, L> {
    life: Life<E, L>,
    /// Who waits for something to take.
    waker: Option<Waker>,
    /// The number of a frame that the application has freed although it counts as in flight.
    landed: Arc<AtomicU64>,
}

impl<E: Event, L> Consumer<E, L> {
    pub(super) fn new<F>(label: L, limits: Limits, joined: Stamp, log: &Log<F, E>) -> Self {
        Self {
            life: Life::new(label, limits, joined, log),
            waker: None,
            landed: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Starts over with all counters at zero, at the beginning of an empty log.
    pub(super) fn reset<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.life.reset(step);
        step.wake(&mut self.waker);
    }

    // ---- what is read of it ----------------------------------------------------------------

    /// Position of the first frame that it still needs.
    #[inline]
    pub(super) fn needs_from(&self) -> u64 {
        self.life.needs_from()
    }

    /// Sequence number of the first event that it still needs.
    pub(super) fn needs_events_from(&self) -> u64 {
        self.life.events.needs_from()
    }

    /// A call to take in `session` gives something.
    pub(super) fn has_news<F>(&self, log: &Log<F, E>, session: Stamp) -> bool {
        let service = &self.life.service;
        let waits =
            || self.needs_from() < log.end() || self.life.events.waiting(log).next().is_some();
        service.has_news(session) || service.is_active() && waits()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.life.service.phase() == Phase::Idle
    }

    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        self.life.service.is_current(stamp)
    }

    /// The frame in flight.
    pub(super) fn flight(&self) -> Option<&Flight> {
        self.life.queue.account.flight()
    }

    /// The number of the frame in flight, if that is still out.
    pub(super) fn in_hands(&self) -> Option<u64> {
        let number = self.life.queue.account.flight()?.number;
        (self.landed.load(Ordering::Acquire) != number).then_some(number)
    }

    /// Where the number of a frame goes whose buffer came back although it counts as in flight.
    pub(super) fn landed(&self) -> &Arc<AtomicU64> {
        &self.landed
    }

    /// A frame that comes now has to wait.
    pub(super) fn is_away(&self) -> bool {
        self.life.service.is_serving() && self.waker.is_none()
    }

    pub(super) fn keeps_waiting<F>(&self, log: &Log<F, E>) -> bool {
        self.life.service.is_serving() && self.life.queue.window.level(log.end()) > 0
    }

    /// A frame waits, and it has none.
    pub(super) fn is_about_to_take<F>(&self, log: &Log<F, E>) -> bool {
        self.flight().is_none() && self.keeps_waiting(log)
    }

    pub(super) fn standing(&self) -> Standing {
        match self.life.service.phase() {
            Phase::Idle => Standing::Idle,
            Phase::Serving | Phase::Disabled(_) => Standing::Serving,
            Phase::Ended(reason) | Phase::Stopped(reason) => {
                Standing::Ended(reason, self.life.service.flow())
            }
        }
    }

    pub(super) fn ledger(&self, end: u64) -> Ledger {
        self.life.queue.ledger(end)
    }

    fn state(&self, now: u64, stall_timeout: u64) -> State {
        let account = &self.life.queue.account;
        match self.life.service.state() {
            // Nothing to tell of a pad that is requested, and linked before a frame comes.
            State::NotLinked if account.dropped(DropReason::NotLinked) == 0 => State::Ok,
            State::Ok | State::Disabled
                if stall_timeout != 0 && account.in_flight_for(now) > stall_timeout =>
            {
                State::Stalled
            }
            state => state,
        }
    }

    pub(super) fn snapshot<F>(
        &self,
        id: ConsumerId,
        log: &Log<F, E>,
        now: u64,
        stall_timeout: u64,
    ) -> Snapshot<L> {
        Snapshot {
            label: self.life.queue.label.clone(),
            id,
            ledger: self.ledger(log.end()),
            bytes: log.bytes_from(self.life.queue.window.cursor()),
            time: log.time_from(self.life.queue.window.cursor()),
            state: self.state(now, stall_timeout),
            in_flight_for: self.life.queue.account.in_flight_for(now),
            last_flight: self.life.queue.account.last_flight(),
            run: log.run(),
            flow: self.life.service.flow(),
            events_dropped: self.life.events.dropped(),
            requested_keyframes: self.life.queue.account.requested_keyframes(),
        }
    }

    pub(super) fn told(&mut self) -> &mut NoticeState {
        &mut self.life.queue.told
    }

    pub(super) fn tell_all_drops(
        &mut self,
        notices: &mut NoticeQueue<L>,
        ledger: &Ledger,
        now: u64,
    ) {
        let Queue { label, told, .. } = &mut self.life.queue;
        notices.tell_all_drops(label, told, ledger, now);
    }

    pub(super) fn is_summary_due(&self) -> bool {
        self.life.queue.told.is_summary_due()
    }

    // ---- what upstream brings --------------------------------------------------------------

    /// A frame was appended: the oldest may have to go, or the new one is not for this consumer.
    #[inline(always)]
    pub(super) fn offer<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let end = step.end;
        if !self.life.service.is_serving() || step.flushing {
            return self.refuse(step);
        }
        if self.life.queue.decoding.needs_keyframe()
            && !self.life.queue.decoding.admit(step.log.is_delta(end - 1))
        {
            step.effects.want_keyframe = true;
            return self
                .life
                .queue
                .drop_oldest(step, 1, DropReason::WaitingKeyframe);
        }
        if self.life.queue.make_room(step) {
            self.life.check_lag(step);
        }
        if self.waker.is_some() {
            step.wake(&mut self.waker);
        }
    }

    /// The frame that was appended is not for a consumer that is not served now.
    fn refuse<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        match self.life.service.admission(step.flushing) {
            Admission::Take => {}
            Admission::Uncounted => {
                let end = step.end;
                self.life.queue.account.join(end);
                self.life.queue.window.skip_to(end);
            }
            Admission::Drop(reason) => {
                // That it is not linked shows with the first frame only.
                step.effects.report |= self.life.queue.account.dropped(reason) == 0;
                self.life.queue.decoding.miss();
                self.life.queue.drop_oldest(step, 1, reason);
                if self.life.stand_in(step) {
                    step.wake(&mut self.waker);
                }
            }
        }
    }

    /// A frame came after the stream was closed. What waits from before is still to be taken.
    pub(super) fn turn_away<F>(&mut self, step: &mut Step<'_, F, E, L>, lost: Lost) {
        let reason = match self.life.service.admission(false) {
            Admission::Uncounted => return,
            Admission::Take => DropReason::Eos,
            Admission::Drop(reason) => reason,
        };
        self.life.queue.account.turn_away();
        self.life.queue.book(step, 1, reason, lost);
    }

    /// [`offer`](Self::offer) where a limit is in force; the other one is for the usual case alone.
    #[inline(never)]
    pub(super) fn offer_limited<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.offer(step);
    }

    /// [`offer`](Self::offer) where nothing may wait: only a consumer that can take the frame at once
    /// gets it.
    pub(super) fn offer_at_once<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.offer_limited(step);
        let end = step.end;
        let newest = match self.in_hands() {
            Some(_) => end,
            None => end - 1,
        };
        self.give_back(step, newest);
    }

    /// Gives up the waiting frames before `position`: upstream needs their buffers.
    pub(super) fn give_back<F>(&mut self, step: &mut Step<'_, F, E, L>, position: u64) {
        step.effects.gave_back |= self.life.queue.drop_until(step, position, DropReason::Pool);
    }

    /// An event was appended.
    pub(super) fn offer_event<F>(&mut self, step: &mut Step<'_, F, E, L>, event: &Placed<E>) {
        step.effects.events_moved = true;
        match self.life.service.phase() {
            Phase::Idle | Phase::Stopped(_) => return self.life.clear_events(step),
            Phase::Ended(DropReason::Evicted) => {
                if event.event.ends_stream() {
                    step.effects.report |= self.life.queue.told.note_end(event.sequence);
                }
                self.life.clear_events(step);
                return step.wake(&mut self.waker);
            }
            Phase::Ended(reason) if event.event.readmits(reason) => self.readmit(step, true),
            _ => {}
        }
        let cursor = self.life.queue.window.cursor();
        let lost = self.life.events.bound(step.log, cursor, step.effects);
        step.effects.report |= lost;
        step.wake(&mut self.waker);
    }

    /// A flush: what waits is void, but for the sticky events that survive it.
    pub(super) fn flush_start<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.life.service.is_well() {
            // Behind a closed gate nothing waits, but its decoder is flushed all the same.
            self.life.queue.drop_all(step, DropReason::Flushing);
            self.life.queue.decoding.begin(false);
        }
        self.life.service.flush_start();
        self.life.queue.decoding.flush();
        self.life.events.flush(step.log, step.effects);
        step.effects.events_moved = true;
    }

    /// A flush is over.
    pub(super) fn flush_stop<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.life.service.flush_stop(step.stamp.advance()) {
            self.life.queue.decoding.begin(false);
            step.effects.served_changed = true;
            step.effects.report = true;
        }
        if self.life.service.is_active() {
            step.wake(&mut self.waker);
        }
    }

    /// A keyframe is asked for, on this consumer's behalf too if it waits for one.
    pub(super) fn note_keyframe_request(&mut self, own: bool) {
        let waits = self.life.queue.decoding.needs_keyframe() && self.life.service.is_serving();
        if own || waits {
            self.life.queue.account.request_keyframe();
        }
    }

    /// The frame in flight is lost: whatever its thread says of it later does not count.
    pub(super) fn abandon_flight<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.life.queue.abandon_flight(step);
    }

    // ---- how it comes and goes -------------------------------------------------------------

    /// Joins or comes back.
    pub(super) fn activate<F>(&mut self, step: &mut Step<'_, F, E, L>, link: Link) {
        self.life.activate(step, link);
        step.wake(&mut self.waker);
    }

    /// Stops: what waits is dropped, and its thread learns it.
    pub(super) fn deactivate<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.life.deactivate(step);
        step.wake(&mut self.waker);
    }

    /// Is served again after it had ended, if it is active; see [`Life::readmit`] for `repeats`.
    pub(super) fn readmit<F>(&mut self, step: &mut Step<'_, F, E, L>, repeats: bool) {
        if self.life.service.is_active() {
            self.life.readmit(step, repeats);
            step.wake(&mut self.waker);
        }
    }

    /// Its gate opens or closes.
    pub(super) fn set_gate<F>(&mut self, step: &mut Step<'_, F, E, L>, gate: Gate) {
        if self.life.set_gate(step, gate) {
            step.wake(&mut self.waker);
        }
    }

    /// The sinks behind it wait for a frame anew, as the element does not play any more.
    pub(super) fn need_stand_in(&mut self) {
        self.life.service.need_stand_in();
    }

    /// The stream will not start, which a consumer that waits for it learns.
    pub(super) fn cancel<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.waker.is_some() {
            self.life.service.cancel();
        }
        step.wake(&mut self.waker);
    }

    pub(super) fn set_limits<F>(&mut self, step: &mut Step<'_, F, E, L>, limits: Limits) {
        self.life.queue.window.set_limits(limits);
        if self.life.enforce_limits(step) {
            step.wake(&mut self.waker);
        }
    }

    /// What it lost before is told by its old name.
    pub(super) fn rename<F>(&mut self, step: &mut Step<'_, F, E, L>, label: L) {
        self.life.queue.rename(step, label);
    }

    pub(super) fn label(&self) -> &L {
        &self.life.queue.label
    }

    /// All that is still to be told of it is told with `label`. Returns the one before.
    pub(super) fn relabel(&mut self, label: L) -> Arc<L> {
        self.life.queue.relabel(label)
    }

    // ---- what it takes and brings back -----------------------------------------------------

    /// What comes next; a frame is then in flight until [`finish`](Self::finish).
    pub(super) fn next<F>(&mut self, step: &mut Step<'_, F, E, L>, session: Stamp) -> Next<E> {
        if self.life.queue.window.limits().max_age != 0 && self.life.service.is_serving() {
            self.life.enforce_limits(step);
        }
        match self.life.service.greet(session, step.flushing) {
            Greeting::Serve => {}
            Greeting::Wait => return Next::Nothing,
            Greeting::Evicted => return Next::Evicted,
            Greeting::Resumed => return Next::Resumed,
            Greeting::Cancelled => return Next::Cancelled,
            Greeting::Closed(stamp) => return Next::Closed(stamp),
            Greeting::Superseded(stamp) => return Next::Superseded(stamp),
        }
        self.life.queue.drop_leading(step);
        if let Some(placed) = self.life.events.take(step.log, self.needs_from()) {
            step.effects.events_moved = true;
            if placed.event.ends_stream() {
                step.effects.report |= self.life.queue.told.note_end(placed.sequence);
            }
            return Next::Event(placed.event, self.life.service.stamp());
        }
        let taken = self.life.queue.take(step, self.life.service.stamp());
        taken.map_or(Next::Nothing, Next::Frame)
    }

    /// Nothing is there: `waker` is woken when there is. It is taken, as a clone runs code of the
    /// application, which must not run under the lock.
    pub(super) fn wait<F>(&mut self, effects: &mut Effects<F, E>, waker: &mut Option<Waker>) {
        let known = |waiting: &Waker| waker.as_ref().is_none_or(|waker| waiting.will_wake(waker));
        if !self.waker.as_ref().is_some_and(known)
            && let Some(waker) = waker.take()
            && let Some(old) = self.waker.replace(waker)
        {
            effects.free_waker(old);
        }
    }

    /// The frame in flight came to its end.
    pub(super) fn finish<F>(&mut self, step: &mut Step<'_, F, E, L>, done: Done) {
        let verdict = self.life.service.verdict(done.stamp);
        if verdict == Verdict::Orphan {
            return;
        }
        let Some(flight) = self.life.queue.account.land(step.now) else {
            return;
        };
        self.life.queue.account.tell_again(done.untold);
        self.life.service.set_flow(done.flow);
        step.effects.report |= self.life.queue.told.says_stalled();
        let (reason, ends) = match done.outcome {
            Outcome::Delivered => return self.life.queue.account.deliver(),
            Outcome::Lost(reason) => (reason, false),
            Outcome::Ended(reason) => (reason, verdict == Verdict::Ours),
        };
        self.life.queue.book(step, 1, reason, flight.lost);
        self.life.queue.window.forget_taken();
        if !self.life.service.is_well() {
            return;
        }
        match ends.then(|| self.recovery(step.log, reason)) {
            None => self.life.queue.drop_with_dependents(step, 0, reason),
            Some(Some(at)) => {
                self.life
                    .queue
                    .drop_with_dependents(step, at - self.needs_from(), reason);
            }
            Some(None) => self.life.end(step, reason),
        }
    }

    /// Where the first event waits that would have it served again after it ended for `reason`: the
    /// answer to a frame from before is not for what comes after.
    fn recovery<F>(&self, log: &Log<F, E>, reason: DropReason) -> Option<u64> {
        let mut waiting = self.life.events.waiting(log);
        let first = waiting.find(|placed| placed.event.readmits(reason))?;
        Some(first.at.max(self.needs_from()))
    }
}
