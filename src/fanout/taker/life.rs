// SPDX-License-Identifier: MPL-2.0
//! How a consumer comes and goes, and the events that it gets.

use std::sync::Arc;

use super::burst::Burst;
use super::{Cx, Mode, Taker};
use crate::fanout::log::Start;
use crate::fanout::{Event, Label};
use crate::reason::DropReason;

impl<E: Event> Taker<E> {
    /// Joins or comes back, reading from `start`; returns the run to serve it with.
    pub(in crate::fanout) fn activate<F>(&mut self, cx: &mut Cx<'_, F, E>, start: Start<E>) -> u32 {
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
        if let Some(flight) = self.flight.take() {
            // Its thread never came back; whatever it says later is not for this life.
            self.discont = true;
            self.lost += 1;
            self.count_drop(
                cx.log.end(),
                DropReason::Flushing,
                1,
                flight.lost,
                cx.now,
                cx.desk,
            );
        }
        self.mode = Mode::Serving;
        self.active = true;
        self.active_since = cx.now;
        self.begun_untold = true;
        self.needs_key = self.cursor == cx.log.end();
        self.begin_with(start);
        self.owes_summary = self.end_waits(cx);
        self.ticket = self.ticket.next_run();
        cx.later.report = true;
        cx.later.wake.extend(self.waiting.take());
        self.ticket.run
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
        self.evicted_untold = false;
        self.begun_untold = false;
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
            self.dismissed = true;
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
        self.ticket.epoch = self.ticket.epoch.wrapping_add(1);
        if self.mode == Mode::Ended(DropReason::Evicted) {
            self.evicted_untold = false;
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
        self.beginnings = self.beginnings.wrapping_add(1);
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
        self.collect_events(cx);
        self.early.flush(&mut cx.later.free_events);
        self.owes_summary = self.end_waits(cx);
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
        // A flush undoes what an evicted one was told.
        self.evicted_untold |= event.ends_flush() && self.mode == Mode::Ended(DropReason::Evicted);
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

    /// Forgets what waits, but for the end of a flush: the start of it has passed.
    pub(super) fn forget_events<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        self.collect_events(cx);
        let flush = self.early.iter().rfind(|(_, event)| event.ends_flush());
        let flush = flush.map(|(_, event)| event.clone());
        self.early.clear(&mut cx.later.free_events);
        if let Some(event) = flush {
            self.early.push(0, event);
        }
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
