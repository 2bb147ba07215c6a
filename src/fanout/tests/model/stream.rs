// SPDX-License-Identifier: MPL-2.0
//! All of the model: the stream, its guests, and how much of it may be out.

use std::collections::BTreeSet;

use super::super::Kind;
use super::larder::Larder;
use super::{Dish, Got, Guest, Mood};
use crate::facts::DropReason;
use crate::fanout::{FrameInfo, Limits};

const SECOND: u64 = 1_000_000_000;

/// The numbers of the frames that threads and the application have in their hands.
pub(in super::super) type Hands = BTreeSet<u64>;

/// How many frames may be out.
#[derive(Debug, Default, Clone, Copy)]
struct House {
    /// By the application; 0: the pool's size decides.
    configured: u64,
    /// Frames of upstream's pool; 0: unknown.
    pool: u64,
}

impl House {
    fn limit(self) -> Option<u64> {
        match (self.configured, self.pool) {
            (0, 0) => None,
            (0, pool) => Some(pool.saturating_sub(2).max(1)),
            (configured, _) => Some(configured),
        }
    }
}

/// What upstream was asked for.
#[derive(Debug, Default)]
pub(in super::super) struct Asked {
    last: Option<u64>,
    pub(in super::super) keyframes: u64,
}

/// The end that the application has put to the stream.
#[derive(Debug, Default)]
pub(in super::super) struct Closing {
    event: Option<(Kind, u64)>,
    /// Frames that came after it.
    pub(in super::super) turned_away: u64,
}

impl Closing {
    pub(in super::super) fn is_closed(&self) -> bool {
        self.event.is_some()
    }
}

#[derive(Debug, Default)]
pub(in super::super) struct Model {
    pub(in super::super) end: u64,
    pub(in super::super) end_time: u64,
    pub(in super::super) larder: Larder,
    pub(in super::super) flushing: bool,
    pub(in super::super) guests: Vec<Guest>,
    /// What guests had dropped that have left.
    pub(in super::super) parted: u64,
    /// The last frame had headers and no reference: its time, if it had one.
    header: Option<Option<u64>>,
    pub(in super::super) asked: Asked,
    house: House,
    /// The number of the first frame: those of the lives before count, too.
    pub(in super::super) origin: u64,
    pub(in super::super) closing: Closing,
}

impl Model {
    // ---- upstream's side -------------------------------------------------------------------

    /// True if upstream is asked for a keyframe.
    pub(in super::super) fn publish(&mut self, info: FrameInfo, now: u64, hands: &Hands) -> bool {
        if self.closing.is_closed() {
            self.closing.turned_away += 1;
            self.guests.iter_mut().for_each(Guest::deal_too_late);
            return false;
        }
        let frame = self.append(info, now);
        let mut asks = false;
        let (flushing, end_time) = (self.flushing, self.end_time);
        let limit = self.house.limit();
        let all_in_hands = limit.is_some_and(|limit| hands.len() as u64 >= limit);
        for guest in &mut self.guests {
            asks |= match all_in_hands {
                true => guest.deal_at_once(frame, flushing, end_time),
                false => guest.deal(frame, flushing, end_time),
            };
        }
        if all_in_hands {
            self.release_kept();
        } else {
            asks |= self.enforce(hands);
        }
        asks && self.ask_for_keyframe(now)
    }

    fn append(&mut self, mut info: FrameInfo, now: u64) -> Dish {
        let same_time = |header: Option<u64>| header.is_none() || header == info.pts;
        let of_header = !info.delta && info.pts.is_some() && self.header.is_some_and(same_time);
        self.header = (info.header && !info.delta).then_some(info.pts);
        info.delta |= of_header;
        info.start = Some(info.start.unwrap_or(self.end_time));
        self.end_time = info.end.or(info.start).unwrap_or(0);
        let frame = Dish {
            sequence: self.end,
            info,
            arrived: now,
            behind_header: of_header,
        };
        self.end += 1;
        self.larder.frame(frame, self.flushing);
        if self.flushing {
            self.header = None;
        }
        frame
    }

    fn ask_for_keyframe(&mut self, now: u64) -> bool {
        let due = self.asked.last.is_none_or(|last| now - last >= SECOND);
        if due {
            self.asked.last = Some(now);
            self.asked.keyframes += 1;
            for guest in &mut self.guests {
                let waits = guest.taste.wants_intra && guest.seat.is_fed();
                guest.bill.requested_keyframes += u64::from(waits);
            }
        }
        due
    }

    pub(in super::super) fn event(&mut self, kind: Kind, id: u64) {
        if self.closing.is_closed() || self.flushing && !kind.survives_flush() {
            return;
        }
        self.larder.event(kind, id, self.end);
        if kind <= Kind::Caps {
            self.header = None;
        }
        for guest in &mut self.guests {
            guest.deal_event(kind, id, self.end);
        }
    }

    /// The application ends the stream by this event.
    pub(in super::super) fn close(&mut self, kind: Kind, id: u64) {
        self.event(kind, id);
        self.closing.event.get_or_insert((kind, id));
    }

    pub(in super::super) fn flush_start(&mut self) {
        self.flushing = true;
        self.header = None;
        self.larder.flush();
        self.guests.iter_mut().for_each(Guest::flush);
    }

    pub(in super::super) fn flush_stop(&mut self) {
        self.flushing = false;
        self.guests.iter_mut().for_each(Guest::resume);
        if let Some((kind, id)) = self.closing.event.take() {
            self.close(kind, id);
        }
    }

    pub(in super::super) fn forget_gop(&mut self) {
        self.larder.gop = None;
        self.header = None;
    }

    pub(in super::super) fn pause(&mut self) {
        for guest in &mut self.guests {
            guest.seat.wants_stand_in = true;
        }
    }

    // ---- what is out -----------------------------------------------------------------------

    pub(in super::super) fn set_max_held(&mut self, frames: u64, hands: &Hands) {
        let is_new = std::mem::replace(&mut self.house.configured, frames) != frames;
        if is_new {
            self.enforce(hands);
        }
    }

    pub(in super::super) fn set_pool(&mut self, size: u64, hands: &Hands) {
        let before = self.house.limit();
        self.house.pool = size;
        if self.house.limit() != before {
            self.enforce(hands);
        }
    }

    pub(in super::super) fn max_held(&self) -> u64 {
        self.house.limit().unwrap_or(0)
    }

    /// Some queue or the cache has the frame.
    pub(in super::super) fn holds(&self, sequence: u64) -> bool {
        let waits = self.guests.iter().flat_map(Guest::frames);
        let mut all = waits.chain(self.larder.frames());
        all.any(|frame| frame.sequence == sequence)
    }

    /// How many frames are out: each once.
    pub(in super::super) fn held(&self, hands: &Hands) -> u64 {
        let waits = self.guests.iter().flat_map(Guest::frames);
        let all = waits.chain(self.larder.frames());
        let numbers = all.map(|frame| self.origin + frame.sequence);
        numbers
            .chain(hands.iter().copied())
            .collect::<Hands>()
            .len() as u64
    }

    /// The first frame that a guest waits for, or the one that comes next.
    fn needed(&self) -> u64 {
        let waits = self.guests.iter().flat_map(Guest::frames);
        let first = waits.map(|frame| frame.sequence).min();
        first.unwrap_or(self.end)
    }

    /// Gives up what is kept for late joiners beyond what guests wait for; true if there was any.
    fn release_kept(&mut self) -> bool {
        let first = self.larder.frames().next().map(|frame| frame.sequence);
        let releases = first.is_some_and(|first| first < self.needed());
        if releases {
            self.larder.gop = None;
        }
        releases
    }

    /// Gives frames back until no more are out than may; true if a keyframe has to be asked for.
    fn enforce(&mut self, hands: &Hands) -> bool {
        let mut asks = false;
        while self
            .house
            .limit()
            .is_some_and(|limit| self.held(hands) > limit)
        {
            if self.release_kept() {
                continue;
            }
            let only_waits = |sequence: &u64| !hands.contains(&(self.origin + sequence));
            let Some(oldest) = (self.needed()..self.end).find(only_waits) else {
                break;
            };
            for guest in &mut self.guests {
                asks |= guest.give_back(oldest + 1);
            }
        }
        asks
    }

    // ---- the guests' side ------------------------------------------------------------------

    pub(in super::super) fn take(&mut self, index: usize, now: u64) -> Got {
        self.guests[index].take(now, self.end_time, self.flushing)
    }

    pub(in super::super) fn staff(&mut self, index: usize, linked: bool, now: u64) {
        let guest = &mut self.guests[index];
        guest.portion.end_time = self.end_time;
        if guest.seat.staffed {
            guest.put_to_sleep();
        }
        let flow = guest.seat.flow;
        guest.toss_in_hand(DropReason::Flushing, false, flow, 0);
        let joins = guest.seat.mood == Mood::Asleep;
        if guest.seat.is_shut_for(DropReason::Evicted) {
            guest.bill.pardon();
        }
        guest.seat.mood = Mood::Fed;
        guest.seat.staffed = true;
        guest.unsaid.start();
        let is_stocked = joins && linked && !guest.seat.closed;
        let stocked = self.larder.tray(now).filter(|_| is_stocked);
        guest.serve(stocked, &self.larder.sticky, self.end);
        if !linked {
            guest.seat.mood = Mood::Shut(DropReason::NotLinked);
            guest.seat.flow = -7;
        }
    }

    pub(in super::super) fn unstaff(&mut self, index: usize) {
        self.guests[index].put_to_sleep();
    }

    pub(in super::super) fn welcome_back(&mut self, index: usize, now: u64) {
        let stocked = self.larder.tray(now);
        self.guests[index].welcome_back(stocked, &self.larder.sticky, self.end);
    }

    pub(in super::super) fn enable(&mut self, index: usize, enabled: bool, now: u64) {
        let guest = &mut self.guests[index];
        guest.portion.end_time = self.end_time;
        match enabled {
            true => guest.open(self.larder.kept(), now),
            false => guest.close(),
        }
    }

    pub(in super::super) fn set_limits(&mut self, index: usize, limits: Limits, now: u64) {
        let guest = &mut self.guests[index];
        guest.portion.limits = limits;
        guest.tidy(now, self.end_time);
    }

    /// Bytes and time of what waits for a guest.
    pub(in super::super) fn levels(&self, index: usize) -> (u64, u64) {
        let guest = &self.guests[index];
        let bytes = guest.frames().map(|frame| frame.info.bytes).sum();
        let start = guest.frames().next().and_then(|frame| frame.info.start);
        let time = start.map_or(0, |start| self.end_time.saturating_sub(start));
        (bytes, time)
    }

    /// Removes a guest.
    pub(in super::super) fn leave(&mut self, index: usize) {
        let guest = self.guests.remove(index);
        let in_flight = u64::from(guest.bill.in_hand.is_some());
        self.parted += guest.bill.total_dropped() + guest.level() + in_flight;
    }

    /// The stream will not start: a guest that waits for that learns it, if it `waits`.
    pub(in super::super) fn dismiss(&mut self, waits: impl Fn(usize) -> bool) {
        for (index, guest) in self.guests.iter_mut().enumerate() {
            guest.unsaid.cancellation |= guest.seat.mood == Mood::Asleep && waits(index);
        }
    }

    pub(in super::super) fn reset(&mut self) {
        let guests = self.guests.iter();
        let guests = guests.map(Guest::renewed).collect();
        *self = Self {
            guests,
            larder: self.larder.renewed(),
            house: House {
                pool: 0,
                ..self.house
            },
            origin: self.origin + self.end,
            ..Self::default()
        };
    }

    /// A guest is served.
    fn serves(&self) -> bool {
        self.guests.iter().any(|guest| guest.seat.mood == Mood::Fed)
    }

    /// Upstream goes on: the stream is not closed, and a guest is served, or has not refused it.
    pub(in super::super) fn answers_ok(&self) -> bool {
        let is = |guest: &Guest, reasons: &[DropReason]| match guest.seat.mood {
            Mood::Shut(reason) => reasons.contains(&reason),
            _ => false,
        };
        let ended = |guest| is(guest, &[DropReason::Eos, DropReason::Error]);
        let spared = [
            DropReason::Evicted,
            DropReason::Flushing,
            DropReason::Disabled,
        ];
        let spared = |guest| is(guest, &spared);
        let is_spared = !self.guests.iter().any(ended) && self.guests.iter().any(spared);
        !self.closing.is_closed() && (self.serves() || is_spared)
    }
}
