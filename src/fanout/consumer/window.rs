// SPDX-License-Identifier: MPL-2.0
//! No more than the limits allow waits, the oldest frames go first, and one frame may always wait.
//!
//! A late joiner may exceed its limits by the replayed frames until it has caught up. That
//! allowance shrinks to the least that has waited since, so that a joiner that takes faster than
//! frames come loses nothing, however many come meanwhile. With `depth` 2 and 5 replayed frames:
//!
//! | | waiting | allowance | may wait |
//! | --- | --- | --- | --- |
//! | joins | 5 | 5 | 7 |
//! | takes two, one comes | 4 | 3 | 5 |
//! | takes two, one comes | 3 | 2 | 4 |
//! | three come | 6 → 2 | 0 | 2 |
//!
//! The last row: each frame lost costs a frame of the allowance, too, so that a consumer that falls
//! back further after all has the usual limits.

use crate::facts::DropReason;
use crate::fanout::log::Log;
use crate::fanout::types::{Event, Limits};

/// By so much a late joiner may exceed its limits.
#[derive(Debug, Clone, Copy, Default)]
struct Allowance {
    frames: u64,
    bytes: u64,
    /// ns
    time: u64,
}

impl Allowance {
    /// All frames from `position` on.
    fn of<F, E: Event>(log: &Log<F, E>, position: u64) -> Self {
        Self {
            frames: log.end() - position,
            bytes: log.bytes_from(position),
            time: log.time_from(position),
        }
    }

    fn shrink_to(&mut self, waiting: Self) {
        self.frames = self.frames.min(waiting.frames);
        self.bytes = self.bytes.min(waiting.bytes);
        self.time = self.time.min(waiting.time);
    }

    fn pay(&mut self) {
        if self.frames <= 1 {
            *self = Self::default();
            return;
        }
        self.bytes -= self.bytes / self.frames;
        self.time -= self.time / self.frames;
        self.frames -= 1;
    }
}

/// What [`Window::look`] says of a new frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Room {
    Enough,
    /// There is one frame too many, and nothing else to look at.
    OneTooMany,
    /// It has to be looked at in detail: [`Window::over_limit`].
    Unknown,
}

/// With it, even no frame that waits is two too many.
const UNCOUNTED: i64 = -2;

/// What waits for a consumer: the frames of the log from the cursor on.
#[derive(Debug)]
pub(in crate::fanout) struct Window {
    cursor: u64,
    /// `depth` and the allowance.
    capacity: u64,
    limits: Limits,
    /// The capacity, if nothing but the number of frames has to be looked at; else [`UNCOUNTED`].
    counted: i64,
    allowance: Allowance,
    /// When it began, ns: replayed frames have not waited for the consumer before.
    since: u64,
    /// Position after the last frame that the consumer took, if it can go on behind that one.
    taken_until: u64,
}

impl Window {
    pub(in crate::fanout) fn new(limits: Limits, end: u64) -> Self {
        let mut window = Self {
            cursor: end,
            capacity: 0,
            limits,
            counted: UNCOUNTED,
            allowance: Allowance::default(),
            since: 0,
            taken_until: 0,
        };
        window.set_limits(limits);
        window
    }

    pub(in crate::fanout) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.set_allowance(self.allowance);
    }

    pub(in crate::fanout) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Position of the first frame that waits.
    #[inline]
    pub(in crate::fanout) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How many frames wait.
    #[inline]
    pub(in crate::fanout) fn level(&self, end: u64) -> u64 {
        end - self.cursor
    }

    /// How long a frame that was published at `arrived` has waited here, ns.
    pub(in crate::fanout) fn waited(&self, arrived: u64, now: u64) -> u64 {
        now.saturating_sub(arrived.max(self.since))
    }

    /// Begins at `position`; all from there on may wait.
    pub(in crate::fanout) fn begin<F, E: Event>(
        &mut self,
        log: &Log<F, E>,
        position: u64,
        now: u64,
    ) {
        self.cursor = position;
        self.since = now;
        self.set_allowance(Allowance::of(log, position));
    }

    /// Leaves out all that was published so far.
    #[inline]
    pub(in crate::fanout) fn skip_to(&mut self, end: u64) {
        self.cursor = end;
    }

    /// The first `count` frames wait no longer.
    #[inline]
    pub(in crate::fanout) fn advance<F, E: Event>(&mut self, count: u64, log: &Log<F, E>) {
        self.cursor += count;
        if self.allowance.frames > 0 {
            let mut allowance = self.allowance;
            allowance.shrink_to(Allowance::of(log, self.cursor));
            self.set_allowance(allowance);
        }
    }

    /// The first frame is taken.
    pub(in crate::fanout) fn take<F, E: Event>(&mut self, log: &Log<F, E>) {
        self.advance(1, log);
        self.taken_until = self.cursor;
    }

    /// What the consumer took it does not have any more.
    pub(in crate::fanout) fn forget_taken(&mut self) {
        self.taken_until = 0;
    }

    /// Where a consumer goes on to which `kept` and the frames behind it are offered again: none comes
    /// twice.
    pub(in crate::fanout) fn resumes_at(&self, kept: u64) -> u64 {
        kept.max(self.taken_until)
    }

    /// [`advance`](Self::advance) by one frame where [`look`](Self::look) said `OneTooMany`.
    #[inline]
    pub(in crate::fanout) fn pop_one(&mut self) {
        self.cursor += 1;
    }

    fn set_allowance(&mut self, allowance: Allowance) {
        self.allowance = allowance;
        self.capacity = self.limits.depth + allowance.frames;
        let Limits {
            bytes,
            time,
            max_age,
            max_lag,
            ..
        } = self.limits;
        let is_plain = [bytes, time, max_age, max_lag, allowance.frames] == [0; 5];
        let counted = i64::try_from(self.capacity).ok();
        self.counted = counted.filter(|_| is_plain).unwrap_or(UNCOUNTED);
    }

    /// A frame was appended, which made `end` the log's.
    #[inline]
    pub(in crate::fanout) fn look(&self, end: u64) -> Room {
        match self.level(end).cast_signed() - self.counted {
            ..=0 => Room::Enough,
            1 => Room::OneTooMany,
            _ => Room::Unknown,
        }
    }

    /// So many of the oldest frames have to go, and why; to be asked again until there are none.
    pub(in crate::fanout) fn over_limit<F, E: Event>(
        &self,
        log: &Log<F, E>,
        now: u64,
    ) -> Option<(u64, DropReason)> {
        let level = self.level(log.end());
        if level == 0 {
            None
        } else if self.is_stale(log, now) {
            Some((1, DropReason::Stale))
        } else if level > self.capacity {
            Some((level - self.capacity, DropReason::Slow))
        } else if self.is_too_large(log) {
            Some((1, DropReason::Slow))
        } else {
            None
        }
    }

    /// Frames were lost as `slow`, and all that are useless without them.
    pub(in crate::fanout) fn pay_allowance(&mut self) {
        let mut allowance = self.allowance;
        allowance.pay();
        self.set_allowance(allowance);
    }

    fn is_stale<F, E: Event>(&self, log: &Log<F, E>, now: u64) -> bool {
        let max_age = self.limits.max_age;
        let too_old = |arrived| self.waited(arrived, now) > max_age;
        max_age != 0
            && log
                .entry(self.cursor)
                .is_some_and(|entry| too_old(entry.arrived))
    }

    fn is_too_large<F, E: Event>(&self, log: &Log<F, E>) -> bool {
        let Limits { bytes, time, .. } = self.limits;
        let allowance = &self.allowance;
        self.level(log.end()) > allowance.frames + 1
            && (bytes != 0 && log.bytes_from(self.cursor) > bytes.saturating_add(allowance.bytes)
                || time != 0 && log.time_from(self.cursor) > time.saturating_add(allowance.time))
    }
}
