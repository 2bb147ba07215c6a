// SPDX-License-Identifier: MPL-2.0
//! Every serialized event comes, in its place among the frames that survive; only when too many
//! wait, some are merged and the oldest expendable ones go.

use crate::fanout::log::{Backlog, Log, Placed, Start};
use crate::fanout::types::Event;

/// The events that wait for a consumer: its own first, then those of the log.
pub(in crate::fanout) struct Events<E> {
    own: Backlog<E>,
    /// Sequence number of the next event in the log.
    next: u64,
    dropped: u64,
}

impl<E: Event> Events<E> {
    /// The number of an event that is none of the stream's.
    const STAND_IN: u64 = u64::MAX;

    pub(in crate::fanout) fn new(next: u64) -> Self {
        Self {
            own: Backlog::new(),
            next,
            dropped: 0,
        }
    }

    /// Sequence number of the first event of the log that it needs.
    pub(in crate::fanout) fn needs_from(&self) -> u64 {
        self.next
    }

    pub(in crate::fanout) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Goes on at `start`.
    pub(in crate::fanout) fn begin(&mut self, start: Start<E>) {
        start
            .events
            .into_iter()
            .for_each(|event| self.own.push(event));
        self.next = start.next;
    }

    /// An event that was delivered before comes once more.
    pub(in crate::fanout) fn repeat(&mut self, event: Placed<E>) {
        self.own.push(event);
    }

    /// An event in place of the newest frame comes after all that wait.
    pub(in crate::fanout) fn stand_in<F>(&mut self, log: &Log<F, E>, event: E) {
        self.collect(log);
        self.own.push(Placed {
            at: log.end(),
            sequence: Self::STAND_IN,
            event,
        });
    }

    /// Frames come again: none needs an event in its place.
    pub(in crate::fanout) fn retract_stand_in(&mut self, gone: &mut impl Extend<E>) {
        self.own
            .retract(|placed| placed.sequence == Self::STAND_IN, gone);
    }

    /// Forgets what waits.
    pub(in crate::fanout) fn clear<F>(&mut self, log: &Log<F, E>, gone: &mut impl Extend<E>) {
        self.own.clear(gone);
        self.next = log.event_end();
    }

    /// Keeps what survives a flush.
    pub(in crate::fanout) fn flush<F>(&mut self, log: &Log<F, E>, gone: &mut impl Extend<E>) {
        self.collect(log);
        self.own.flush(gone);
    }

    /// An event was appended to the log; the frames before `cursor` are gone. True if events were
    /// lost over it.
    pub(in crate::fanout) fn bound<F>(
        &mut self,
        log: &Log<F, E>,
        cursor: u64,
        gone: &mut impl Extend<E>,
    ) -> bool {
        let in_log = log.event_end() - self.next;
        if !self.own.is_full(in_log as usize) {
            return false;
        }
        self.collect(log);
        let dropped = self.own.thin_out(cursor, gone);
        self.dropped += dropped;
        dropped > 0
    }

    /// Takes the events that wait in the log over into its own.
    fn collect<F>(&mut self, log: &Log<F, E>) {
        while let Some(placed) = log.event(self.next) {
            self.own.push(placed.clone());
            self.next += 1;
        }
    }

    /// The next event, if it precedes the frame at `cursor`.
    pub(in crate::fanout) fn take<F>(&mut self, log: &Log<F, E>, cursor: u64) -> Option<Placed<E>> {
        if !self.own.is_empty() {
            return self.own.next(cursor);
        }
        let placed = log.event(self.next).filter(|placed| placed.at <= cursor)?;
        self.next += 1;
        Some(placed.clone())
    }

    /// The consumer goes back to the frame at `position`, which no event of the stream since bars: those
    /// that do came before it, wherever they wait now.
    pub(in crate::fanout) fn go_back(&mut self, position: u64) {
        self.own.go_back(position);
    }

    /// All that wait, in order.
    pub(in crate::fanout) fn waiting<'a, F>(
        &'a self,
        log: &'a Log<F, E>,
    ) -> impl Iterator<Item = &'a Placed<E>> {
        let in_log = (self.next..log.event_end()).filter_map(|sequence| log.event(sequence));
        self.own.iter().chain(in_log)
    }
}
