// SPDX-License-Identifier: MPL-2.0
//! What the lock guards: the log, the consumers, upstream's view, and what is to be told.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

use super::consumer::{Consumer, Next, Step};
use super::effects::Effects;
use super::figures::{Snapshot, Totals};
use super::key::{ConsumerId, Stamp};
use super::log::Log;
use super::notices::{Notice, NoticeQueue, ReportConfig};
use super::pool::{InHands, Kept, Limit, PoolFigures};
use super::registry::Registry;
use super::silence::{Before, Says, Silence};
use super::types::{Answer, Done, Event, FrameInfo, Limits, Link, Outcome, Taken, Watch};
use super::upstream::Upstream;
use crate::facts::Drops;

pub(super) struct Core<F, E, L> {
    log: Log<F, E>,
    registry: Registry<E, L>,
    upstream: Upstream,
    notices: NoticeQueue<L>,
    /// The newest stamp.
    stamp: Stamp,
    /// Between the start and the stop of a flush.
    flushing: bool,
    /// Drops of consumers that have left.
    released: Drops,
    limit: Limit,
    silence: Silence,
    kept: Kept,
}

impl<F: Clone, E: Event, L> Core<F, E, L> {
    pub(super) fn new() -> Self {
        Self {
            log: Log::new(),
            registry: Registry::new(),
            upstream: Upstream::new(),
            notices: NoticeQueue::new(),
            stamp: Stamp::default(),
            flushing: false,
            released: Drops::default(),
            limit: Limit::new(),
            silence: Silence::default(),
            kept: Kept::default(),
        }
    }

    // ---- what all steps have in common -----------------------------------------------------

    /// Draws the conclusions of a step: frees what no consumer needs any more, works out what
    /// upstream hears, and wakes the thread that reports.
    #[inline]
    pub(super) fn conclude(&mut self, effects: &mut Effects<F, E>) {
        if effects.frames_moved {
            self.release_unneeded(effects);
        }
        if effects.events_moved || effects.served_changed || effects.report {
            self.conclude_rest(effects);
        }
    }

    /// Frees the frames that no consumer needs any more.
    #[inline(always)]
    fn release_unneeded(&mut self, effects: &mut Effects<F, E>) {
        let needed = effects.needed.or_else(|| self.registry.needed());
        let needed = needed.unwrap_or_else(|| self.log.end());
        self.log.release_before(needed, effects);
    }

    /// What has no conclusions in most steps.
    fn conclude_rest(&mut self, effects: &mut Effects<F, E>) {
        if effects.events_moved {
            let needed = self.registry.needed_events();
            let needed = needed.unwrap_or_else(|| self.log.event_end());
            self.log.release_events_before(needed, effects);
        }
        if effects.served_changed {
            let consumers = self.registry.consumers().map(Consumer::standing);
            self.upstream.update_answer(consumers);
        }
        if effects.report {
            effects.wake.extend(self.notices.take_reporter());
        }
    }

    #[inline]
    fn for_each(
        &mut self,
        now: u64,
        effects: &mut Effects<F, E>,
        mut work: impl FnMut(&mut Consumer<E, L>, &mut Step<'_, F, E, L>),
    ) {
        let mut step = Step {
            log: &self.log,
            stamp: &mut self.stamp,
            now,
            flushing: self.flushing,
            notices: &mut self.notices,
            effects,
            loss: (u64::MAX, None),
        };
        for consumer in self.registry.consumers_mut() {
            work(consumer, &mut step);
        }
    }

    /// The consumer, if it is there still, and what it works with.
    pub(super) fn consumer_mut<R>(
        &mut self,
        id: ConsumerId,
        now: u64,
        effects: &mut Effects<F, E>,
        work: impl FnOnce(&mut Consumer<E, L>, &mut Step<'_, F, E, L>) -> R,
    ) -> Option<R> {
        let consumer = self.registry.get_mut(id)?;
        let mut step = Step {
            log: &self.log,
            stamp: &mut self.stamp,
            now,
            flushing: self.flushing,
            notices: &mut self.notices,
            effects,
            loss: (u64::MAX, None),
        };
        Some(work(consumer, &mut step))
    }

    // ---- upstream's side -------------------------------------------------------------------

    #[inline]
    pub(super) fn answer(&self) -> Answer {
        self.upstream.answer()
    }

    /// True if upstream should be asked for a keyframe, and the watch that has to begin.
    #[inline]
    pub(super) fn publish(
        &mut self,
        frame: F,
        info: FrameInfo,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> (bool, Option<u64>) {
        self.upstream.rate().note(now, info.bytes);
        if self.log.append(frame, info, now, effects) {
            self.tell_truncation(effects);
        }
        if self.flushing {
            self.log.forget_replay(effects);
        }
        let position = self.log.end() - 1;
        let watch = match self.silence.note_frame(position, self.log.len()) {
            true => self.end_silence(now, effects),
            false => None,
        };
        effects.frames_moved = true;
        if self.limit.is_set() {
            self.offer_within_limit(now, effects);
        } else {
            let mut needed = self.log.end();
            self.for_each(now, effects, |consumer, step| {
                consumer.offer(step);
                needed = needed.min(consumer.needs_from());
            });
            effects.needed = Some(needed);
        }
        let request_keyframe = effects.want_keyframe && self.request_keyframe(None, None, now);
        (request_keyframe, watch)
    }

    pub(super) fn publish_event(&mut self, event: E, now: u64, effects: &mut Effects<F, E>) {
        if self.flushing && !event.survives_flush() {
            // It was on its way when the flush began, and is void as what waits.
            return effects.free_event(event);
        }
        self.silence.note_event(now, event.ends_stream());
        self.log.append_event(event, effects);
        let Some(placed) = self.log.event(self.log.event_end() - 1).cloned() else {
            return;
        };
        self.for_each(now, effects, |consumer, step| {
            consumer.offer_event(step, &placed);
        });
        effects.events_moved = true;
        effects.free_event(placed.event);
    }

    pub(super) fn note_sticky(&mut self, event: &E, effects: &mut Effects<F, E>) {
        self.log.note_sticky(event, effects);
    }

    pub(super) fn flush_start(&mut self, now: u64, effects: &mut Effects<F, E>) {
        self.flushing = true;
        self.silence.break_off();
        self.upstream.keyframes().flush(self.log.end());
        self.for_each(now, effects, Consumer::flush_start);
        self.log.flush(effects);
    }

    pub(super) fn flush_stop(&mut self, now: u64, effects: &mut Effects<F, E>) {
        self.flushing = false;
        self.silence.note_event(now, false);
        self.for_each(now, effects, Consumer::flush_stop);
    }

    /// True if a request for a keyframe may go upstream now, which it then does: for the consumer
    /// that asks itself, and for all that wait for one if none does.
    /// It is for the running time `at`, if not at once.
    pub(super) fn request_keyframe(
        &mut self,
        asks: Option<ConsumerId>,
        at: Option<u64>,
        now: u64,
    ) -> bool {
        let keyframes = self.upstream.keyframes();
        let reached = match keyframes.flushed_at() == self.log.end() {
            true => 0,
            false => self.log.end_time(),
        };
        let may = keyframes.may(at, reached, now);
        match asks {
            _ if !may => {}
            Some(id) => {
                if let Some(consumer) = self.registry.get_mut(id) {
                    consumer.note_keyframe_request(true);
                }
            }
            None => {
                for consumer in self.registry.consumers_mut() {
                    consumer.note_keyframe_request(false);
                }
            }
        }
        may
    }

    pub(super) fn set_replay_capacity(&mut self, capacity: u64, effects: &mut Effects<F, E>) {
        if self.log.set_replay_capacity(capacity, effects) {
            self.tell_truncation(effects);
        }
    }

    pub(super) fn forget_replay(&mut self, effects: &mut Effects<F, E>) {
        self.log.forget_replay(effects);
    }

    fn tell_truncation(&mut self, effects: &mut Effects<F, E>) {
        let capacity = self.log.replay_capacity();
        self.notices.push(Notice::GopTruncated { capacity });
        effects.report = true;
    }

    /// A new life: all counters at zero. Returns the old log, to be freed without the lock.
    pub(super) fn reset(&mut self, effects: &mut Effects<F, E>) -> Log<F, E> {
        self.registry.orphan_all();
        self.for_each(0, effects, Consumer::reset);
        self.flushing = false;
        self.upstream = Upstream::new();
        self.released = Drops::default();
        self.limit.reset();
        effects.wake.extend(self.silence.reset());
        effects.served_changed = true;
        self.log.reset()
    }

    // ---- consumers -------------------------------------------------------------------------

    pub(super) fn join(&mut self, label: L, limits: Limits) -> ConsumerId {
        let joined = self.stamp.advance();
        let consumer = Consumer::new(label, limits, joined, &self.log);
        self.registry.add(joined, consumer)
    }

    /// The stamp of the session; of a consumer that left, one that nothing is served with.
    pub(super) fn activate(
        &mut self,
        id: ConsumerId,
        link: Link,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Stamp {
        self.registry.orphan(id);
        self.consumer_mut(id, now, effects, |consumer, step| {
            consumer.activate(step, link);
        });
        self.stamp
    }

    /// Removes the consumer; its last accounts.
    pub(super) fn leave(
        &mut self,
        id: ConsumerId,
        label: L,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Option<Snapshot<L>> {
        self.registry.orphan(id);
        let own_label = self.consumer_mut(id, now, effects, |consumer, step| {
            consumer.deactivate(step);
            consumer.abandon_flight(step);
            consumer.relabel(label)
        })?;
        self.summarize(id, now, effects);
        let last = self.snapshot_of(id, now);
        let last = last.map(|last| last.called(own_label));
        let old = self.registry.remove(id)?;
        self.released.add_all(&old.ledger(self.log.end()).dropped);
        effects.served_changed = true;
        effects.frames_moved = true;
        effects.events_moved = true;
        last
    }

    /// The next thing for the consumer.
    pub(super) fn take(
        &mut self,
        id: ConsumerId,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
        effects: &mut Effects<F, E>,
    ) -> Taken<F, E> {
        let next = self.consumer_mut(id, now, effects, |consumer, step| {
            let next = consumer.next(step, session);
            if matches!(next, Next::Nothing) {
                consumer.wait(step.effects, waker);
            }
            next
        });
        match next {
            None => Taken::Closed(session),
            Some(Next::Closed(next)) => Taken::Closed(next),
            Some(Next::Superseded(next)) => Taken::Superseded(next),
            Some(Next::Evicted) => Taken::Evicted,
            Some(Next::Resumed) => Taken::Resumed,
            Some(Next::Nothing) => Taken::Wait,
            Some(Next::Event(event, stamp)) => Taken::Event(event, stamp),
            Some(Next::Frame(taken)) => {
                if self.silence.has_idle_watcher() {
                    self.watch_if_busy(id, effects);
                }
                let needed = match taken.sequence == self.log.base() {
                    true => self.registry.needed().unwrap_or(u64::MAX),
                    false => 0,
                };
                let frame = self.log.hand_out(taken.sequence, needed);
                frame.map_or(Taken::Wait, |frame| Taken::Frame(taken.with(frame)))
            }
        }
    }

    /// The frame in flight came to its end.
    pub(super) fn finish(
        &mut self,
        id: ConsumerId,
        done: Done,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        if done.outcome == Outcome::Delivered && self.registry.orphans() == 0 {
            // The usual case has no conclusions.
        } else if self.registry.finish_orphan(id, done.stamp) {
            return;
        }
        self.consumer_mut(id, now, effects, |consumer, step| {
            consumer.finish(step, done);
        });
    }

    pub(super) fn is_idle(&self, id: ConsumerId) -> bool {
        self.registry.get(id).is_some_and(Consumer::is_idle)
    }

    pub(super) fn is_current(&self, id: ConsumerId, stamp: Stamp) -> bool {
        let consumer = self.registry.get(id);
        consumer.is_some_and(|consumer| consumer.is_current(stamp))
    }

    /// The stream will not start.
    pub(super) fn cancel(&mut self, effects: &mut Effects<F, E>) {
        self.for_each(0, effects, Consumer::cancel);
    }

    // ---- what is read ----------------------------------------------------------------------

    pub(super) fn snapshot_of(&self, id: ConsumerId, now: u64) -> Option<Snapshot<L>> {
        let consumer = self.registry.get(id)?;
        let stall_timeout = self.notices.config().stall_timeout;
        Some(consumer.snapshot(id, &self.log, now, stall_timeout))
    }

    pub(super) fn snapshots(&mut self, now: u64) -> Vec<Snapshot<L>> {
        let (log, stall_timeout) = (&self.log, self.notices.config().stall_timeout);
        self.registry
            .with_ids()
            .map(|(id, consumer)| consumer.snapshot(id, log, now, stall_timeout))
            .collect()
    }

    pub(super) fn totals(&mut self, now: u64) -> Totals {
        let end = self.log.end();
        let consumers = self.registry.consumers();
        let living: u64 = consumers
            .map(|consumer| consumer.ledger(end).dropped.total())
            .sum();
        let (frame_rate, bytes_per_second) = self.upstream.rate().per_second(now);
        let last = self.upstream.rate().last();
        Totals {
            published: end,
            bytes: self.upstream.rate().bytes(),
            dropped: self.released.total() + living,
            keyframe_requests: self.upstream.keyframes().count(),
            frame_rate,
            bitrate: bytes_per_second * 8,
            last_frame_age: last.map(|last| now.saturating_sub(last)),
            pool: self.pool(),
        }
    }

    /// No consumer, past or present, holds a frame, nor is one kept.
    pub(super) fn is_drained(&self) -> bool {
        let mut flights = self.registry.consumers().filter_map(Consumer::flight);
        self.log.base() == self.log.end()
            && flights.next().is_none()
            && self.registry.orphans() == 0
            && self.kept.is_empty()
    }

    pub(super) fn orphans(&self) -> usize {
        self.registry.orphans()
    }

    // ---- upstream's pool -------------------------------------------------------------------

    /// The frames that can not be taken back.
    fn in_hands(&self) -> InHands {
        InHands::new(self.registry.in_hands().chain(self.kept.numbers()))
    }

    fn held(&self, in_hands: &InHands) -> u64 {
        in_hands.held(&self.log.numbers_from(self.log.base()))
    }

    pub(super) fn pool(&self) -> PoolFigures {
        self.limit.figures(self.held(&self.in_hands()))
    }

    pub(super) fn landed(&self, id: ConsumerId) -> Option<Arc<AtomicU64>> {
        Some(self.registry.get(id)?.landed().clone())
    }

    /// The application still has the frame when it lands.
    pub(super) fn keep(&mut self, number: u64) {
        self.kept.add(number);
    }

    pub(super) fn unkeep(&mut self, number: u64) {
        self.kept.remove(number);
    }

    /// By the application; 0: it has to be found out.
    pub(super) fn set_max_held(&mut self, frames: u64, now: u64, effects: &mut Effects<F, E>) {
        if !self.limit.configure(frames) {
            return;
        }
        self.silence.forget();
        effects.wake.extend(self.silence.take_watcher());
        self.enforce_max_held(now, effects);
    }

    /// Frames come from a pool of this size from now on; 0: unknown.
    pub(super) fn set_pool(&mut self, size: u64, now: u64, effects: &mut Effects<F, E>) {
        self.silence.forget();
        effects.wake.extend(self.silence.take_watcher());
        if self.limit.set_pool(size) {
            self.tell_limit(effects);
            self.enforce_max_held(now, effects);
        }
    }

    /// Frames are of another format from now on, and last that long, ns; 0: unknown.
    pub(super) fn new_format(&mut self, frame_duration: u64) {
        self.silence.new_format(frame_duration);
        self.limit.forget();
    }

    fn tell_limit(&mut self, effects: &mut Effects<F, E>) {
        let pool = self.pool();
        if self.limit.is_set() {
            self.notices.push(Notice::MaxHeld(pool));
            effects.report = true;
        }
        if pool.learned {
            self.warn_of_pool(effects);
        }
    }

    /// Warns once for each limit that was found out.
    fn warn_of_pool(&mut self, effects: &mut Effects<F, E>) {
        if self.limit.may_warn() {
            self.notices.push(Notice::SmallPool(self.pool()));
            effects.report = true;
        }
    }

    #[cold]
    fn release_at_once(&mut self, effects: &mut Effects<F, E>) {
        self.release_unneeded(effects);
    }

    /// A frame was appended, and the consumers are offered it as far as the limit allows.
    #[inline(never)]
    fn offer_within_limit(&mut self, now: u64, effects: &mut Effects<F, E>) {
        if self.in_hands().count() < self.limit.in_force() {
            self.for_each(now, effects, Consumer::offer_limited);
            return self.enforce_max_held(now, effects);
        }
        self.for_each(now, effects, Consumer::offer_at_once);
        let needed = self.registry.needed().unwrap_or_else(|| self.log.end());
        if self.log.replayed_from() < needed {
            self.log.release_replay(effects);
        }
        if effects.gave_back {
            self.warn_of_pool(effects);
        }
    }

    /// Gives frames back until the limit holds, as far as that can be had.
    fn enforce_max_held(&mut self, now: u64, effects: &mut Effects<F, E>) {
        self.release_at_once(effects);
        let in_hands = self.in_hands();
        while self.held(&in_hands) > self.limit.in_force()
            && self.give_one_back(&in_hands, now, effects)
        {}
        if effects.gave_back {
            self.warn_of_pool(effects);
        }
    }

    /// Gives up what is kept for late joiners, if consumers do not need it anyway, else the oldest
    /// frame that only waits, for all that wait for it. False if there is none.
    fn give_one_back(&mut self, in_hands: &InHands, now: u64, effects: &mut Effects<F, E>) -> bool {
        let needed = self.registry.needed().unwrap_or_else(|| self.log.end());
        if self.log.replayed_from() < needed {
            self.log.release_replay(effects);
        } else {
            let Some(number) = in_hands.first_to_give(self.log.numbers_from(needed)) else {
                return false;
            };
            let next = self.log.position(number) + 1;
            self.for_each(now, effects, |consumer, step| {
                consumer.give_back(step, next)
            });
        }
        self.release_at_once(effects);
        true
    }

    // ---- upstream's silence ----------------------------------------------------------------

    /// The element plays, or does not.
    pub(super) fn set_playing(&mut self, plays: bool, now: u64, effects: &mut Effects<F, E>) {
        self.silence.set_playing(plays.then_some(now));
        effects.wake.extend(self.silence.take_watcher());
    }

    /// A frame was appended: what that says of the silence before it. The watch that has to begin.
    #[cold]
    fn end_silence(&mut self, now: u64, effects: &mut Effects<F, E>) -> Option<u64> {
        if !self.limit.has_to_be_learned() {
            return None;
        }
        let number = self.log.number(self.log.end() - 1);
        let held = self.held(&self.in_hands());
        self.silence.note_held(held, self.log.len());
        if let Some(held) = self.silence.end(number, now)
            && self.limit.learn(held)
        {
            self.tell_limit(effects);
        }
        let replays = self.log.replayed_from() != u64::MAX;
        if replays || self.registry.consumers().any(Consumer::is_away) {
            effects.wake.extend(self.silence.take_watcher());
        }
        self.silence.begin_watch()
    }

    /// The consumer has taken a frame: others may wait behind it from now on.
    fn watch_if_busy(&mut self, id: ConsumerId, effects: &mut Effects<F, E>) {
        let consumer = self.registry.get(id);
        if consumer.is_some_and(|consumer| consumer.keeps_waiting(&self.log)) {
            effects.wake.extend(self.silence.take_watcher());
        }
    }

    pub(super) fn end_watch(&mut self, effects: &mut Effects<F, E>) {
        effects.wake.extend(self.silence.end_watch());
    }

    /// Gives a frame back if upstream may have starved. `watcher` is taken if there is nothing to
    /// watch for now.
    pub(super) fn look_at_silence(
        &mut self,
        watch: u64,
        now: u64,
        watcher: &mut Option<Waker>,
        effects: &mut Effects<F, E>,
    ) -> Watch {
        if !self.silence.is_watch(watch) {
            return Watch::Over;
        }
        let interval = self.log.shortest_interval();
        loop {
            match self.silence_says(interval, now) {
                Says::WaitUntil(time) => return Watch::For(time - now),
                Says::GiveBack if self.give_back_in_silence(interval, now, effects) => {}
                Says::GiveBack | Says::Nothing => {
                    if let Some(watcher) = watcher.take()
                        && let Some(old) = self.silence.idle(watcher)
                    {
                        effects.free_waker(old);
                    }
                    return Watch::UntilWoken;
                }
            }
        }
    }

    fn silence_says(&mut self, interval: Option<u64>, now: u64) -> Says {
        let last = self.upstream.rate().last();
        match last.filter(|_| self.is_suspect()) {
            Some(last) => {
                let held = self.held(&self.in_hands());
                self.silence.look(last, held, interval, now)
            }
            None => Says::Nothing,
        }
    }

    /// Upstream may have starved if it is silent.
    fn is_suspect(&self) -> bool {
        if self.flushing || !self.limit.has_to_be_learned() {
            return false;
        }
        let keeps = |consumer: &Consumer<E, L>| consumer.keeps_waiting(&self.log);
        self.registry.consumers().any(keeps) || self.replay_may_starve()
    }

    /// What is kept for late joiners alone may be all that upstream has.
    fn replay_may_starve(&self) -> bool {
        let needed = self.registry.needed().unwrap_or_else(|| self.log.end());
        let held = self.held(&self.in_hands());
        self.log.replayed_from() < needed && !self.silence.had_more_than(held)
    }

    fn give_back_in_silence(
        &mut self,
        interval: Option<u64>,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> bool {
        let in_hands = self.in_hands();
        let before = Before {
            held: self.held(&in_hands),
            newest: self.log.number(self.log.end()),
        };
        let gave = self.give_one_back(&in_hands, now, effects);
        if gave {
            self.silence.gave_back(before, interval, now);
        }
        gave
    }

    // ---- what is told ----------------------------------------------------------------------

    pub(super) fn notices(&mut self) -> &mut NoticeQueue<L> {
        &mut self.notices
    }

    pub(super) fn set_report(&mut self, config: ReportConfig, effects: &mut Effects<F, E>) {
        let old = self.notices.set_config(config);
        if old.interval != config.interval {
            for consumer in self.registry.consumers_mut() {
                consumer
                    .told()
                    .change_interval(old.interval, config.interval);
            }
        }
        effects.report = true;
    }

    /// Writes down what is due.
    pub(super) fn collect(&mut self, now: u64) {
        let stall_timeout = self.notices.config().stall_timeout;
        for (id, consumer) in self.registry.with_ids() {
            let snapshot = consumer.snapshot(id, &self.log, now, stall_timeout);
            self.notices.collect(consumer.told(), snapshot, now);
        }
    }

    /// Writes down what is due, and then the consumer's accounts.
    pub(super) fn summarize(&mut self, id: ConsumerId, now: u64, effects: &mut Effects<F, E>) {
        self.collect(now);
        let snapshot = self.snapshot_of(id, now);
        if let Some(snapshot) = snapshot
            && let Some(consumer) = self.registry.get_mut(id)
        {
            self.notices.summarize(consumer.told(), snapshot, now);
        }
        effects.report = true;
    }

    pub(super) fn is_told(&self) -> bool {
        let due = self.registry.consumers().any(Consumer::is_summary_due);
        self.notices.is_idle() && !due
    }

    /// When to tell next, ns from now.
    pub(super) fn next_report(&mut self, now: u64) -> Option<u64> {
        if self.notices.want_retry() {
            return None;
        }
        if self.notices.len() > 0 {
            return Some(0);
        }
        let stall_timeout = self.notices.config().stall_timeout;
        let idle = (stall_timeout != 0).then(|| now.saturating_add(stall_timeout));
        let mut due = idle;
        for (id, consumer) in self.registry.with_ids() {
            let snapshot = consumer.snapshot(id, &self.log, now, stall_timeout);
            let next = self.notices.next_due(consumer.told(), &snapshot, now);
            due = due.into_iter().chain(next).min();
        }
        due.map(|due| due.saturating_sub(now))
    }
}
