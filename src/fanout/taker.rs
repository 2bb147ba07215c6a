// SPDX-License-Identifier: MPL-2.0
//! One consumer: a window on the log, its limits and its accounts.

mod accounts;
mod burst;
mod life;
mod out;

use std::sync::Arc;
use std::task::Waker;

use burst::Burst;

use super::events::Backlog;
use super::later::Later;
use super::log::Log;
use super::report::{Desk, Lost, Told};
use super::{Event, Label, Limits, Stamp};
use crate::facts::{DropReason, Drops};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Never active yet: nothing counts.
    Idle,
    Serving,
    /// Gets no frame: each is dropped for this reason.
    Ended(DropReason),
}

/// What the consumer gets next.
pub(super) enum Next<E> {
    Event(E),
    Frame(u64),
    /// The consumer was evicted and has to be told.
    Evicted,
    /// A flush is over.
    Resumed,
    Nothing,
    /// It was stopped.
    Closed(Stamp),
    /// Another session serves it now.
    Superseded(Stamp),
}

/// What the consumer has to be told before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// A flush is over.
    Resumed,
    /// It was evicted, or a flush undid that it was told so.
    Evicted,
    /// The stream will not start.
    Cancelled,
}

/// What a taker works with, all of it under the lock.
pub(super) struct Cx<'a, F, E> {
    pub(super) log: &'a Log<F, E>,
    pub(super) stamp: &'a mut Stamp,
    pub(super) now: u64,
    /// Frames are void.
    pub(super) flushing: bool,
    /// The last answer of [`plain_loss`](Self::plain_loss), most takers ask for the same.
    pub(super) plain: (u64, Option<Lost>),
    pub(super) desk: &'a mut Desk,
    pub(super) later: &'a mut Later<F, E>,
}

impl<F, E: Event> Cx<'_, F, E> {
    /// What to tell of the frame at `position`, if no other is useless without it and drops are
    /// not told one by one.
    #[inline]
    fn plain_loss(&mut self, position: u64) -> Option<Lost> {
        if self.plain.0 != position {
            let plain = !self.desk.tells_each() && !self.is_delta(position + 1);
            self.plain = (position, plain.then(|| self.lost(position)));
        }
        self.plain.1
    }

    fn is_delta(&self, position: u64) -> bool {
        self.log
            .entry(position)
            .is_some_and(|entry| entry.info.delta)
    }

    fn lost(&self, position: u64) -> Lost {
        self.log
            .entry(position)
            .map_or_else(Lost::default, |entry| entry.info.lost())
    }
}

/// A frame that the consumer has not given back.
struct Flight {
    stamp: Stamp,
    since: u64,
    lost: Lost,
}

pub(super) struct Taker<E> {
    pub(super) mode: Mode,
    active: bool,
    /// More than `depth` has to be looked at for each frame.
    more_limits: bool,
    needs_key: bool,
    /// Nothing of the stream has come to it since it joined, or since a flush.
    fresh: bool,
    /// Time of the keyframe it started at, ns, while frames may come that are shown before that.
    leading_until: Option<u64>,
    /// So many in a row were lost as shown before that.
    leading_lost: u64,
    discont: bool,
    pending: Option<Pending>,
    /// An end of the stream is on its way that was not there before: its accounts are to be told.
    owes_summary: bool,
    limits: Limits,
    joined: u64,
    /// Frames of the cache that it got after they had been dropped for want of a link.
    offered_again: u64,
    /// When it was activated, ns: frames from the cache have not waited for it before.
    active_since: u64,
    /// Position of the next frame: the queue is what lies between it and the log's end.
    cursor: u64,
    burst: Burst,
    out: u64,
    dropped: Drops,
    /// Of the frames dropped as slow, those before the last eviction was lifted.
    forgiven: u64,
    lost: u64,
    flight: Option<Flight>,
    /// How long the last frame was in flight, ns.
    last_flight: u64,
    pub(super) waiting: Option<Waker>,
    pub(super) told: Told,
    pub(super) label: Arc<Label>,
    /// Sequence number of the next event in the log.
    next_event: u64,
    /// Events to deliver before those of the log, with the position of the frame they precede.
    early: Backlog<E>,
    /// When it was activated, or since when it may be.
    session: Stamp,
    /// When it was served again last: answers to frames from before do not end it.
    accepted: Stamp,
    /// When it was given what is kept for late joiners after it had joined: events from before are
    /// void.
    replayed: Stamp,
    flow: i32,
    events_dropped: u64,
    requested_keyframes: u64,
}

impl<E: Event> Taker<E> {
    pub(super) fn new(
        label: Arc<Label>,
        limits: Limits,
        joined: Stamp,
        end: u64,
        event_end: u64,
    ) -> Self {
        let mut taker = Self {
            mode: Mode::Idle,
            active: false,
            more_limits: false,
            needs_key: true,
            fresh: true,
            leading_until: None,
            leading_lost: 0,
            discont: false,
            pending: None,
            owes_summary: false,
            limits,
            joined: end,
            offered_again: 0,
            active_since: 0,
            cursor: end,
            burst: Burst::default(),
            out: 0,
            dropped: Drops::default(),
            forgiven: 0,
            lost: 0,
            flight: None,
            last_flight: 0,
            waiting: None,
            told: Told::default(),
            label,
            next_event: event_end,
            early: Backlog::new(),
            session: joined,
            accepted: joined,
            replayed: joined,
            flow: 0,
            events_dropped: 0,
            requested_keyframes: 0,
        };
        taker.set_limits(limits);
        taker
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        let Limits {
            bytes,
            time,
            max_age,
            max_lag,
            ..
        } = limits;
        self.more_limits = [bytes, time, max_age, max_lag] != [0; 4];
    }

    /// Position of the first frame it still needs.
    #[inline]
    pub(super) fn needs_from(&self) -> u64 {
        self.cursor
    }

    pub(super) fn needs_events_from(&self) -> u64 {
        self.next_event
    }

    /// The newest of its stamps.
    pub(super) fn stamp(&self) -> Stamp {
        self.session.max(self.accepted).max(self.replayed)
    }

    /// An event that was taken with `stamp` is not void.
    pub(super) fn is_current(&self, stamp: Stamp) -> bool {
        stamp >= self.session && stamp >= self.replayed
    }

    pub(super) fn flight_stamp(&self) -> Option<Stamp> {
        self.flight.as_ref().map(|flight| flight.stamp)
    }

    pub(super) fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    pub(super) fn flow(&self) -> i32 {
        self.flow
    }

    /// Starts over with all counters at zero, at the beginning of an empty log.
    pub(super) fn reset<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        self.early.clear(&mut cx.later.free_events);
        cx.later.wake.extend(self.waiting.take());
        cx.later.report = true;
        // A thread that still serves the old life must not touch the new one.
        let session = match self.mode {
            Mode::Idle => self.session,
            _ => cx.stamp.advance(),
        };
        let mut fresh = Self::new(self.label.clone(), self.limits, session, 0, 0);
        // The branch of a consumer that has had frames knows nothing of the new stream.
        let was_served = self.flight.is_some() || self.out > 0 || self.dropped.total() > 0;
        fresh.discont = self.discont || was_served;
        // That a bad state is over has to be told.
        fresh.told.state = self.told.state;
        *self = fresh;
    }

    // ---- frames in -------------------------------------------------------------------------

    /// A frame was appended: the oldest may have to go, or the new one is not for this consumer.
    #[inline]
    pub(super) fn offer<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        let end = cx.log.end();
        match self.mode {
            Mode::Serving if cx.flushing => {
                self.needs_key = true;
                return self.lose(cx, 1, DropReason::Flushing);
            }
            Mode::Serving => {}
            Mode::Idle => {
                self.joined = end;
                self.cursor = end;
                return;
            }
            Mode::Ended(reason) => {
                // That it is not linked shows with the first frame only.
                cx.later.report |= self.dropped.get(reason) == 0;
                return self.lose(cx, 1, reason);
            }
        }
        if self.needs_key {
            if cx.is_delta(end - 1) {
                cx.later.want_key = true;
                return self.lose(cx, 1, DropReason::WaitingKeyframe);
            }
            self.needs_key = false;
        }
        let excess = self.excess(end);
        if self.more_limits || excess > 0 {
            match cx.plain_loss(self.cursor) {
                Some(lost) if excess == 1 && !self.more_limits && self.burst.frames == 0 => {
                    self.give_way(cx, lost);
                }
                _ => self.fit(cx),
            }
        }
        if let Some(waker) = self.waiting.take() {
            cx.later.wake.push(waker);
        }
    }

    /// Loses the oldest frame where nothing else follows from that, which is what happens with each
    /// frame to each slow consumer of raw video: so it is made cheap.
    #[inline]
    fn give_way<F>(&mut self, cx: &mut Cx<'_, F, E>, lost: Lost) {
        self.cursor += 1;
        self.lost += 1;
        self.discont = true;
        self.dropped.add(DropReason::Slow, 1);
        let due = self.told.note(DropReason::Slow, lost, cx.now);
        cx.later.report |= due && cx.desk.config.drops;
    }

    /// How many frames wait beyond `depth`.
    #[inline]
    fn excess(&self, end: u64) -> u64 {
        (end - self.cursor).saturating_sub(self.limits.depth + self.burst.frames)
    }

    /// Drops the oldest frames until all limits hold; one frame may always wait.
    pub(super) fn fit<F>(&mut self, cx: &mut Cx<'_, F, E>) {
        while self.cursor < cx.log.end() {
            let excess = self.excess(cx.log.end());
            if self.is_stale(cx) {
                self.overtake(cx, 1, DropReason::Stale);
            } else if excess > 0 {
                self.overtake(cx, excess, DropReason::Slow);
                self.burst.exceeded();
            } else if self.is_over(cx.log) {
                self.overtake(cx, 1, DropReason::Slow);
                self.burst.exceeded();
            } else {
                break;
            }
        }
        let lag = self.dropped.get(DropReason::Slow) - self.forgiven;
        if self.limits.max_lag != 0 && lag > self.limits.max_lag && self.mode == Mode::Serving {
            self.end(cx, DropReason::Evicted);
            // An end of the stream that waited does not come any more.
            self.told.summary_due |= std::mem::take(&mut self.owes_summary);
            self.forget_events(cx);
            self.pending = Some(Pending::Evicted);
            cx.later.wake.extend(self.waiting.take());
        }
    }

    fn is_over<F>(&self, log: &Log<F, E>) -> bool {
        let Limits { bytes, time, .. } = self.limits;
        let burst = &self.burst;
        self.cursor + burst.frames + 1 < log.end()
            && (bytes != 0 && log.bytes_from(self.cursor) > bytes.saturating_add(burst.bytes)
                || time != 0 && log.time_from(self.cursor) > time.saturating_add(burst.time))
    }

    #[inline]
    fn is_stale<F>(&self, cx: &Cx<'_, F, E>) -> bool {
        self.limits.max_age != 0
            && cx.log.entry(self.cursor).is_some_and(|entry| {
                cx.now.saturating_sub(self.since(entry.arrived)) > self.limits.max_age
            })
    }

    /// Since when a frame that was published at `arrived` has waited here.
    pub(super) fn since(&self, arrived: u64) -> u64 {
        arrived.max(self.active_since)
    }

    /// Gives up the `count` oldest waiting frames, and those that are useless without them.
    fn overtake<F>(&mut self, cx: &mut Cx<'_, F, E>, count: u64, reason: DropReason) {
        let end = cx.log.end();
        self.lose(cx, count.min(end - self.cursor), reason);
        if self.cursor < end && cx.is_delta(self.cursor) {
            let key = (self.cursor..end).find(|position| !cx.is_delta(*position));
            let useless = key.unwrap_or(end) - self.cursor;
            self.lose(cx, useless, DropReason::WaitingKeyframe);
            cx.later.want_key |= key.is_none();
        }
        self.needs_key = self.cursor == end;
    }

    /// Moves the cursor over `count` frames and counts them.
    #[inline]
    fn lose<F>(&mut self, cx: &mut Cx<'_, F, E>, count: u64, reason: DropReason) {
        if count == 0 {
            return;
        }
        self.discont = true;
        self.lost += count;
        if cx.desk.tells_each() {
            for _ in 0..count {
                self.cursor += 1;
                let lost = cx.lost(self.cursor - 1);
                self.count_drop(cx.log.end(), reason, 1, lost, cx.now, cx.desk);
            }
            cx.later.report = true;
        } else {
            self.cursor += count;
            let lost = cx.lost(self.cursor - 1);
            cx.later.report |= self.count_drop(cx.log.end(), reason, count, lost, cx.now, cx.desk);
        }
        self.burst.note(cx.log, self.cursor);
    }

    /// Counts a drop; true when it is time to tell.
    #[inline]
    fn count_drop(
        &mut self,
        end: u64,
        reason: DropReason,
        count: u64,
        lost: Lost,
        now: u64,
        desk: &mut Desk,
    ) -> bool {
        self.dropped.add(reason, count);
        let due = self.told.note(reason, lost, now);
        if desk.tells_each() {
            let ledger = self.ledger(end);
            desk.tell_drops(&self.label, &mut self.told, &ledger, reason, now, true);
        }
        due && desk.config.drops
    }
}
