// SPDX-License-Identifier: MPL-2.0
//! What every step works on: the log, the consumers that read it, and the notices of what becomes of
//! them.

use super::consumer::{Consumer, Step};
use super::effects::Effects;
use super::figures::Snapshot;
use super::key::{ConsumerId, Stamp};
use super::log::Log;
use super::notices::{Notice, NoticeQueue, ReportConfig};
use super::registry::Registry;
use super::types::{Event, Lost};

pub(super) struct Stage<F, E, L> {
    pub(super) log: Log<F, E>,
    pub(super) registry: Registry<E, L>,
    pub(super) notices: NoticeQueue<L>,
    /// The newest stamp.
    stamp: Stamp,
    /// Between the start and the stop of a flush.
    flushing: bool,
}

impl<F, E: Event, L> Stage<F, E, L> {
    pub(super) fn new() -> Self {
        Self {
            log: Log::new(),
            registry: Registry::new(),
            notices: NoticeQueue::new(),
            stamp: Stamp::default(),
            flushing: false,
        }
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub(super) fn next_stamp(&mut self) -> Stamp {
        self.stamp.advance()
    }

    #[inline]
    pub(super) fn is_flushing(&self) -> bool {
        self.flushing
    }

    pub(super) fn set_flushing(&mut self, flushing: bool) {
        self.flushing = flushing;
    }

    // ---- a step ----------------------------------------------------------------------------

    #[inline]
    fn parts<'a>(
        &'a mut self,
        now: u64,
        effects: &'a mut Effects<F, E>,
    ) -> (&'a mut Registry<E, L>, Step<'a, F, E, L>) {
        let step = Step {
            end: self.log.end(),
            log: &self.log,
            stamp: &mut self.stamp,
            now,
            flushing: self.flushing,
            notices: &mut self.notices,
            effects,
            loss: (u64::MAX, Lost::default()),
        };
        (&mut self.registry, step)
    }

    #[inline]
    pub(super) fn for_each(
        &mut self,
        now: u64,
        effects: &mut Effects<F, E>,
        mut work: impl FnMut(&mut Consumer<E, L>, &mut Step<'_, F, E, L>),
    ) {
        let (registry, mut step) = self.parts(now, effects);
        for consumer in registry.consumers_mut() {
            work(consumer, &mut step);
        }
    }

    /// The consumer, if it is there still, and what it works with.
    #[inline]
    pub(super) fn consumer_mut<R>(
        &mut self,
        id: ConsumerId,
        now: u64,
        effects: &mut Effects<F, E>,
        work: impl FnOnce(&mut Consumer<E, L>, &mut Step<'_, F, E, L>) -> R,
    ) -> Option<R> {
        let (registry, mut step) = self.parts(now, effects);
        Some(work(registry.get_mut(id)?, &mut step))
    }

    // ---- what is needed no longer ----------------------------------------------------------

    /// The first frame that any consumer needs.
    pub(super) fn needed(&self) -> u64 {
        self.registry.needed().unwrap_or_else(|| self.log.end())
    }

    /// Frees the frames that no consumer needs any more.
    pub(super) fn release_unneeded(&mut self, effects: &mut Effects<F, E>) {
        self.log.release_before(self.needed(), effects);
    }

    /// Frees the events that no consumer needs any more.
    pub(super) fn release_unneeded_events(&mut self, effects: &mut Effects<F, E>) {
        let needed = self.registry.needed_events();
        let needed = needed.unwrap_or_else(|| self.log.event_end());
        self.log.release_events_before(needed, effects);
    }

    // ---- what is told ----------------------------------------------------------------------

    /// Has the thread that reports look at once.
    pub(super) fn tell(&mut self, notice: Notice<L>, effects: &mut Effects<F, E>) {
        self.notices.push(notice);
        effects.report = true;
    }

    pub(super) fn tell_truncation(&mut self, effects: &mut Effects<F, E>) {
        let capacity = self.log.replay_capacity();
        self.tell(Notice::GopTruncated { capacity }, effects);
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

    fn stall_timeout(&self) -> u64 {
        self.notices.config().stall_timeout
    }

    pub(super) fn snapshot_of(&self, id: ConsumerId, now: u64) -> Option<Snapshot<L>> {
        let consumer = self.registry.get(id)?;
        Some(consumer.snapshot(id, &self.log, now, self.stall_timeout()))
    }

    pub(super) fn snapshots(&mut self, now: u64) -> Vec<Snapshot<L>> {
        let (log, stall_timeout) = (&self.log, self.notices.config().stall_timeout);
        self.registry
            .with_ids()
            .map(|(id, consumer)| consumer.snapshot(id, log, now, stall_timeout))
            .collect()
    }

    /// Writes down what is due.
    pub(super) fn collect(&mut self, now: u64) {
        let stall_timeout = self.stall_timeout();
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

    /// Writes down all drops that were not told, due or not, and then `mark`.
    pub(super) fn mark(&mut self, mark: u64, now: u64, effects: &mut Effects<F, E>) {
        let end = self.log.end();
        for consumer in self.registry.consumers_mut() {
            let ledger = consumer.ledger(end);
            consumer.tell_all_drops(&mut self.notices, &ledger, now);
        }
        self.tell(Notice::Mark(mark), effects);
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
        let stall_timeout = self.stall_timeout();
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
