// SPDX-License-Identifier: MPL-2.0
//! One consumer: the parts that decide, each with one promise, and what they cause in common.

pub(super) mod account;
pub(super) mod decoding;
pub(super) mod events;
pub(super) mod service;
mod step;
pub(super) mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use account::{Account, Flight};
use decoding::{Decoding, Verdict as Use};
use events::Events;
use service::{Admission, Greeting, Phase, Service, Verdict};
pub(super) use step::Step;
use window::{Room, Window};

use super::effects::Effects;
use super::figures::Snapshot;
use super::key::{ConsumerId, Stamp};
use super::log::{Log, Placed, Start};
use super::notices::NoticeState;
use super::types::{Done, Event, Limits, Link, Lost, Outcome, TakenFrame};
use super::upstream::Standing;
use crate::facts::{DropReason, Ledger, State};

/// What the consumer gets next.
pub(super) enum Next<E> {
    Event(E, Stamp),
    Frame(TakenFrame<()>),
    Evicted,
    Resumed,
    Nothing,
    Closed(Stamp),
    Superseded(Stamp),
}

pub(super) struct Consumer<E, L> {
    service: Service,
    window: Window,
    decoding: Decoding,
    account: Account,
    told: NoticeState,
    events: Events<E>,
    label: Arc<L>,
    /// Who waits for something to take.
    waker: Option<Waker>,
    /// The number of a frame that the application has freed although it counts as in flight.
    landed: Arc<AtomicU64>,
}

impl<E: Event, L> Consumer<E, L> {
    pub(super) fn new<F>(label: L, limits: Limits, joined: Stamp, log: &Log<F, E>) -> Self {
        Self {
            service: Service::new(joined),
            window: Window::new(limits, log.end()),
            decoding: Decoding::new(),
            account: Account::new(log.end()),
            told: NoticeState::default(),
            events: Events::new(log.event_end()),
            label: Arc::new(label),
            waker: None,
            landed: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Starts over with all counters at zero, at the beginning of an empty log.
    pub(super) fn reset<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let session = step.stamp.advance();
        self.service.reset(session);
        self.window = Window::new(*self.window.limits(), 0);
        self.decoding = Decoding::new();
        self.account.reset();
        self.told.reset();
        self.events.clear(step.log, step.effects);
        self.events = Events::new(0);
        step.effects.report = true;
        step.wake(&mut self.waker);
    }

    // ---- what is read of it ----------------------------------------------------------------

    /// Position of the first frame that it still needs.
    #[inline]
    pub(super) fn needs_from(&self) -> u64 {
        self.window.cursor()
    }

    /// Sequence number of the first event that it still needs.
    pub(super) fn needs_events_from(&self) -> u64 {
        self.events.needs_from()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.service.phase() == Phase::Idle
    }

    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        self.service.is_current(stamp)
    }

    /// The frame in flight.
    pub(super) fn flight(&self) -> Option<&Flight> {
        self.account.flight()
    }

    /// The number of the frame in flight, if that is still out.
    pub(super) fn in_hands(&self) -> Option<u64> {
        let number = self.account.flight()?.number;
        (self.landed.load(Ordering::Acquire) != number).then_some(number)
    }

    /// Where the number of a frame goes whose buffer came back although it counts as in flight.
    pub(super) fn landed(&self) -> &Arc<AtomicU64> {
        &self.landed
    }

    /// A frame that comes now has to wait.
    pub(super) fn is_away(&self) -> bool {
        self.service.is_serving() && self.waker.is_none()
    }

    pub(super) fn keeps_waiting<F>(&self, log: &Log<F, E>) -> bool {
        self.service.is_serving() && self.window.level(log.end()) > 0
    }

    pub(super) fn standing(&self) -> Standing {
        match self.service.phase() {
            Phase::Idle => Standing::Idle,
            Phase::Serving => Standing::Serving,
            Phase::Ended(reason) | Phase::Stopped(reason) => {
                Standing::Ended(reason, self.service.flow())
            }
        }
    }

    pub(super) fn ledger(&self, end: u64) -> Ledger {
        self.account.ledger(end, self.window.level(end))
    }

    fn state(&self, now: u64, stall_timeout: u64) -> State {
        match self.service.state() {
            // Nothing to tell of a pad that is requested, and linked before a frame comes.
            State::NotLinked if self.account.dropped(DropReason::NotLinked) == 0 => State::Ok,
            State::Ok if stall_timeout != 0 && self.account.in_flight_for(now) > stall_timeout => {
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
            label: self.label.clone(),
            id,
            ledger: self.ledger(log.end()),
            bytes: log.bytes_from(self.window.cursor()),
            time: log.time_from(self.window.cursor()),
            state: self.state(now, stall_timeout),
            in_flight_for: self.account.in_flight_for(now),
            last_flight: self.account.last_flight(),
            flow: self.service.flow(),
            events_dropped: self.events.dropped(),
            requested_keyframes: self.account.requested_keyframes(),
        }
    }

    pub(super) fn told(&mut self) -> &mut NoticeState {
        &mut self.told
    }

    pub(super) fn is_summary_due(&self) -> bool {
        self.told.is_summary_due()
    }

    // ---- what it loses ---------------------------------------------------------------------

    /// Gives up the `count` oldest waiting frames: here, and nowhere else, frames that wait are
    /// lost.
    #[inline]
    fn drop_oldest<F>(&mut self, step: &mut Step<'_, F, E, L>, count: u64, reason: DropReason) {
        if count == 0 {
            return;
        }
        step.effects.frames_moved = true;
        let mut left = count;
        while left > 0 {
            // Told one by one, each has its own accounts.
            let part = if step.notices.tells_each() { 1 } else { left };
            let lost = step.lost(self.window.cursor() + part - 1);
            self.window.advance(part, step.log);
            self.book(step, part, reason, lost);
            left -= part;
        }
    }

    /// [`drop_oldest`](Self::drop_oldest), and all that are useless without those.
    fn drop_with_dependents<F>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        count: u64,
        reason: DropReason,
    ) {
        self.drop_oldest(step, count, reason);
        let log = step.log;
        let waiting = (self.window.cursor()..log.end()).map(|position| log.is_delta(position));
        let aftermath = self.decoding.after_loss(waiting);
        self.drop_oldest(step, aftermath.useless, DropReason::WaitingKeyframe);
        step.effects.want_keyframe |= aftermath.want_keyframe;
    }

    /// The frame in flight is lost: whatever its thread says of it later does not count.
    pub(super) fn abandon_flight<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if let Some(flight) = self.account.abandon() {
            self.book(step, 1, DropReason::Flushing, flight.lost);
        }
    }

    /// Counts what was lost, last of all the frame of `lost`.
    #[inline]
    fn book<F>(
        &mut self,
        step: &mut Step<'_, F, E, L>,
        count: u64,
        reason: DropReason,
        lost: Lost,
    ) {
        self.account.drop(reason, count);
        let is_due = self.told.note(reason, lost, step.now);
        step.effects.report |= is_due && step.notices.config().drops;
        if step.notices.tells_each() {
            let ledger = self.ledger(step.log.end());
            let (label, told) = (&self.label, &mut self.told);
            step.notices
                .tell_one(label, told, &ledger, reason, step.now);
            step.effects.report = true;
        }
    }

    /// Takes no more frames: those that wait and those that come are dropped for `reason`.
    fn end<F>(&mut self, step: &mut Step<'_, F, E, L>, reason: DropReason) {
        self.service.end(reason);
        self.drop_oldest(step, self.window.level(step.log.end()), reason);
        step.effects.served_changed = true;
        step.effects.report = true;
    }

    /// Drops the oldest frames until all limits hold, and evicts it if it lost too many.
    fn enforce_limits<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        while let Some((count, reason)) = self.window.over_limit(step.log, step.now) {
            self.drop_with_dependents(step, count, reason);
            if reason == DropReason::Slow {
                self.window.pay_allowance();
            }
        }
        let max_lag = self.window.limits().max_lag;
        if max_lag != 0 && self.account.lag() > max_lag && self.service.is_serving() {
            self.evict(step);
        }
    }

    fn evict<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.end(step, DropReason::Evicted);
        self.service.evict();
        // An end of the stream that waited does not come any more.
        let ends = |placed: &&Placed<E>| placed.event.ends_stream();
        if let Some(end) = self.events.waiting(step.log).filter(ends).last() {
            self.told.note_end(end.sequence);
        }
        self.clear_events(step);
        step.wake(&mut self.waker);
    }

    fn clear_events<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        self.events.clear(step.log, step.effects);
        step.effects.events_moved = true;
    }

    // ---- what upstream brings --------------------------------------------------------------

    /// A frame was appended: the oldest may have to go, or the new one is not for this consumer.
    #[inline(always)]
    pub(super) fn offer<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let end = step.log.end();
        if !self.service.is_serving() || step.flushing {
            return self.refuse(step);
        }
        if self.decoding.needs_keyframe() && !self.decoding.admit(step.log.is_delta(end - 1)) {
            step.effects.want_keyframe = true;
            return self.drop_oldest(step, 1, DropReason::WaitingKeyframe);
        }
        match self.window.look(end) {
            Room::Enough => {}
            Room::OneTooMany => match step.cached_loss(self.window.cursor()) {
                Some(lost) => self.drop_alone(step, lost),
                None => self.enforce_limits(step),
            },
            Room::Unknown => self.enforce_limits(step),
        }
        if self.waker.is_some() {
            step.wake(&mut self.waker);
        }
    }

    /// The frame that was appended is not for a consumer that is not served now.
    fn refuse<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        match self.service.admission(step.flushing) {
            Admission::Take => {}
            Admission::Uncounted => {
                let end = step.log.end();
                self.account.join(end);
                self.window.skip_to(end);
            }
            Admission::Drop(reason) => {
                // That it is not linked shows with the first frame only.
                step.effects.report |= self.account.dropped(reason) == 0;
                self.decoding.miss();
                self.drop_oldest(step, 1, reason);
            }
        }
    }

    /// [`drop_oldest`](Self::drop_oldest) of one frame that no other depends on, which happens with
    /// each frame to each slow consumer of raw video: so it is made cheap.
    #[inline(always)]
    fn drop_alone<F>(&mut self, step: &mut Step<'_, F, E, L>, lost: Lost) {
        self.window.pop_one();
        self.account.drop(DropReason::Slow, 1);
        if self.told.note(DropReason::Slow, lost, step.now) {
            step.effects.report |= step.notices.config().drops;
        }
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
        let end = step.log.end();
        let newest = match self.in_hands() {
            Some(_) => end,
            None => end - 1,
        };
        self.give_back(step, newest);
    }

    /// Gives up the waiting frames before `position`: upstream needs their buffers.
    pub(super) fn give_back<F>(&mut self, step: &mut Step<'_, F, E, L>, position: u64) {
        let count = position.saturating_sub(self.window.cursor());
        if count > 0 {
            step.effects.gave_back = true;
            self.drop_with_dependents(step, count, DropReason::Pool);
        }
    }

    /// An event was appended.
    pub(super) fn offer_event<F>(&mut self, step: &mut Step<'_, F, E, L>, event: &Placed<E>) {
        step.effects.events_moved = true;
        match self.service.phase() {
            Phase::Idle | Phase::Stopped(_) => return self.clear_events(step),
            Phase::Ended(DropReason::Evicted) => {
                if event.event.ends_stream() {
                    step.effects.report |= self.told.note_end(event.sequence);
                }
                self.clear_events(step);
                return step.wake(&mut self.waker);
            }
            Phase::Ended(reason) if event.event.readmits(reason) => self.readmit(step, true),
            _ => {}
        }
        let cursor = self.window.cursor();
        let lost = self.events.bound(step.log, cursor, step.effects);
        step.effects.report |= lost;
        step.wake(&mut self.waker);
    }

    /// A flush: what waits is void, but for the sticky events that survive it.
    pub(super) fn flush_start<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.service.is_serving() {
            self.drop_oldest(
                step,
                self.window.level(step.log.end()),
                DropReason::Flushing,
            );
            self.decoding.begin(false);
        }
        self.service.flush_start();
        self.decoding.flush();
        self.events.flush(step.log, step.effects);
        step.effects.events_moved = true;
    }

    /// A flush is over.
    pub(super) fn flush_stop<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.service.flush_stop(step.stamp.advance()) {
            self.decoding.begin(false);
            step.effects.served_changed = true;
            step.effects.report = true;
        }
        if self.service.is_active() {
            step.wake(&mut self.waker);
        }
    }

    /// A keyframe is asked for, on this consumer's behalf too if it waits for one.
    pub(super) fn note_keyframe_request(&mut self, own: bool) {
        let waits = self.decoding.needs_keyframe() && self.service.is_serving();
        if own || waits {
            self.account.request_keyframe();
        }
    }

    // ---- how it comes and goes -------------------------------------------------------------

    /// Joins or comes back.
    pub(super) fn activate<F>(&mut self, step: &mut Step<'_, F, E, L>, link: Link) {
        if self.service.is_active() {
            self.deactivate(step);
        }
        let joins = self.is_idle();
        let start = match link {
            Link::Made if joins => step.log.start_replayed(),
            _ => step.log.start_live(),
        };
        if joins {
            self.account.join(start.position);
        }
        if self.service.ended() == Some(DropReason::Evicted) {
            self.account.forgive();
        }
        self.abandon_flight(step);
        self.service.activate(step.stamp.advance());
        self.begin(step, start);
        if let Link::Missing(flow) = link {
            self.end(step, DropReason::NotLinked);
            self.service.set_flow(flow);
        }
        step.effects.served_changed = true;
        step.effects.report = true;
        step.wake(&mut self.waker);
    }

    /// Reads from `start` on.
    fn begin<F>(&mut self, step: &mut Step<'_, F, E, L>, start: Start<E>) {
        self.window.begin(step.log, start.position, step.now);
        self.decoding.begin(start.position < step.log.end());
        self.events.begin(start);
        self.told.forget_end();
        step.effects.frames_moved = true;
        step.effects.events_moved = true;
    }

    /// Stops: what waits is dropped, and its thread learns it.
    pub(super) fn deactivate<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.service.is_serving() {
            self.end(step, DropReason::Flushing);
        }
        self.service.deactivate();
        self.clear_events(step);
        step.wake(&mut self.waker);
    }

    /// Is served again after it had ended, if it is active.
    ///
    /// With `repeats`, if nothing waits for it, the last sticky event does once more: the sticky
    /// events of a pad come with the next event only, which may be long in coming.
    pub(super) fn readmit<F>(&mut self, step: &mut Step<'_, F, E, L>, repeats: bool) {
        if !self.service.is_active() {
            return;
        }
        let ended = self.service.ended();
        self.service.readmit(step.stamp.advance());
        if ended == Some(DropReason::Evicted) {
            self.account.forgive();
            self.events.begin(step.log.start_live());
        } else if ended == Some(DropReason::NotLinked) && !self.account.has_delivered() {
            self.begin_replayed(step);
        } else if repeats {
            self.repeat_last_event(step);
        }
        if ended.is_some() {
            self.decoding.begin(self.needs_from() < step.log.end());
            step.effects.served_changed = true;
            step.effects.report = true;
        }
        step.wake(&mut self.waker);
    }

    /// It joined some time ago, but is linked only now: it gets what others get when they join.
    fn begin_replayed<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let start = step.log.start_replayed();
        let frames = step.log.end() - start.position;
        if frames == 0 {
            return self.repeat_last_event(step);
        }
        self.service.replay(step.stamp.advance());
        self.clear_events(step);
        self.begin(step, start);
        self.account.offer_again(frames);
    }

    fn repeat_last_event<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        let frames_wait = self.needs_from() < step.log.end();
        let events_wait = self.events.waiting(step.log).next().is_some();
        if !frames_wait
            && !events_wait
            && let Some(last) = step.log.start_live().events.pop()
        {
            self.events.repeat(last);
        }
    }

    /// The stream will not start, which a consumer that waits for it learns.
    pub(super) fn cancel<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        if self.waker.is_some() {
            self.service.cancel();
        }
        step.wake(&mut self.waker);
    }

    pub(super) fn set_limits<F>(&mut self, step: &mut Step<'_, F, E, L>, limits: Limits) {
        self.window.set_limits(limits);
        self.enforce_limits(step);
    }

    /// What it lost before is told by its old name.
    pub(super) fn rename<F>(&mut self, step: &mut Step<'_, F, E, L>, label: L) {
        let old = std::mem::replace(&mut self.label, Arc::new(label));
        let ledger = self.ledger(step.log.end());
        let told = &mut self.told;
        step.notices.tell_all_drops(&old, told, &ledger, step.now);
        step.effects.report = true;
    }

    pub(super) fn label(&self) -> &L {
        &self.label
    }

    /// All that is still to be told of it is told with `label`. Returns the one before.
    pub(super) fn relabel(&mut self, label: L) -> Arc<L> {
        std::mem::replace(&mut self.label, Arc::new(label))
    }

    // ---- what it takes and brings back -----------------------------------------------------

    /// What comes next; a frame is then in flight until [`finish`](Self::finish).
    pub(super) fn next<F>(&mut self, step: &mut Step<'_, F, E, L>, session: Stamp) -> Next<E> {
        if self.window.limits().max_age != 0 && self.service.is_serving() {
            self.enforce_limits(step);
        }
        match self.service.greet(session, step.flushing) {
            Greeting::Serve => {}
            Greeting::Wait => return Next::Nothing,
            Greeting::Evicted => return Next::Evicted,
            Greeting::Resumed => return Next::Resumed,
            Greeting::Closed(stamp) => return Next::Closed(stamp),
            Greeting::Superseded(stamp) => return Next::Superseded(stamp),
        }
        self.drop_leading(step);
        if let Some(placed) = self.events.take(step.log, self.needs_from()) {
            step.effects.events_moved = true;
            if placed.event.ends_stream() {
                step.effects.report |= self.told.note_end(placed.sequence);
            }
            return Next::Event(placed.event, self.service.stamp());
        }
        self.take_frame(step)
    }

    /// Drops leading pictures that the consumer can not decode.
    fn drop_leading<F>(&mut self, step: &mut Step<'_, F, E, L>) {
        while let Some(next) = step.log.entry(self.needs_from()) {
            match self.decoding.judge(&next.info) {
                Use::Take => return,
                Use::Leading => self.drop_oldest(step, 1, DropReason::WaitingKeyframe),
                Use::Lost => self.drop_with_dependents(step, 1, DropReason::WaitingKeyframe),
            }
        }
    }

    fn take_frame<F>(&mut self, step: &mut Step<'_, F, E, L>) -> Next<E> {
        let position = self.needs_from();
        let Some(entry) = step.log.entry(position) else {
            return Next::Nothing;
        };
        let after_loss = self.account.is_discont() || !self.account.has_delivered();
        self.decoding
            .take(&entry.info, entry.follows_header, after_loss);
        self.window.advance(1, step.log);
        step.effects.frames_moved |= position == step.log.base();
        let (discont, lost_before) = self.account.take(Flight {
            stamp: self.service.stamp(),
            number: step.log.number(position),
            since: step.now,
            lost: entry.info.lost(),
        });
        Next::Frame(TakenFrame {
            frame: (),
            sequence: position,
            number: step.log.number(position),
            discont,
            lost_before,
            waited: self.window.waited(entry.arrived, step.now),
            at: step.now,
            stamp: self.service.stamp(),
        })
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
        let verdict = self.service.verdict(done.stamp);
        if verdict == Verdict::Orphan {
            return;
        }
        let Some(flight) = self.account.land(step.now) else {
            return;
        };
        self.service.set_flow(done.flow);
        step.effects.report |= self.told.says_stalled();
        let (reason, ends) = match done.outcome {
            Outcome::Delivered => return self.account.deliver(),
            Outcome::Lost(reason) => (reason, false),
            Outcome::Ended(reason) => (reason, verdict == Verdict::Ours),
        };
        self.book(step, 1, reason, flight.lost);
        if !self.service.is_serving() {
            return;
        }
        match ends.then(|| self.recovery(step.log, reason)) {
            None => self.drop_with_dependents(step, 0, reason),
            Some(Some(at)) => {
                self.drop_with_dependents(step, at - self.needs_from(), reason);
            }
            Some(None) => self.end(step, reason),
        }
    }

    /// Where the first event waits that would have it served again after it ended for `reason`: the
    /// answer to a frame from before is not for what comes after.
    fn recovery<F>(&self, log: &Log<F, E>, reason: DropReason) -> Option<u64> {
        let mut waiting = self.events.waiting(log);
        let first = waiting.find(|placed| placed.event.readmits(reason))?;
        Some(first.at.max(self.needs_from()))
    }
}
