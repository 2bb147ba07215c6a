// SPDX-License-Identifier: MPL-2.0
//! What a consumer takes, and what becomes of it.

use std::task::Waker;

use super::{Cx, Flight, Mode, Next, Pending, Taker};
use crate::facts::{DropReason, State};
use crate::fanout::{Event, Outcome, Stamp};

/// More frames than this are not shown before the keyframe that they follow.
const MAX_LEADING: u64 = 32;

impl<E: Event> Taker<E> {
    /// What comes next; a frame is then in flight until [`finish`](Self::finish).
    pub(in crate::fanout) fn next<F>(&mut self, cx: &mut Cx<'_, F, E>, session: Stamp) -> Next<E> {
        if !self.active {
            // Whoever came before the start may wait for it.
            let starts = self.mode == Mode::Idle && session >= self.session;
            let waits = starts && self.pending.take() != Some(Pending::Cancelled);
            return match waits {
                true => Next::Nothing,
                false => Next::Closed(self.session),
            };
        }
        if session < self.session {
            return Next::Superseded(self.session);
        }
        if self.limits.max_age != 0 {
            self.fit(cx);
        }
        if self.pending == Some(Pending::Evicted) {
            self.pending = None;
            return Next::Evicted;
        }
        if cx.flushing {
            return Next::Nothing;
        }
        if self.pending.take() == Some(Pending::Resumed) {
            return Next::Resumed;
        }
        while self.is_leading(cx) {
            self.lose(cx, 1, DropReason::WaitingKeyframe);
            self.leading_lost += 1;
            if self.leading_lost > MAX_LEADING {
                // No codec reorders so many: time went back, and these were references.
                self.overtake(cx, 0, DropReason::WaitingKeyframe);
            }
        }
        if let Some(event) = self.early.next(self.cursor) {
            self.note_end(cx, &event);
            return Next::Event(event);
        }
        if self.early.is_empty()
            && let Some((at, event)) = cx.log.event(self.next_event)
            && *at <= self.cursor
        {
            self.next_event += 1;
            self.note_end(cx, event);
            return Next::Event(event.clone());
        }
        if self.cursor == cx.log.end() {
            return Next::Nothing;
        }
        let position = self.cursor;
        self.note_start(cx);
        self.cursor += 1;
        self.burst.note(cx.log, self.cursor);
        let flight = Flight {
            stamp: self.stamp(),
            since: cx.now,
            lost: cx.lost(position),
        };
        // Whoever takes the next one is done with the one before.
        self.out += u64::from(self.flight.replace(flight).is_some());
        Next::Frame(position)
    }

    /// Whether the next frame is shown before the keyframe that the consumer started at, although
    /// it comes after it: then it needs frames from before that, too.
    fn is_leading<F>(&self, cx: &Cx<'_, F, E>) -> bool {
        let Some(until) = self.leading_until else {
            return false;
        };
        let next = cx.log.entry(self.cursor).map(|entry| entry.info);
        next.is_some_and(|next| next.delta && next.pts.is_some_and(|pts| pts < until))
    }

    /// The next frame is taken: leading ones may follow if the consumer starts with it.
    fn note_start<F>(&mut self, cx: &Cx<'_, F, E>) {
        let starts = std::mem::take(&mut self.fresh) || self.discont || self.out == 0;
        self.leading_lost = 0;
        self.leading_until = cx.log.entry(self.cursor).and_then(|next| {
            if next.follows_header {
                // It is the headers before it that the consumer started at.
                return self.leading_until.and(next.info.pts);
            }
            (starts && !next.info.delta).then_some(next.info.pts.unwrap_or(0))
        });
    }

    /// What the frame that was just handed out has to carry: DISCONT, and how many were lost.
    pub(in crate::fanout) fn take_loss(&mut self) -> (bool, u64) {
        (
            std::mem::take(&mut self.discont),
            std::mem::take(&mut self.lost),
        )
    }

    /// The frame in flight came to its end.
    pub(in crate::fanout) fn finish<F>(
        &mut self,
        cx: &mut Cx<'_, F, E>,
        stamp: Stamp,
        outcome: Outcome,
        flow: i32,
    ) {
        if stamp < self.session {
            return;
        }
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.flow = flow;
        self.last_flight = cx.now.saturating_sub(flight.since);
        cx.later.report |= self.told.state == State::Stalled;
        let reason = match outcome {
            Outcome::Delivered => {
                self.out += 1;
                return;
            }
            Outcome::Lost(reason) | Outcome::Ended(reason) => reason,
        };
        self.discont = true;
        self.lost += 1;
        let due = self.count_drop(cx.log.end(), reason, 1, flight.lost, cx.now, cx.desk);
        cx.later.report |= due;
        if self.mode != Mode::Serving {
            return;
        }
        if matches!(outcome, Outcome::Ended(_)) && stamp >= self.accepted {
            match self.recovery(cx, reason) {
                Some(at) => self.overtake(cx, at - self.cursor, reason),
                None => self.end(cx, reason),
            }
        } else {
            self.overtake(cx, 0, reason);
        }
    }

    /// Where the first event waits that would have it served again after it ended for `reason`: the
    /// answer to a frame from before is not for what comes after.
    fn recovery<F>(&self, cx: &Cx<'_, F, E>, reason: DropReason) -> Option<u64> {
        let in_log = self.next_event..cx.log.event_end();
        self.early
            .iter()
            .chain(in_log.filter_map(|sequence| cx.log.event(sequence)))
            .find(|(_, event)| event.readmits(reason))
            .map(|(at, _)| (*at).max(self.cursor))
    }

    /// Takes no more frames: those that wait and those that come are dropped for `reason`.
    pub(in crate::fanout) fn end<F>(&mut self, cx: &mut Cx<'_, F, E>, reason: DropReason) {
        self.mode = Mode::Ended(reason);
        self.lose(cx, cx.log.end() - self.cursor, reason);
        cx.later.mode_changed = true;
        cx.later.report = true;
    }

    /// A keyframe is asked for, on this consumer's behalf too if it waits for one.
    pub(in crate::fanout) fn note_keyframe_request(&mut self, own: bool) {
        let waits = self.needs_key && self.mode == Mode::Serving;
        self.requested_keyframes += u64::from(own || waits);
    }

    /// Nothing is there: `waker` is woken when there is. It is taken, as a clone may be anybody's
    /// code, which must not run under the lock.
    pub(in crate::fanout) fn wait<F>(&mut self, cx: &mut Cx<'_, F, E>, waker: &mut Option<Waker>) {
        let known = |waiting: &Waker| waker.as_ref().is_none_or(|waker| waiting.will_wake(waker));
        if !self.waiting.as_ref().is_some_and(known)
            && let Some(waker) = waker.take()
        {
            let old = self.waiting.replace(waker);
            cx.later.free_wakers.extend(old);
        }
    }
}
