// SPDX-License-Identifier: MPL-2.0
//! What the lock guards, and what each verb does to it.

use std::sync::Arc;
use std::task::Waker;

use super::consumer::{Consumer, Gate, Next};
use super::effects::Effects;
use super::figures::{Course, Snapshot, Totals};
use super::key::{ConsumerId, Stamp};
use super::log::{Kept, Log};
use super::pool::Pool;
use super::stage::Stage;
use super::types::{Answer, Done, Event, FrameInfo, Limits, Link, Lost, Taken, Watch};
use super::upstream::Upstream;
use crate::facts::Drops;
use crate::sync::atomic::AtomicU64;

pub(super) struct Core<F, E, L> {
    stage: Stage<F, E, L>,
    upstream: Upstream,
    pool: Pool,
    /// Drops of consumers that have left.
    released: Drops,
    /// The end that the application has put to the stream, until a new life.
    closed: Option<E>,
    /// Frames that came after it.
    turned_away: u64,
}

impl<F: Clone, E: Event, L> Core<F, E, L> {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::new(),
            upstream: Upstream::new(),
            pool: Pool::new(),
            released: Drops::default(),
            closed: None,
            turned_away: 0,
        }
    }

    /// For verbs that need the log, the consumers and the notices only.
    #[inline]
    pub(super) fn stage(&mut self) -> &mut Stage<F, E, L> {
        &mut self.stage
    }

    /// Draws the conclusions of a step: frees what no consumer needs any more, works out what
    /// upstream hears, and wakes the thread that reports.
    #[inline(always)]
    pub(super) fn conclude(&mut self, effects: &mut Effects<F, E>) {
        if effects.frames_moved {
            self.stage.release_unneeded(effects);
        }
        if effects.events_moved | effects.served_changed | effects.report {
            self.conclude_rest(effects);
        }
    }

    /// What has no conclusions in most steps.
    fn conclude_rest(&mut self, effects: &mut Effects<F, E>) {
        if effects.events_moved {
            self.stage.release_unneeded_events(effects);
        }
        if self.closed.is_some() {
            self.upstream.end();
        } else if effects.served_changed {
            let consumers = self.stage.registry.consumers().map(Consumer::standing);
            self.upstream.update_answer(consumers);
        }
        if effects.report {
            effects.note_waker(self.stage.notices.take_reporter());
        }
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
        if self.closed.is_some() {
            self.turn_away(frame, info.lost(), now, effects);
            return (false, None);
        }
        let stage = &mut self.stage;
        if stage.log.append(frame, info, now, effects) {
            stage.tell_truncation(effects);
        }
        if stage.is_flushing() {
            stage.log.forget_replay(effects);
        }
        let watch = self.pool.note_frame(stage, now, effects);
        if self.pool.is_limited() {
            effects.frames_moved = true;
            self.pool.offer(stage, now, effects);
        } else {
            let mut needed = stage.log.end();
            stage.for_each(now, effects, |consumer, step| {
                consumer.offer(step);
                needed = needed.min(consumer.needs_from());
            });
            stage.log.release_before(needed, effects);
            effects.frames_moved = false;
        }
        let request_keyframe = effects.want_keyframe && self.request_keyframe(None, None, now);
        (request_keyframe, watch)
    }

    /// The stream is closed: the frame is counted, and goes.
    #[cold]
    fn turn_away(&mut self, frame: F, lost: Lost, now: u64, effects: &mut Effects<F, E>) {
        self.turned_away += 1;
        self.stage.for_each(now, effects, |consumer, step| {
            consumer.turn_away(step, lost);
        });
        effects.free_frame(frame);
    }

    /// Ends the stream by `event`, once: what waits is still taken, and nothing that comes later counts
    /// for anything.
    pub(super) fn close(&mut self, event: E, now: u64, effects: &mut Effects<F, E>) {
        if self.closed.is_some() {
            return effects.free_event(event);
        }
        self.publish_event(event.clone(), now, effects);
        self.closed = Some(event);
        effects.served_changed = true;
    }

    pub(super) fn publish_event(&mut self, event: E, now: u64, effects: &mut Effects<F, E>) {
        if self.closed.is_some() {
            return effects.free_event(event);
        }
        let stage = &mut self.stage;
        if stage.is_flushing() && !event.survives_flush() {
            // It was on its way when the flush began, and is void as what waits.
            return effects.free_event(event);
        }
        self.pool.note_event(now, event.ends_stream());
        stage.log.append_event(event, effects);
        let Some(placed) = stage.log.event(stage.log.event_end() - 1).cloned() else {
            return;
        };
        stage.for_each(now, effects, |consumer, step| {
            consumer.offer_event(step, &placed);
        });
        effects.events_moved = true;
        effects.free_event(placed.event);
    }

    pub(super) fn flush_start(&mut self, now: u64, effects: &mut Effects<F, E>) {
        let stage = &mut self.stage;
        stage.set_flushing(true);
        self.pool.flush();
        self.upstream.keyframes().flush(stage.log.end());
        stage.for_each(now, effects, Consumer::flush_start);
        stage.log.flush(effects);
    }

    pub(super) fn flush_stop(&mut self, now: u64, effects: &mut Effects<F, E>) {
        self.stage.set_flushing(false);
        self.pool.note_event(now, false);
        self.stage.for_each(now, effects, Consumer::flush_stop);
        // A flush makes an end void, but not this one.
        if let Some(end) = self.closed.take() {
            self.close(end, now, effects);
        }
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
        let Stage { log, registry, .. } = &mut self.stage;
        let keyframes = self.upstream.keyframes();
        let reached = match keyframes.flushed_at() == log.end() {
            true => 0,
            false => log.end_time(),
        };
        let may = keyframes.may(at, reached, now);
        match asks {
            _ if !may => {}
            Some(id) => {
                if let Some(consumer) = registry.get_mut(id) {
                    consumer.note_keyframe_request(true);
                }
            }
            None => {
                for consumer in registry.consumers_mut() {
                    consumer.note_keyframe_request(false);
                }
            }
        }
        may
    }

    pub(super) fn set_replay_capacity(&mut self, capacity: u64, effects: &mut Effects<F, E>) {
        if self.stage.log.set_replay_capacity(capacity, effects) {
            self.stage.tell_truncation(effects);
        }
    }

    /// A new life: all counters at zero. Returns the old log, to be freed without the lock.
    pub(super) fn reset(&mut self, effects: &mut Effects<F, E>) -> Log<F, E> {
        let stage = &mut self.stage;
        stage.registry.orphan_all();
        stage.for_each(0, effects, Consumer::reset);
        stage.set_flushing(false);
        self.upstream = Upstream::new();
        self.released = Drops::default();
        if let Some(end) = self.closed.take() {
            effects.free_event(end);
        }
        self.turned_away = 0;
        self.pool.reset(effects);
        effects.served_changed = true;
        self.stage.log.reset()
    }

    // ---- consumers -------------------------------------------------------------------------

    pub(super) fn join(&mut self, label: L, limits: Limits) -> ConsumerId {
        let joined = self.stage.next_stamp();
        let consumer = Consumer::new(label, limits, joined, &self.stage.log);
        self.stage.registry.add(joined, consumer)
    }

    /// The stamp of the session; of a consumer that left, one that nothing is served with.
    pub(super) fn activate(
        &mut self,
        id: ConsumerId,
        link: Link,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Stamp {
        self.stage.registry.orphan(id);
        self.stage.consumer_mut(id, now, effects, |consumer, step| {
            consumer.activate(step, link);
        });
        self.pool.look_again(effects);
        self.stage.stamp()
    }

    pub(super) fn readmit(
        &mut self,
        id: ConsumerId,
        repeats: bool,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        self.stage.consumer_mut(id, now, effects, |consumer, step| {
            consumer.readmit(step, repeats);
        });
        self.pool.look_again(effects);
    }

    /// Removes the consumer; its last accounts.
    pub(super) fn leave(
        &mut self,
        id: ConsumerId,
        label: L,
        now: u64,
        effects: &mut Effects<F, E>,
    ) -> Option<Snapshot<L>> {
        let stage = &mut self.stage;
        stage.registry.orphan(id);
        let own_label = stage.consumer_mut(id, now, effects, |consumer, step| {
            consumer.deactivate(step);
            consumer.abandon_flight(step);
            consumer.relabel(label)
        })?;
        stage.summarize(id, now, effects);
        let last = stage.snapshot_of(id, now);
        let last = last.map(|last| last.called(own_label));
        let old = stage.registry.remove(id)?;
        self.released.add_all(&old.ledger(stage.log.end()).dropped);
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
        let stage = &mut self.stage;
        let next = stage.consumer_mut(id, now, effects, |consumer, step| {
            let next = consumer.next(step, session);
            if matches!(next, Next::Nothing) {
                consumer.wait(step.effects, waker);
            }
            next
        });
        match next {
            None => Taken::Released,
            Some(Next::Cancelled) => Taken::Cancelled,
            Some(Next::Closed(next)) => Taken::Closed(next),
            Some(Next::Superseded(next)) => Taken::Superseded(next),
            Some(Next::Evicted) => Taken::Evicted,
            Some(Next::Resumed) => Taken::Resumed,
            Some(Next::Nothing) => Taken::Wait,
            Some(Next::Event(event, stamp)) => Taken::Event(event, stamp),
            Some(Next::Frame(taken)) => {
                let needed = match taken.sequence == stage.log.base() {
                    true => stage.registry.needed().unwrap_or(u64::MAX),
                    false => 0,
                };
                let frame = stage.log.hand_out(taken.sequence, needed);
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
        let registry = &mut self.stage.registry;
        let is_orphan = registry.orphans() > 0 && registry.finish_orphan(id, done.stamp);
        if !is_orphan {
            self.stage.consumer_mut(id, now, effects, |consumer, step| {
                consumer.finish(step, done);
            });
        }
        self.pool.note_landing(&mut self.stage, now, effects);
    }

    /// The consumer's gate opens or closes.
    pub(super) fn set_gate(
        &mut self,
        id: ConsumerId,
        gate: Gate,
        now: u64,
        effects: &mut Effects<F, E>,
    ) {
        self.stage.consumer_mut(id, now, effects, |consumer, step| {
            consumer.set_gate(step, gate);
        });
        self.pool.look_again(effects);
    }

    /// The element plays, or does not.
    pub(super) fn set_playing(&mut self, plays: bool, now: u64, effects: &mut Effects<F, E>) {
        self.pool.set_playing(plays, now, effects);
        if !plays {
            let consumers = self.stage.registry.consumers_mut();
            consumers.for_each(Consumer::need_stand_in);
        }
    }

    /// The stream will not start.
    pub(super) fn cancel(&mut self, effects: &mut Effects<F, E>) {
        self.stage.for_each(0, effects, Consumer::cancel);
    }

    // ---- upstream's pool -------------------------------------------------------------------

    pub(super) fn landed(&self, id: ConsumerId) -> Option<Arc<AtomicU64>> {
        Some(self.stage.registry.get(id)?.landed().clone())
    }

    /// The pool, and what its verbs work on.
    pub(super) fn pool(&mut self) -> (&mut Pool, &mut Stage<F, E, L>) {
        (&mut self.pool, &mut self.stage)
    }

    pub(super) fn look_at_silence(
        &mut self,
        watch: u64,
        now: u64,
        watcher: &mut Option<Waker>,
        effects: &mut Effects<F, E>,
    ) -> Watch {
        let last = self.upstream.rate().last();
        self.pool
            .look_at_silence(&mut self.stage, watch, last, now, watcher, effects)
    }

    // ---- what is read ----------------------------------------------------------------------

    pub(super) fn is_idle(&self, id: ConsumerId) -> bool {
        let consumer = self.stage.registry.get(id);
        consumer.is_some_and(Consumer::is_idle)
    }

    pub(super) fn has_news(&self, id: ConsumerId, session: Stamp) -> bool {
        let consumer = self.stage.registry.get(id);
        consumer.is_some_and(|consumer| consumer.has_news(&self.stage.log, session))
    }

    /// What is kept for late joiners, in order.
    pub(super) fn replay(&self) -> Vec<Kept<F, E>> {
        self.stage.log.replay()
    }

    pub(super) fn is_current(&self, id: ConsumerId, stamp: Stamp) -> bool {
        let consumer = self.stage.registry.get(id);
        consumer.is_some_and(|consumer| consumer.is_current(stamp))
    }

    pub(super) fn totals(&mut self, now: u64) -> Totals {
        let end = self.stage.log.end();
        let consumers = self.stage.registry.consumers();
        let living: u64 = consumers
            .map(|consumer| consumer.ledger(end).dropped.total())
            .sum();
        let (frame_rate, bytes_per_second) = self.upstream.rate().per_second(now);
        let last = self.upstream.rate().last();
        Totals {
            published: end + self.turned_away,
            bytes: self.upstream.rate().bytes(),
            dropped: self.released.total() + living,
            keyframe_requests: self.upstream.keyframes().count(),
            frame_rate,
            bitrate: bytes_per_second * 8,
            last_frame_age: last.map(|last| now.saturating_sub(last)),
            run: self.stage.log.run(),
            course: self.course(),
            pool: self.pool.figures(&self.stage),
        }
    }

    fn course(&self) -> Course {
        match &self.closed {
            Some(_) => Course::Closed,
            None if self.stage.log.has_ended() => Course::Ended,
            None => Course::Running,
        }
    }

    /// No consumer, past or present, holds a frame, nor is one kept.
    pub(super) fn is_drained(&self) -> bool {
        let Stage { log, registry, .. } = &self.stage;
        let mut flights = registry.consumers().filter_map(Consumer::flight);
        log.base() == log.end()
            && flights.next().is_none()
            && registry.orphans() == 0
            && self.pool.keeps_none()
    }

    pub(super) fn orphans(&self) -> usize {
        self.stage.registry.orphans()
    }
}
