// SPDX-License-Identifier: MPL-2.0
//! What the fan-out should do, said in the plainest way: a queue of its own for each consumer.

use std::collections::VecDeque;

use super::Kind;
use super::stream::{events, shed};
use crate::facts::DropReason;
use crate::fanout::{FrameInfo, Limits};

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) sequence: u64,
    pub(super) info: FrameInfo,
    /// When it came into this queue.
    pub(super) arrived: u64,
    /// It is a keyframe whose headers are the frame before it.
    pub(super) follows_header: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Frame(Waiting),
    Event(Kind, u64),
}

impl Item {
    pub(super) fn frame(&self) -> Option<&Waiting> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Event(..) => None,
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Frame(_) => None,
            Self::Event(kind, _) => Some(*kind),
        }
    }
}

pub(super) type Queue = VecDeque<Item>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Idle,
    Serving,
    Ended(DropReason),
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) mode: Mode,
    pub(super) active: bool,
    pub(super) queue: Queue,
    pub(super) limits: Limits,
    pub(super) frames_in: u64,
    pub(super) out: u64,
    pub(super) drops: [u64; 8],
    pub(super) forgiven: u64,
    pub(super) needs_key: bool,
    pub(super) fresh: bool,
    /// So many may wait beyond the limits, as it has not caught up yet.
    burst: u64,
    /// The bytes and the time of these.
    burst_size: (u64, u64),
    pub(super) end_time: u64,
    /// What is shown before this is of no use.
    leading_until: Option<u64>,
    pub(super) lost: u64,
    pub(super) discont: bool,
    /// Or was never started.
    knows_of_stop: bool,
    pub(super) eviction_untold: bool,
    /// A flush was over since it took last.
    pub(super) resumption_untold: bool,
    /// A frame in flight, and whether nothing readmitted the consumer since.
    pub(super) flight: Option<bool>,
    pub(super) flow: i32,
    pub(super) events_dropped: u64,
    pub(super) requested_keyframes: u64,
}

/// What a consumer gets.
#[derive(Debug)]
pub(super) enum Got {
    Event(Kind, u64),
    Frame(Waiting, bool, u64),
    Evicted,
    Resumed,
    Wait,
    Closed,
}

impl Party {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            mode: Mode::Idle,
            active: false,
            queue: Queue::new(),
            limits,
            frames_in: 0,
            out: 0,
            drops: [0; 8],
            forgiven: 0,
            needs_key: true,
            fresh: true,
            burst: 0,
            burst_size: (0, 0),
            end_time: 0,
            leading_until: None,
            lost: 0,
            discont: false,
            knows_of_stop: true,
            eviction_untold: false,
            resumption_untold: false,
            flight: None,
            flow: 0,
            events_dropped: 0,
            requested_keyframes: 0,
        }
    }

    /// What stays of it over a new start of the stream.
    pub(super) fn reset(&self) -> Self {
        let served = self.flight.is_some() || self.out > 0 || self.drops != [0; 8];
        Self {
            discont: self.discont || served,
            knows_of_stop: self.mode == Mode::Idle && self.knows_of_stop,
            ..Self::new(self.limits)
        }
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &Waiting> {
        self.queue.iter().filter_map(Item::frame)
    }

    pub(super) fn level(&self) -> usize {
        self.frames().count()
    }

    fn lose(&mut self, count: u64, reason: DropReason) {
        self.drops[reason.index()] += count;
        self.lost += count;
        self.discont |= count > 0;
    }

    fn drop_oldest(&mut self, count: usize, reason: DropReason) {
        let mut left = count;
        self.queue.retain(|item| {
            let goes = left > 0 && item.frame().is_some();
            left -= usize::from(goes);
            !goes
        });
        self.lose((count - left) as u64, reason);
        self.note_level();
    }

    fn note_level(&mut self) {
        self.burst = self.burst.min(self.level() as u64);
        let (bytes, time) = self.size();
        self.burst_size = (self.burst_size.0.min(bytes), self.burst_size.1.min(time));
    }

    fn size(&self) -> (u64, u64) {
        let bytes = self.frames().map(|frame| frame.info.bytes).sum();
        let start = self
            .frames()
            .next()
            .map(|oldest| oldest.info.start.unwrap_or(0));
        (
            bytes,
            start.map_or(0, |start| self.end_time.saturating_sub(start)),
        )
    }

    fn is_over(&self, more: (u64, u64)) -> bool {
        let (bytes, time) = self.size();
        self.level() as u64 > self.burst + 1
            && (self.limits.bytes != 0 && bytes > self.limits.bytes + more.0
                || self.limits.time != 0 && time > self.limits.time + more.1)
    }

    pub(super) fn drop_all(&mut self, reason: DropReason) {
        self.drop_oldest(usize::MAX, reason);
    }

    /// Drops what is of no use after a loss; true if a keyframe has to be asked for.
    fn seek_key(&mut self) -> bool {
        let delta = |party: &Self| party.frames().next().is_some_and(|frame| frame.info.delta);
        let mut asks = false;
        if delta(self) {
            while delta(self) {
                self.drop_oldest(1, DropReason::WaitingKeyframe);
            }
            asks = self.level() == 0;
        }
        self.needs_key = self.level() == 0;
        asks
    }

    /// Drops what the limits do not allow; true if a keyframe has to be asked for.
    pub(super) fn enforce(&mut self, now: u64, end_time: u64) -> bool {
        let mut asks = false;
        self.end_time = end_time;
        while self.level() > 0 {
            let Some(oldest) = self.frames().next().copied() else {
                break;
            };
            let level = self.level() as u64;
            let mut slow = false;
            let Limits { depth, max_age, .. } = self.limits;
            let over = self.is_over(self.burst_size);
            let (count, reason) = if max_age != 0 && now - oldest.arrived > max_age {
                (1, DropReason::Stale)
            } else if level > depth + self.burst {
                let count = level - depth - self.burst;
                slow = true;
                (count as usize, DropReason::Slow)
            } else if over {
                slow = true;
                (1, DropReason::Slow)
            } else {
                break;
            };
            self.drop_oldest(count, reason);
            asks |= self.seek_key();
            if slow && self.burst > 0 {
                let (bytes, time) = self.burst_size;
                self.burst_size = (bytes - bytes / self.burst, time - time / self.burst);
                self.burst -= 1;
            }
            if self.burst == 0 {
                self.burst_size = (0, 0);
            }
        }
        let lag = self.drops[DropReason::Slow.index()] - self.forgiven;
        if self.limits.max_lag != 0 && lag > self.limits.max_lag && self.mode == Mode::Serving {
            self.end(DropReason::Evicted);
            self.queue.clear();
            self.eviction_untold = true;
            self.resumption_untold = false;
        }
        asks
    }

    fn end(&mut self, reason: DropReason) {
        self.mode = Mode::Ended(reason);
        self.drop_all(reason);
    }

    /// A frame is published; true if a keyframe has to be asked for.
    pub(super) fn offer(&mut self, frame: Waiting, flushing: bool, end_time: u64) -> bool {
        if self.mode == Mode::Idle {
            return false;
        }
        self.frames_in += 1;
        if let Mode::Ended(reason) = self.mode {
            self.lose(1, reason);
        } else if flushing {
            self.lose(1, DropReason::Flushing);
            self.needs_key = true;
        } else if self.needs_key && frame.info.delta {
            self.lose(1, DropReason::WaitingKeyframe);
            return true;
        } else {
            self.needs_key = false;
            self.queue.push_back(Item::Frame(frame));
            return self.enforce(frame.arrived, end_time);
        }
        false
    }

    pub(super) fn offer_event(&mut self, kind: Kind, id: u64) {
        if !self.active {
            return;
        }
        if self.mode == Mode::Ended(DropReason::Evicted) {
            return self.queue.clear();
        }
        if let Mode::Ended(reason) = self.mode
            && kind.readmits(reason)
        {
            self.serve_again();
        }
        self.queue.push_back(Item::Event(kind, id));
        self.events_dropped += shed(&mut self.queue);
    }

    /// A flush is over.
    pub(super) fn resume(&mut self) {
        if !self.active {
            return;
        }
        let evicted = self.mode == Mode::Ended(DropReason::Evicted);
        self.flight = self.flight.map(|_| false);
        self.eviction_untold = evicted;
        self.resumption_untold = !evicted;
        if let Mode::Ended(DropReason::Eos | DropReason::Error) = self.mode {
            self.serve_again();
        }
    }

    fn serve_again(&mut self) {
        self.mode = Mode::Serving;
        self.needs_key = true;
        self.flight = self.flight.map(|_| false);
    }

    /// Starts with what is kept for it, or else with the events that it has to know.
    pub(super) fn begin(&mut self, cached: Option<Queue>, sticky: &[(Kind, u64)]) {
        self.queue.clear();
        self.queue.extend(cached.unwrap_or_else(|| events(sticky)));
        self.burst = self.level() as u64;
        self.burst_size = self.size();
        self.frames_in += self.burst;
        self.needs_key = self.level() == 0;
    }

    pub(super) fn readmit(&mut self, cached: Option<Queue>, sticky: &[(Kind, u64)]) {
        if !self.active {
            return;
        }
        self.flight = self.flight.map(|_| false);
        if self.mode == Mode::Ended(DropReason::Evicted) {
            self.eviction_untold = false;
            self.forgiven = self.drops[DropReason::Slow.index()];
            self.queue.extend(events(sticky));
        } else if self.mode == Mode::Ended(DropReason::NotLinked)
            && self.out == 0
            && cached.is_some()
        {
            self.serve_again();
            self.begin(cached, sticky);
        } else if self.queue.is_empty() {
            // Sticky events reach a peer that was linked late with the next event.
            self.queue.extend(events(sticky).pop_back());
        }
        if self.mode != Mode::Serving {
            self.serve_again();
        }
    }

    pub(super) fn take(&mut self, now: u64, end_time: u64, flushing: bool) -> Got {
        if !self.active {
            // It learns each stop, and then it may wait for the next start.
            let knows = std::mem::replace(&mut self.knows_of_stop, true);
            return match self.mode == Mode::Idle && knows {
                true => Got::Wait,
                false => Got::Closed,
            };
        }
        if self.limits.max_age != 0 && !self.eviction_untold {
            self.enforce(now, end_time);
        }
        if std::mem::take(&mut self.eviction_untold) {
            return Got::Evicted;
        }
        if flushing {
            return Got::Wait;
        }
        if std::mem::take(&mut self.resumption_untold) {
            return Got::Resumed;
        }
        while self
            .frames()
            .next()
            .is_some_and(|frame| self.is_leading(frame))
        {
            self.drop_oldest(1, DropReason::WaitingKeyframe);
        }
        match self.queue.pop_front() {
            None => Got::Wait,
            Some(Item::Event(kind, id)) => Got::Event(kind, id),
            Some(Item::Frame(frame)) => {
                self.flight = Some(true);
                self.note_level();
                self.note_start(&frame);
                let discont = std::mem::take(&mut self.discont);
                Got::Frame(frame, discont, std::mem::take(&mut self.lost))
            }
        }
    }

    fn note_start(&mut self, frame: &Waiting) {
        let fresh = std::mem::take(&mut self.fresh);
        let starts = (fresh || self.discont || self.out == 0) && !frame.info.delta;
        let started = self.leading_until.is_some() && frame.follows_header;
        self.leading_until = (starts || started).then_some(frame.info.pts.unwrap_or(0));
    }

    fn is_leading(&self, frame: &Waiting) -> bool {
        let earlier = |until| frame.info.pts.is_some_and(|pts| pts < until);
        frame.info.delta && self.leading_until.is_some_and(earlier)
    }

    /// The frame in flight was dropped for `reason`, for which the branch `ends` too.
    pub(super) fn drop_flight(&mut self, reason: DropReason, ends: bool, flow: i32) {
        let Some(current) = self.flight.take() else {
            return;
        };
        self.flow = flow;
        self.lose(1, reason);
        if self.mode == Mode::Serving {
            let recovers = |item: &Item| item.kind().is_some_and(|kind| kind.readmits(reason));
            match self.queue.iter().position(recovers) {
                None if ends && current => self.end(reason),
                Some(at) if ends && current => {
                    let before = self.queue.range(..at).filter_map(Item::frame).count();
                    self.drop_oldest(before, reason);
                    self.seek_key();
                }
                _ => drop(self.seek_key()),
            }
        }
    }

    pub(super) fn deliver(&mut self) {
        if self.flight.take().is_some() {
            self.flow = 0;
            self.out += 1;
        }
    }

    pub(super) fn deactivate(&mut self) {
        self.active = false;
        self.eviction_untold = false;
        self.resumption_untold = false;
        self.queue.retain(|item| item.frame().is_some());
        if self.mode == Mode::Serving {
            self.end(DropReason::Flushing);
        }
    }
}
