// SPDX-License-Identifier: MPL-2.0
//! What the fan-out should do, said in the plainest way: a tray of its own for each consumer.

use std::collections::VecDeque;

use super::stream::{bars, events, thin};
use super::{Kind, stand_in_id};
use crate::facts::DropReason;
use crate::fanout::{FrameInfo, Limits};

#[derive(Debug, Clone, Copy)]
pub(super) struct Dish {
    pub(super) sequence: u64,
    pub(super) info: FrameInfo,
    /// When it came into this tray.
    pub(super) arrived: u64,
    /// It is a keyframe whose headers are the frame before it.
    pub(super) behind_header: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Frame(Dish),
    /// With its number, and the frame that it precedes.
    Event(Kind, u64, u64),
}

impl Item {
    pub(super) fn frame(&self) -> Option<&Dish> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Event(..) => None,
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Frame(_) => None,
            Self::Event(kind, ..) => Some(*kind),
        }
    }
}

pub(super) type Tray = VecDeque<Item>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Asleep,
    Fed,
    Shut(DropReason),
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) mood: Mood,
    pub(super) staffed: bool,
    /// Its gate is.
    pub(super) closed: bool,
    /// An event comes in place of the next frame that is held back.
    pub(super) wants_stand_in: bool,
    /// It has had all that is of use of the frames before this one.
    pub(super) had: u64,
    pub(super) tray: Tray,
    pub(super) limits: Limits,
    pub(super) frames_in: u64,
    pub(super) out: u64,
    pub(super) drops: [u64; DropReason::ALL.len()],
    pub(super) pardoned: u64,
    pub(super) wants_intra: bool,
    pub(super) untouched: bool,
    /// So many may wait beyond the limits, as it has not caught up yet.
    grace: u64,
    /// The bytes and the time of these.
    grace_size: (u64, u64),
    pub(super) end_time: u64,
    /// What is shown before this is of no use.
    skips_before: Option<u64>,
    pub(super) missed: u64,
    pub(super) gap: bool,
    /// It is a receiver.
    pub(super) keeps_session: bool,
    /// It was started, which it does not know.
    pub(super) session_unsaid: bool,
    /// Or was never started.
    knows_of_stop: bool,
    pub(super) expulsion_unsaid: bool,
    /// A flush was over since it took last.
    pub(super) resumption_unsaid: bool,
    /// A frame in in_hand, and whether nothing readmitted the consumer since.
    pub(super) in_hand: Option<bool>,
    pub(super) flow: i32,
    pub(super) events_gone: u64,
    pub(super) requested_keyframes: u64,
}

/// What a consumer gets.
#[derive(Debug)]
pub(super) enum Got {
    Event(Kind, u64),
    Frame(Dish, bool, u64),
    Evicted,
    Resumed,
    Superseded,
    Wait,
    Closed,
}

impl Guest {
    pub(super) fn new(limits: Limits, keeps_session: bool) -> Self {
        Self {
            mood: Mood::Asleep,
            staffed: false,
            closed: false,
            wants_stand_in: false,
            had: 0,
            tray: Tray::new(),
            limits,
            frames_in: 0,
            out: 0,
            drops: [0; DropReason::ALL.len()],
            pardoned: 0,
            wants_intra: true,
            untouched: true,
            grace: 0,
            grace_size: (0, 0),
            end_time: 0,
            skips_before: None,
            missed: 0,
            gap: false,
            keeps_session,
            session_unsaid: false,
            knows_of_stop: true,
            expulsion_unsaid: false,
            resumption_unsaid: false,
            in_hand: None,
            flow: 0,
            events_gone: 0,
            requested_keyframes: 0,
        }
    }

    /// What stays of it over a new start of the stream.
    pub(super) fn reset(&self) -> Self {
        let served =
            self.in_hand.is_some() || self.out > 0 || self.drops != [0; DropReason::ALL.len()];
        Self {
            closed: self.closed,
            gap: self.gap || served,
            knows_of_stop: self.mood == Mood::Asleep && self.knows_of_stop,
            ..Self::new(self.limits, self.keeps_session)
        }
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &Dish> {
        self.tray.iter().filter_map(Item::frame)
    }

    pub(super) fn level(&self) -> usize {
        self.frames().count()
    }

    fn miss(&mut self, count: u64, reason: DropReason) {
        self.drops[reason.index()] += count;
        self.missed += count;
        self.gap |= count > 0;
    }

    fn toss_oldest(&mut self, count: usize, reason: DropReason) {
        let mut left = count;
        self.tray.retain(|item| {
            let goes = left > 0 && item.frame().is_some();
            left -= usize::from(goes);
            !goes
        });
        self.miss((count - left) as u64, reason);
        self.note_size();
    }

    fn note_size(&mut self) {
        self.grace = self.grace.min(self.level() as u64);
        let (bytes, time) = self.size();
        self.grace_size = (self.grace_size.0.min(bytes), self.grace_size.1.min(time));
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

    fn is_too_big(&self, more: (u64, u64)) -> bool {
        let (bytes, time) = self.size();
        self.level() as u64 > self.grace + 1
            && (self.limits.bytes != 0 && bytes > self.limits.bytes + more.0
                || self.limits.time != 0 && time > self.limits.time + more.1)
    }

    pub(super) fn toss_all(&mut self, reason: DropReason) {
        self.toss_oldest(usize::MAX, reason);
    }

    /// Drops what is of no use after a loss; true if a keyframe has to be asked for.
    fn find_intra(&mut self) -> bool {
        let delta = |guest: &Self| guest.frames().next().is_some_and(|frame| frame.info.delta);
        let mut asks = false;
        if delta(self) {
            while delta(self) {
                self.toss_oldest(1, DropReason::WaitingKeyframe);
            }
            asks = self.level() == 0;
        }
        self.wants_intra = self.level() == 0;
        asks
    }

    /// Drops what the limits do not allow; true if a keyframe has to be asked for.
    pub(super) fn tidy(&mut self, now: u64, end_time: u64) -> bool {
        let mut asks = false;
        self.end_time = end_time;
        while self.level() > 0 {
            let Some(oldest) = self.frames().next().copied() else {
                break;
            };
            let level = self.level() as u64;
            let mut slow = false;
            let Limits { depth, max_age, .. } = self.limits;
            let over = self.is_too_big(self.grace_size);
            let (count, reason) = if max_age != 0 && now - oldest.arrived > max_age {
                (1, DropReason::Stale)
            } else if level > depth + self.grace {
                let count = level - depth - self.grace;
                slow = true;
                (count as usize, DropReason::Slow)
            } else if over {
                slow = true;
                (1, DropReason::Slow)
            } else {
                break;
            };
            self.toss_oldest(count, reason);
            asks |= self.find_intra();
            if slow && self.grace > 0 {
                let (bytes, time) = self.grace_size;
                self.grace_size = (bytes - bytes / self.grace, time - time / self.grace);
                self.grace -= 1;
            }
            if self.grace == 0 {
                self.grace_size = (0, 0);
            }
        }
        let lag = self.drops[DropReason::Slow.index()] - self.pardoned;
        if self.limits.max_lag != 0 && lag > self.limits.max_lag && self.is_fed() {
            self.shut(DropReason::Evicted);
            self.tray.clear();
            self.expulsion_unsaid = true;
            self.resumption_unsaid = false;
        }
        asks
    }

    fn shut(&mut self, reason: DropReason) {
        self.mood = Mood::Shut(reason);
        self.toss_all(reason);
    }

    /// A frame is published; true if a keyframe has to be asked for.
    pub(super) fn deal(&mut self, frame: Dish, flushing: bool, end_time: u64) -> bool {
        if self.mood == Mood::Asleep {
            return false;
        }
        self.frames_in += 1;
        if let Mood::Shut(reason) = self.mood {
            self.miss(1, reason);
        } else if self.closed {
            self.miss(1, DropReason::Disabled);
            self.wants_intra = true;
            if self.wants_stand_in
                && !flushing
                && let Some(pts) = frame.info.pts
            {
                self.wants_stand_in = false;
                let (id, at) = (stand_in_id(pts), frame.sequence + 1);
                self.tray.push_back(Item::Event(Kind::Gap, id, at));
            }
        } else if flushing {
            self.miss(1, DropReason::Flushing);
            self.wants_intra = true;
        } else if self.wants_intra && frame.info.delta {
            self.miss(1, DropReason::WaitingKeyframe);
            return true;
        } else {
            self.wants_intra = false;
            self.tray.push_back(Item::Frame(frame));
            return self.tidy(frame.arrived, end_time);
        }
        false
    }

    pub(super) fn deal_event(&mut self, kind: Kind, id: u64, end: u64) {
        if !self.staffed {
            return;
        }
        if self.mood == Mood::Shut(DropReason::Evicted) {
            return self.tray.clear();
        }
        if let Mood::Shut(reason) = self.mood
            && kind.readmits(reason)
        {
            self.feed_again();
        }
        self.tray.push_back(Item::Event(kind, id, end));
        let first = self.frames().next().map_or(end, |frame| frame.sequence);
        self.events_gone += thin(&mut self.tray, first);
    }

    /// A flush is over.
    pub(super) fn resume(&mut self) {
        if !self.staffed {
            return;
        }
        let evicted = self.mood == Mood::Shut(DropReason::Evicted);
        self.in_hand = self.in_hand.map(|_| false);
        self.wants_stand_in = true;
        self.expulsion_unsaid = evicted;
        self.resumption_unsaid = !evicted;
        if let Mood::Shut(DropReason::Eos | DropReason::Error) = self.mood {
            self.feed_again();
        }
    }

    fn feed_again(&mut self) {
        self.mood = Mood::Fed;
        self.wants_intra = true;
        self.wants_stand_in = true;
        self.in_hand = self.in_hand.map(|_| false);
    }

    /// Starts with what is kept for it, or else with the events that it has to know.
    pub(super) fn seat(&mut self, stocked: Option<Tray>, sticky: &[(Kind, u64)], end: u64) {
        self.tray.clear();
        self.had = 0;
        self.wants_stand_in = true;
        self.tray
            .extend(stocked.unwrap_or_else(|| events(sticky, end)));
        self.grace = self.level() as u64;
        self.grace_size = self.size();
        self.frames_in += self.grace;
        self.wants_intra = self.level() == 0;
    }

    pub(super) fn welcome_back(&mut self, stocked: Option<Tray>, sticky: &[(Kind, u64)], end: u64) {
        if !self.staffed {
            return;
        }
        self.in_hand = self.in_hand.map(|_| false);
        self.had = 0;
        self.wants_stand_in = true;
        if self.mood == Mood::Shut(DropReason::Evicted) {
            self.expulsion_unsaid = false;
            self.pardoned = self.drops[DropReason::Slow.index()];
            self.tray.extend(events(sticky, end));
        } else if self.mood == Mood::Shut(DropReason::NotLinked)
            && self.out == 0
            && !self.closed
            && stocked.is_some()
        {
            self.feed_again();
            self.seat(stocked, sticky, end);
        } else if self.tray.is_empty() {
            // Sticky events reach a peer that was linked late with the next event.
            self.tray.extend(events(sticky, end).pop_back());
        }
        if self.mood != Mood::Fed {
            self.feed_again();
        }
    }

    pub(super) fn take(&mut self, now: u64, end_time: u64, flushing: bool) -> Got {
        if !self.staffed {
            // It learns each stop, and then it may wait for the next start.
            self.session_unsaid &= self.mood == Mood::Asleep && self.knows_of_stop;
            let knows = std::mem::replace(&mut self.knows_of_stop, true);
            return match self.mood == Mood::Asleep && knows {
                true => Got::Wait,
                false => Got::Closed,
            };
        }
        if self.limits.max_age != 0 && !self.expulsion_unsaid {
            self.tidy(now, end_time);
        }
        if std::mem::take(&mut self.session_unsaid) {
            return Got::Superseded;
        }
        if std::mem::take(&mut self.expulsion_unsaid) {
            return Got::Evicted;
        }
        if flushing {
            return Got::Wait;
        }
        if std::mem::take(&mut self.resumption_unsaid) {
            return Got::Resumed;
        }
        while self
            .frames()
            .next()
            .is_some_and(|frame| self.is_skipped(frame))
        {
            self.toss_oldest(1, DropReason::WaitingKeyframe);
        }
        match self.tray.pop_front() {
            None => Got::Wait,
            Some(Item::Event(kind, id, _)) => Got::Event(kind, id),
            Some(Item::Frame(frame)) => {
                self.had = frame.sequence + 1;
                self.in_hand = Some(true);
                self.note_size();
                self.note_entrance(&frame);
                let gap = std::mem::take(&mut self.gap);
                Got::Frame(frame, gap, std::mem::take(&mut self.missed))
            }
        }
    }

    fn note_entrance(&mut self, frame: &Dish) {
        let untouched = std::mem::take(&mut self.untouched);
        let starts = (untouched || self.gap || self.out == 0) && !frame.info.delta;
        let started = self.skips_before.is_some() && frame.behind_header;
        self.skips_before = (starts || started).then_some(frame.info.pts.unwrap_or(0));
    }

    fn is_skipped(&self, frame: &Dish) -> bool {
        let earlier = |until| frame.info.pts.is_some_and(|pts| pts < until);
        frame.info.delta && self.skips_before.is_some_and(earlier)
    }

    /// The frame in in_hand was dropped for `reason`, for which the branch `ends` too.
    pub(super) fn toss_in_hand(&mut self, reason: DropReason, ends: bool, flow: i32) {
        let Some(current) = self.in_hand.take() else {
            return;
        };
        self.flow = flow;
        self.had = 0;
        self.miss(1, reason);
        if self.mood == Mood::Fed {
            let recovers = |item: &Item| item.kind().is_some_and(|kind| kind.readmits(reason));
            match self.tray.iter().position(recovers) {
                None if ends && current => self.shut(reason),
                Some(at) if ends && current => {
                    let before = self.tray.range(..at).filter_map(Item::frame).count();
                    self.toss_oldest(before, reason);
                    self.find_intra();
                }
                _ => drop(self.find_intra()),
            }
        }
    }

    pub(super) fn hand_back(&mut self) {
        if self.in_hand.take().is_some() {
            self.flow = 0;
            self.out += 1;
        }
    }

    pub(super) fn put_to_sleep(&mut self) {
        self.staffed = false;
        self.expulsion_unsaid = false;
        self.resumption_unsaid = false;
        self.tray.retain(|item| item.frame().is_some());
        if self.mood == Mood::Fed {
            self.shut(self.stopped_for());
        }
    }

    fn stopped_for(&self) -> DropReason {
        match self.closed {
            true => DropReason::Disabled,
            false => DropReason::Flushing,
        }
    }

    pub(super) fn is_fed(&self) -> bool {
        self.mood == Mood::Fed && !self.closed
    }

    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if self.mood == Mood::Fed {
            self.wants_intra |= self.level() > 0;
            self.toss_all(DropReason::Disabled);
            self.wants_stand_in = true;
        } else if self.mood == Mood::Shut(DropReason::Flushing) {
            self.mood = Mood::Shut(self.stopped_for());
        }
    }

    /// `kept` is the group of pictures that is kept, if it may go back to that.
    pub(super) fn open(&mut self, kept: Option<Tray>, now: u64) {
        if !std::mem::take(&mut self.closed) {
            return;
        }
        if self.mood == Mood::Shut(DropReason::Disabled) {
            self.mood = Mood::Shut(self.stopped_for());
        }
        if self.mood != Mood::Fed {
            return;
        }
        let is_stand_in = |item: &Item| matches!(item, Item::Event(_, id, _) if id >> 60 == 1);
        self.tray.retain(|item| !is_stand_in(item));
        let kept = kept.unwrap_or_default();
        let first = kept.iter().filter_map(Item::frame).map(|one| one.sequence);
        let first = first.into_iter().find(|sequence| *sequence >= self.had);
        let is_bar = |item: &Item| item.kind().is_some_and(bars);
        let count = self.tray.iter().rposition(is_bar).map_or(0, |at| at + 1);
        for item in self.tray.iter_mut().take(count) {
            if let Item::Event(.., at) = item {
                *at = (*at).min(first.unwrap_or(*at));
            }
        }
        let mut waiting = std::mem::take(&mut self.tray);
        let frames = kept.iter().filter_map(Item::frame);
        for frame in frames.filter(|frame| frame.sequence >= self.had) {
            while let Some(Item::Event(.., at)) = waiting.front()
                && *at <= frame.sequence
            {
                self.tray.extend(waiting.pop_front());
            }
            let frame = Dish {
                arrived: now,
                ..*frame
            };
            self.tray.push_back(Item::Frame(frame));
        }
        self.tray.append(&mut waiting);
        if self.level() > 0 {
            self.grace = self.level() as u64;
            self.grace_size = self.size();
            self.frames_in += self.grace;
            self.wants_intra = false;
            self.gap = true;
        }
    }
}
