// SPDX-License-Identifier: MPL-2.0
//! How a consumer comes and goes, and the events that it gets.

use std::sync::Arc;

use super::burst::Burst;
use super::{Cx, Mode, Pending, Taker};
use crate::facts::DropReason;
use crate::fanout::log::Start;
use crate::fanout::{Event, Label};

impl<E: Event> Taker<E> {
    /// Joins or comes back, reading from `start`.
    pub(in crate::fanout) fn activate<F>(&mut self, cx: &mut Cx<'_, F, E>, start: Start<E>) {
        if self.active {
            self.deactivate(cx);
        }
        match self.mode {
            Mode::Idle => {
                self.joined = start.position;
                self.cursor = start.position;
                self.burst = Burst::of(cx.log, start.position);
            }
            Mode::Ended(DropReason::Evicted) => self.forgive(),
            _ => {}
        }
        self.abandon_flight(cx);
        self.mode = Mode::Serving;
        self.active = true;
        self.active_since = cx.now;
        self.pending = None;
        self.needs_key = self.cursor == cx.log.end();
        self.begin_with(start);
        self.owes_summary = self.end_waits(cx);
        self.session = cx.stamp.advance();
        cx.later.report = true;
        cx.later.wake.extend(self.waiting.take());
    }

    /// The frame in flight is lost: whatever its thread says of it later does not count.
    pub(in crate::fanout) fn abandon_flight<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.discont = true;
        self.lost += 1;
        let (end, reason) = (cx.log.end(), DropReason::Flushing);
        self.count_drop(end, reason, 1, flight.lost, cx.now, cx.desk);
    }

    /// Nobody is there to serve yet.
    pub(in crate::fanout) fn begin_unlinked<F>(&mut self, cx: &mut Cx<'_, F, E>, flow: i32) {
        self.end(cx, DropReason::NotLinked);
        self.flow = flow;
    }

    fn begin_with(&mut self, start: Start<E>) {
        for (position, event) in start.events {
            self.early.push(position, event);
        }
        self.next_event = start.event;
    }

    /// What was lost before an eviction was lifted is no reason for the next one.
    fn forgive(&mut self) {
        self.forgiven = self.dropped.get(DropReason::Slow);
    }

    /// What it lost before is told by its old name.
    pub(in crate::fanout) fn rename<F>(&mut self, cx: &mut Cx<'_, F, E>, label: Label) {
        if *self.label == label {
            return;
        }
        let old = std::mem::replace(&mut self.label, Arc::new(label));
        let ledger = self.ledger(cx.log.end());
        for reason in DropReason::ALL {
            cx.desk
                .tell_drops(&old, &mut self.told, &ledger, reason, cx.now, true);
        }
        cx.later.report = true;
    }

    /// Stops: what waits is dropped, whoever waits learns it.
    pub(in crate::fanout) fn deactivate<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        self.active = false;
        self.pending = None;
        self.owes_summary = false;
        self.early.clear(&mut cx.later.free_events);
        self.next_event = cx.log.event_end();
        if self.mode == Mode::Serving {
            self.end(cx, DropReason::Flushing);
        }
        cx.later.wake.extend(self.waiting.take());
    }

    /// The stream will not start: whoever waits for that learns it.
    pub(in crate::fanout) fn dismiss<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        if self.mode == Mode::Idle
            && let Some(waker) = self.waiting.take()
        {
            self.pending = Some(Pending::Cancelled);
            cx.later.wake.push(waker);
        }
    }

    /// Is served again after it had ended; `start` is where an evicted one begins.
    pub(in crate::fanout) fn readmit<F>(
        &mut self,
        cx: &mut Cx<'_, F, E>,
        start: Start<E>,
        repeats: bool,
    ) {
        if !self.active {
            return;
        }
        // An answer to a frame from before does not end it again.
        self.accepted = cx.stamp.advance();
        if self.mode == Mode::Ended(DropReason::Evicted) {
            self.pending = None;
            self.begin_with(start);
            self.forgive();
        } else if self.out == 0 && self.mode == Mode::Ended(DropReason::NotLinked) {
            self.begin_with_cache(cx, start);
        } else if repeats {
            self.repeat_last_event(cx, start);
        }
        if self.mode != Mode::Serving {
            self.mode = Mode::Serving;
            self.needs_key = self.cursor == cx.log.end();
            cx.later.report = true;
        }
        cx.later.wake.extend(self.waiting.take());
    }

    /// It joined some time ago, but is linked only now: it gets what others get when they join.
    fn begin_with_cache<F>(&mut self, cx: &mut Cx<'_, F, E>, live: Start<E>) {
        let start = cx.log.start_cached();
        let end = cx.log.end();
        if start.position == end {
            return self.repeat_last_event(cx, live);
        }
        self.replayed = cx.stamp.advance();
        self.forget_events(cx);
        self.cursor = start.position;
        self.burst = Burst::of(cx.log, start.position);
        self.offered_again += self.burst.frames;
        self.active_since = cx.now;
        self.begin_with(start);
        self.owes_summary = self.end_waits(cx);
    }

    /// Whoever was linked only now learns what it missed with the next event, which may be long in
    /// coming: the last one is delivered once more.
    fn repeat_last_event<F>(&mut self, cx: &Cx<'_, F, E>, mut start: Start<E>) {
        let nothing_waits = self.cursor == cx.log.end()
            && self.next_event == cx.log.event_end()
            && self.early.is_empty();
        if nothing_waits && let Some((position, last)) = start.events.pop() {
            self.early.push(position, last);
        }
    }

    /// A flush: what waits is void, but for the sticky events that survive it.
    pub(in crate::fanout) fn flush<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        if self.mode == Mode::Serving {
            self.overtake(cx, cx.log.end() - self.cursor, DropReason::Flushing);
        }
        self.fresh = true;
        if self.pending == Some(Pending::Resumed) {
            self.pending = None;
        }
        self.collect_events(cx);
        self.early.flush(&mut cx.later.free_events);
        self.owes_summary = self.end_waits(cx);
    }

    /// A flush is over, which undid any end of the stream.
    pub(in crate::fanout) fn resume<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        if !self.active {
            return;
        }
        self.pending = Some(match self.mode {
            Mode::Ended(DropReason::Evicted) => Pending::Evicted,
            _ => Pending::Resumed,
        });
        // What it answers to a frame from before the flush is over, too.
        self.accepted = cx.stamp.advance();
        if let Mode::Ended(DropReason::Eos | DropReason::Error) = self.mode {
            self.readmit(cx, cx.log.start_live(), false);
        }
        cx.later.wake.extend(self.waiting.take());
    }

    /// An event was appended; `start` is where a consumer would start that begins anew.
    pub(in crate::fanout) fn offer_event<F>(&mut self, cx: &mut Cx<'_, F, E>, event: &E) {
        match self.mode {
            _ if !self.active => {
                self.next_event = cx.log.event_end();
                return;
            }
            Mode::Ended(DropReason::Evicted) => {
                self.told.summary_due |= event.ends_stream();
                cx.later.report |= event.ends_stream();
                self.forget_events(cx);
                return cx.later.wake.extend(self.waiting.take());
            }
            Mode::Ended(reason) if event.readmits(reason) => {
                self.readmit(cx, cx.log.start_live(), true);
            }
            _ => {}
        }
        self.owes_summary |= event.ends_stream();
        let in_log = cx.log.event_end() - self.next_event;
        if self.early.is_full(in_log as usize) {
            self.shed_events(cx);
        }
        cx.later.wake.extend(self.waiting.take());
    }

    /// The consumer gets `event`: at the end of the stream its accounts are told, but not again
    /// when that end is repeated for a branch that was linked after it.
    pub(super) fn note_end<F>(&mut self, cx: &mut Cx<'_, F, E>, event: &E) {
        if event.ends_stream() {
            let waits = self.end_waits(cx);
            let owed = std::mem::replace(&mut self.owes_summary, waits);
            self.told.summary_due |= owed;
            cx.later.report |= owed;
        }
    }

    fn end_waits<F>(&self, cx: &Cx<'_, F, E>) -> bool {
        let in_log = self.next_event..cx.log.event_end();
        self.early
            .iter()
            .chain(in_log.filter_map(|sequence| cx.log.event(sequence)))
            .any(|(_, event)| event.ends_stream())
    }

    /// Forgets what waits.
    pub(super) fn forget_events<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        self.early.clear(&mut cx.later.free_events);
        self.next_event = cx.log.event_end();
    }

    /// Takes the events that wait in the log over into its own list.
    fn collect_events<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        while let Some((at, event)) = cx.log.event(self.next_event) {
            self.early.push(*at, event.clone());
            self.next_event += 1;
        }
    }

    /// Thins out the events that wait for a consumer that does not come back.
    fn shed_events<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        self.collect_events(cx);
        let gone = &mut cx.later.free_events;
        let dropped = self.early.thin_out(self.cursor, gone);
        self.events_dropped += dropped;
        cx.later.report |= dropped > 0;
    }
}
