// SPDX-License-Identifier: MPL-2.0
//! What the fan-out should do, said in the plainest way: each consumer is a guest with a tray of its own.

mod bill;
mod larder;
mod portion;
mod seat;
mod stream;
mod taste;
mod tray;

use bill::Bill;
use portion::Portion;
use seat::Word;
pub(super) use seat::{Mood, Seat, Unsaid};
pub(super) use stream::{Hands, Model};
use taste::Taste;
use tray::{Dish, Item, Tray, bars, events, thin};

use super::{Kind, stand_in_id};
use crate::facts::DropReason;
use crate::fanout::Limits;

/// A consumer.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) seat: Seat,
    pub(super) unsaid: Unsaid,
    portion: Portion,
    taste: Taste,
    pub(super) bill: Bill,
}

/// What a consumer gets.
#[derive(Debug)]
pub(super) enum Got {
    Event(Kind, u64),
    Frame(Dish, bool, u64),
    Evicted,
    Resumed,
    Superseded,
    Cancelled,
    Wait,
    Closed,
}

impl From<Word> for Got {
    fn from(word: Word) -> Self {
        match word {
            Word::Superseded => Self::Superseded,
            Word::Evicted => Self::Evicted,
            Word::Resumed => Self::Resumed,
            Word::Cancelled => Self::Cancelled,
            Word::Closed => Self::Closed,
            Word::Wait => Self::Wait,
        }
    }
}

impl Guest {
    pub(super) fn new(limits: Limits, keeps_session: bool) -> Self {
        Self {
            seat: Seat::new(false),
            unsaid: Unsaid::new(keeps_session),
            portion: Portion::new(limits),
            taste: Taste::new(),
            bill: Bill::default(),
        }
    }

    /// What stays of it over a new start of the stream.
    fn renewed(&self) -> Self {
        Self {
            seat: Seat::new(self.seat.closed),
            unsaid: self.unsaid.renewed(self.seat.mood == Mood::Asleep),
            bill: self.bill.renewed(),
            ..Self::new(self.portion.limits, self.unsaid.keeps_session)
        }
    }

    // ---- what is seen of it ----------------------------------------------------------------

    pub(super) fn frames(&self) -> impl Iterator<Item = &Dish> {
        self.portion.frames()
    }

    pub(super) fn level(&self) -> u64 {
        self.portion.level()
    }

    /// Something to take, or to hear.
    pub(super) fn has_something(&self, flushing: bool) -> bool {
        let waits = !self.portion.tray.is_empty() || self.unsaid.resumption;
        let stopped = !self.seat.staffed && self.seat.mood != Mood::Asleep;
        !flushing && waits || self.unsaid.expulsion || self.unsaid.cancellation || stopped
    }

    /// It has a dish that can not be taken back.
    fn is_busy(&self) -> bool {
        self.bill.in_hand.is_some_and(|in_hand| !in_hand.eaten)
    }

    // ---- what it loses ---------------------------------------------------------------------

    fn toss_oldest(&mut self, count: u64, reason: DropReason) {
        let tossed = self.portion.clear_oldest(count);
        self.bill.miss(tossed, reason);
    }

    fn toss_all(&mut self, reason: DropReason) {
        self.toss_oldest(u64::MAX, reason);
    }

    /// Drops what is of no use after a loss; true if a keyframe has to be asked for.
    fn find_intra(&mut self) -> bool {
        let delta = |guest: &Self| guest.portion.oldest().is_some_and(|frame| frame.info.delta);
        let mut asks = false;
        if delta(self) {
            while delta(self) {
                self.toss_oldest(1, DropReason::WaitingKeyframe);
            }
            asks = self.level() == 0;
        }
        self.taste.wants_intra = self.level() == 0;
        asks
    }

    /// Drops what the limits do not allow; true if a keyframe has to be asked for.
    fn tidy(&mut self, now: u64, end_time: u64) -> bool {
        let mut asks = false;
        self.portion.end_time = end_time;
        while let Some((count, reason)) = self.portion.surplus(now) {
            self.toss_oldest(count, reason);
            asks |= self.find_intra();
            self.portion.pay(reason);
        }
        let max_lag = self.portion.limits.max_lag;
        if max_lag != 0 && self.bill.lag() > max_lag && self.seat.is_fed() {
            self.shut(DropReason::Evicted);
            self.portion.tray.clear();
            self.unsaid.expulsion = true;
            self.unsaid.resumption = false;
        }
        asks
    }

    /// Upstream needs the dishes before `next`; true if a keyframe has to be asked for.
    fn give_back(&mut self, next: u64) -> bool {
        let before = |frame: &&Dish| frame.sequence < next;
        let count = self.frames().take_while(before).count() as u64;
        self.toss_oldest(count, DropReason::Pool);
        count > 0 && self.find_intra()
    }

    fn shut(&mut self, reason: DropReason) {
        self.seat.mood = Mood::Shut(reason);
        self.toss_all(reason);
    }

    // ---- what upstream brings --------------------------------------------------------------

    /// A frame is published; true if a keyframe has to be asked for.
    fn deal(&mut self, frame: Dish, flushing: bool, end_time: u64) -> bool {
        if self.seat.mood == Mood::Asleep {
            return false;
        }
        self.portion.end_time = end_time;
        self.bill.frames_in += 1;
        if let Some(reason) = self.seat.turns_away(flushing) {
            self.bill.miss(1, reason);
            if let Mood::Fed = self.seat.mood {
                self.taste.wants_intra = true;
                self.stand_in(&frame, flushing);
            }
        } else if self.taste.wants_intra && frame.info.delta {
            self.bill.miss(1, DropReason::WaitingKeyframe);
            return true;
        } else {
            self.taste.wants_intra = false;
            self.portion.tray.push_back(Item::Frame(frame));
            return self.tidy(frame.arrived, end_time);
        }
        false
    }

    /// In place of a frame that the gate holds back.
    fn stand_in(&mut self, frame: &Dish, flushing: bool) {
        if self.seat.closed
            && self.seat.wants_stand_in
            && !flushing
            && let Some(pts) = frame.info.pts
        {
            self.seat.wants_stand_in = false;
            let (id, at) = (stand_in_id(pts), frame.sequence + 1);
            let event = Item::Event(Kind::Gap, id, at);
            self.portion.tray.push_back(event);
        }
    }

    /// The same where as many dishes as are allowed can not be taken back: only one who can take it at
    /// once gets the frame.
    fn deal_at_once(&mut self, frame: Dish, flushing: bool, end_time: u64) -> bool {
        let asks = self.deal(frame, flushing, end_time);
        let newest = frame.sequence + u64::from(self.is_busy());
        self.give_back(newest) || asks
    }

    /// A frame comes after the stream was closed.
    fn deal_too_late(&mut self) {
        if self.seat.mood != Mood::Asleep {
            self.bill.frames_in += 1;
            let reason = self.seat.turns_away(false);
            self.bill.miss(1, reason.unwrap_or(DropReason::Eos));
        }
    }

    fn deal_event(&mut self, kind: Kind, id: u64, end: u64) {
        if !self.seat.staffed {
            return;
        }
        if self.seat.is_shut_for(DropReason::Evicted) {
            return self.portion.tray.clear();
        }
        if let Mood::Shut(reason) = self.seat.mood
            && kind.readmits(reason)
        {
            self.feed_again();
        }
        let first = self.portion.oldest().map_or(end, |frame| frame.sequence);
        self.portion.tray.push_back(Item::Event(kind, id, end));
        self.bill.events_gone += thin(&mut self.portion.tray, first);
    }

    fn flush(&mut self) {
        if self.seat.mood == Mood::Fed {
            self.toss_all(DropReason::Flushing);
            self.taste.wants_intra = true;
        }
        self.taste.untouched = true;
        self.unsaid.resumption = false;
        let stays = |item: &Item| item.kind().is_some_and(Kind::survives_flush);
        self.portion.tray.retain(stays);
    }

    /// A flush is over.
    fn resume(&mut self) {
        if !self.seat.staffed {
            return;
        }
        let evicted = self.seat.is_shut_for(DropReason::Evicted);
        self.bill.outdate();
        self.seat.wants_stand_in = true;
        self.unsaid.expulsion = evicted;
        self.unsaid.resumption = !evicted;
        if let Mood::Shut(DropReason::Eos | DropReason::Error) = self.seat.mood {
            self.feed_again();
        }
    }

    // ---- how it comes and goes -------------------------------------------------------------

    fn feed_again(&mut self) {
        self.seat.mood = Mood::Fed;
        self.taste.wants_intra = true;
        self.seat.wants_stand_in = true;
        self.bill.outdate();
    }

    /// Starts with what is kept for it, or else with the events that it has to know.
    fn serve(&mut self, stocked: Option<Tray>, sticky: &[(Kind, u64)], end: u64) {
        self.portion.had = 0;
        self.seat.wants_stand_in = true;
        self.portion.tray = stocked.unwrap_or_else(|| events(sticky, end));
        self.portion.allow_all();
        self.bill.frames_in += self.level();
        self.taste.wants_intra = self.level() == 0;
    }

    /// It may have recovered, or is linked at last.
    fn welcome_back(&mut self, stocked: Option<Tray>, sticky: &[(Kind, u64)], end: u64) {
        if !self.seat.staffed {
            return;
        }
        self.bill.outdate();
        self.portion.had = 0;
        self.seat.wants_stand_in = true;
        let is_linked_late =
            self.seat.is_shut_for(DropReason::NotLinked) && self.bill.out == 0 && !self.seat.closed;
        if self.seat.is_shut_for(DropReason::Evicted) {
            self.unsaid.expulsion = false;
            self.bill.pardon();
            self.portion.tray.extend(events(sticky, end));
        } else if is_linked_late && stocked.is_some() {
            self.feed_again();
            self.serve(stocked, sticky, end);
        } else if self.portion.tray.is_empty() {
            // Sticky events reach a peer that was linked late with the next event.
            self.portion.tray.extend(events(sticky, end).pop_back());
        }
        if self.seat.mood != Mood::Fed {
            self.feed_again();
        }
    }

    fn put_to_sleep(&mut self) {
        self.seat.staffed = false;
        self.unsaid.stop();
        self.portion.tray.retain(|item| item.frame().is_some());
        if self.seat.mood == Mood::Fed {
            self.shut(self.seat.stopped_for());
        }
    }

    fn close(&mut self) {
        if std::mem::replace(&mut self.seat.closed, true) {
            return;
        }
        if self.seat.mood == Mood::Fed {
            self.taste.wants_intra |= self.level() > 0;
            self.toss_all(DropReason::Disabled);
            self.seat.wants_stand_in = true;
        } else if self.seat.is_shut_for(DropReason::Flushing) {
            self.seat.mood = Mood::Shut(self.seat.stopped_for());
        }
    }

    /// `kept` is the group of pictures that is kept, if it may go back to that.
    fn open(&mut self, kept: Option<Tray>, now: u64) {
        if !std::mem::take(&mut self.seat.closed) {
            return;
        }
        if self.seat.is_shut_for(DropReason::Disabled) {
            self.seat.mood = Mood::Shut(self.seat.stopped_for());
        }
        if self.seat.mood != Mood::Fed {
            return;
        }
        let is_stand_in = |item: &Item| matches!(item, Item::Event(_, id, _) if id >> 60 == 1);
        self.portion.tray.retain(|item| !is_stand_in(item));
        let had = self.portion.had;
        let kept = kept.unwrap_or_default();
        let frames = kept.iter().filter_map(Item::frame);
        let frames: Vec<_> = frames.filter(|frame| frame.sequence >= had).collect();
        self.portion.tray = go_back(std::mem::take(&mut self.portion.tray), &frames, now);
        if self.level() > 0 {
            self.portion.allow_all();
            self.bill.frames_in += self.level();
            self.taste.wants_intra = false;
            self.bill.gap = true;
        }
    }

    // ---- what it takes and brings back -----------------------------------------------------

    fn take(&mut self, now: u64, end_time: u64, flushing: bool) -> Got {
        if !self.seat.staffed {
            let asleep = self.seat.mood == Mood::Asleep;
            return self.unsaid.say_unstaffed(asleep).into();
        }
        if self.portion.limits.max_age != 0 && !self.unsaid.expulsion {
            self.tidy(now, end_time);
        }
        if let Some(word) = self.unsaid.say(flushing) {
            return word.into();
        }
        while self
            .portion
            .oldest()
            .is_some_and(|one| self.taste.skips(&one))
        {
            self.toss_oldest(1, DropReason::WaitingKeyframe);
        }
        match self.portion.tray.pop_front() {
            None => Got::Wait,
            Some(Item::Event(kind, id, _)) => Got::Event(kind, id),
            Some(Item::Frame(frame)) => {
                self.portion.had = frame.sequence + 1;
                self.portion.note_eaten();
                let after_gap = self.bill.gap || self.bill.out == 0;
                self.taste.note_taken(&frame, after_gap);
                let (gap, missed) = self.bill.take();
                Got::Frame(frame, gap, missed)
            }
        }
    }

    /// The application has freed the frame that counts as in hand.
    pub(super) fn eat(&mut self) {
        if let Some(in_hand) = &mut self.bill.in_hand {
            in_hand.eaten = true;
        }
    }

    /// The frame in hand was taken; `untold` losses before it were not heard of.
    pub(super) fn hand_back(&mut self, untold: u64) {
        if self.bill.in_hand.take().is_some() {
            self.bill.hear_of(untold);
            self.seat.flow = 0;
            self.bill.out += 1;
        }
    }

    /// The frame in hand was dropped for `reason`, for which the branch `ends` too.
    pub(super) fn toss_in_hand(&mut self, reason: DropReason, ends: bool, flow: i32, untold: u64) {
        let Some(in_hand) = self.bill.in_hand.take() else {
            return;
        };
        self.bill.hear_of(untold);
        self.seat.flow = flow;
        self.portion.had = 0;
        self.bill.miss(1, reason);
        if self.seat.mood != Mood::Fed {
            return;
        }
        let ends = ends && in_hand.current;
        let recovers = |item: &Item| item.kind().is_some_and(|kind| kind.readmits(reason));
        match self.portion.tray.iter().position(recovers) {
            None if ends => self.shut(reason),
            Some(at) if ends => {
                let before = self.portion.tray.range(..at).filter_map(Item::frame);
                self.toss_oldest(before.count() as u64, reason);
                self.find_intra();
            }
            _ => drop(self.find_intra()),
        }
    }
}

/// What `waits`, without frames, with `frames` in their places that were kept.
fn go_back(mut waits: Tray, frames: &[&Dish], now: u64) -> Tray {
    let first = frames.first().map(|frame| frame.sequence);
    let is_bar = |item: &Item| item.kind().is_some_and(bars);
    let count = waits.iter().rposition(is_bar).map_or(0, |at| at + 1);
    for item in waits.iter_mut().take(count) {
        if let Item::Event(.., at) = item {
            *at = (*at).min(first.unwrap_or(*at));
        }
    }
    let mut tray = Tray::new();
    for frame in frames {
        while let Some(Item::Event(.., at)) = waits.front()
            && *at <= frame.sequence
        {
            tray.extend(waits.pop_front());
        }
        tray.push_back(Item::Frame(Dish {
            arrived: now,
            ..**frame
        }));
    }
    tray.append(&mut waits);
    tray
}
