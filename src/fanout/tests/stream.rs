// SPDX-License-Identifier: MPL-2.0
//! The rest of the model: what late joiners find, how events are thinned out, and the whole.

use super::Kind;
use super::model::{Dish, Got, Guest, Item, Mood, Tray};
use crate::facts::DropReason;
use crate::fanout::{FrameInfo, Limits};

const SECOND: u64 = 1_000_000_000;
const MAX_EVENTS: usize = 256;

/// Right before the frame `at`.
pub(super) fn events(sticky: &[(Kind, u64)], at: u64) -> Tray {
    let items = sticky.iter().map(|(kind, id)| Item::Event(*kind, *id, at));
    items.collect()
}

/// No frame from before it is of use behind it.
pub(super) fn bars(kind: Kind) -> bool {
    kind <= Kind::Segment || kind == Kind::Eos
}

/// Thins out the events of `tray` if there are too many, where those before the frame `first` are as good
/// as right before it; tells how many were missed.
pub(super) fn thin(tray: &mut Tray, first: u64) -> u64 {
    let count = |tray: &Tray| tray.iter().filter(|item| item.frame().is_none()).count();
    if count(tray) <= MAX_EVENTS {
        return 0;
    }
    let mut all = Tray::new();
    let mut run = Vec::new();
    let merged = |run: Vec<_>| {
        merge(run)
            .into_iter()
            .map(|(kind, id, at)| Item::Event(kind, id, at))
    };
    for item in tray.drain(..) {
        match item {
            Item::Event(kind, id, at) => run.push((kind, id, at.max(first))),
            frame => {
                all.extend(merged(std::mem::take(&mut run)));
                all.push_back(frame);
            }
        }
    }
    all.extend(merged(run));
    *tray = all;
    let mut dropped = 0;
    while count(tray) > MAX_EVENTS {
        let expendable = |item: &Item| matches!(item.kind(), Some(Kind::Gap | Kind::Custom));
        let Some(oldest) = tray.iter().position(expendable) else {
            break;
        };
        tray.remove(oldest);
        dropped += 1;
    }
    dropped
}

/// An event, its number, and the frame that it precedes.
type Told = (Kind, u64, u64);

/// Merges sticky events with no frame between them.
fn merge(mut run: Vec<Told>) -> Vec<Told> {
    // Of several ends of the stream only the last, and nothing passes it.
    let last_end = run.iter().rposition(|(kind, ..)| *kind == Kind::Eos);
    let mut index = 0;
    run.retain(|(kind, ..)| {
        index += 1;
        *kind != Kind::Eos || Some(index - 1) == last_end
    });
    let mut merged: Vec<Told> = Vec::new();
    for part in run.split_inclusive(|(kind, ..)| *kind == Kind::Eos) {
        let mut kept: Vec<Told> = Vec::new();
        for (kind, id, at) in part.iter().copied() {
            let old = kept
                .iter()
                .position(|(other, ..)| kind.sticky() && *other == kind);
            let Some(old) = old else {
                kept.push((kind, id, at));
                continue;
            };
            kept.remove(old);
            let lower = |other: &Told| other.0 < kind;
            let place = match kind {
                Kind::Tag => kept.len(),
                _ => old.max(kept.iter().rposition(lower).map_or(0, |index| index + 1)),
            };
            kept.insert(place, (kind, id, at));
        }
        merged.extend(kept);
    }
    merged
}

/// The stream as late joiners find it.
#[derive(Debug, Default)]
pub(super) struct Larder {
    pub(super) sticky: Vec<(Kind, u64)>,
    /// From the last keyframe on, with the sticky events that were in force there.
    pub(super) gop: Option<(Vec<(Kind, u64)>, Tray)>,
    pub(super) capacity: u64,
    pub(super) truncated: u64,
    /// Frames of this format need others.
    coded: bool,
}

impl Larder {
    /// What a consumer goes back to whose gate opens.
    pub(super) fn kept(&self) -> Option<Tray> {
        let (_, items) = self.gop.as_ref().filter(|_| self.coded)?;
        let bars = |item: &Item| item.kind().is_some_and(bars);
        (!items.iter().any(bars)).then(|| items.clone())
    }

    pub(super) fn frame(&mut self, frame: Dish, flushing: bool) {
        self.coded |= self.capacity != 0 && frame.info.delta;
        if flushing || self.capacity == 0 {
            self.gop = None;
            return;
        }
        if !frame.info.delta {
            self.gop = Some((self.sticky.clone(), Tray::new()));
        }
        if let Some((_, items)) = &mut self.gop {
            items.push_back(Item::Frame(frame));
            if items.iter().filter_map(Item::frame).count() as u64 > self.capacity {
                self.gop = None;
                self.truncated += 1;
            }
        }
    }

    pub(super) fn event(&mut self, kind: Kind, id: u64, end: u64) {
        if kind <= Kind::Caps {
            self.gop = None;
            self.coded = false;
        }
        if kind.sticky() {
            self.sticky
                .retain(|(older, _)| !kind.replaces(*older) && !kind.voids(*older));
            self.sticky.push((kind, id));
            self.sticky.sort_by_key(|(kind, _)| *kind);
        }
        if let Some((_, items)) = &mut self.gop {
            items.push_back(Item::Event(kind, id, end));
            thin(items, 0);
        }
    }

    /// What waits at first for a consumer that joins.
    fn tray(&self, now: u64) -> Option<Tray> {
        let (sticky, items) = self.gop.as_ref()?;
        let first = items.iter().find_map(Item::frame)?;
        let mut tray = events(sticky, first.sequence);
        tray.extend(items.iter().map(|item| match *item {
            Item::Frame(frame) => Item::Frame(Dish {
                arrived: now,
                ..frame
            }),
            event => event,
        }));
        Some(tray)
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        let frames = |items: &Tray| items.iter().filter_map(Item::frame).count() as u64;
        self.gop.take_if(|(_, items)| frames(items) > capacity);
    }

    pub(super) fn flush(&mut self) {
        self.sticky.retain(|(kind, _)| kind.survives_flush());
        self.gop = None;
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) end: u64,
    pub(super) end_time: u64,
    pub(super) larder: Larder,
    pub(super) flushing: bool,
    pub(super) guests: Vec<Guest>,
    pub(super) parted: u64,
    /// The last frame had headers and no reference: its time, if it had one.
    pub(super) header: Option<Option<u64>>,
    key_requested: Option<u64>,
    pub(super) keyframe_requests: u64,
}

impl Model {
    /// True if upstream is asked for a keyframe.
    pub(super) fn publish(&mut self, mut info: FrameInfo, now: u64) -> bool {
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
        let mut asks = false;
        for guest in &mut self.guests {
            guest.end_time = self.end_time;
            asks |= guest.deal(frame, self.flushing, self.end_time);
        }
        let due = self.key_requested.is_none_or(|last| now - last >= SECOND);
        if asks && due {
            self.key_requested = Some(now);
            self.keyframe_requests += 1;
            for guest in &mut self.guests {
                let waits = guest.wants_intra && guest.is_fed();
                guest.requested_keyframes += u64::from(waits);
            }
        }
        asks && due
    }

    pub(super) fn event(&mut self, kind: Kind, id: u64) {
        if self.flushing && !kind.survives_flush() {
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

    pub(super) fn flush_start(&mut self) {
        self.flushing = true;
        self.header = None;
        self.larder.flush();
        for guest in &mut self.guests {
            if guest.mood == Mood::Fed {
                guest.toss_all(DropReason::Flushing);
                guest.wants_intra = true;
            }
            guest.untouched = true;
            guest.resumption_unsaid = false;
            let stays = |item: &Item| item.kind().is_some_and(Kind::survives_flush);
            guest.tray.retain(stays);
        }
    }

    pub(super) fn flush_stop(&mut self) {
        self.flushing = false;
        self.guests.iter_mut().for_each(Guest::resume);
    }

    pub(super) fn take(&mut self, index: usize, now: u64) -> Got {
        self.guests[index].take(now, self.end_time, self.flushing)
    }

    pub(super) fn staff(&mut self, index: usize, linked: bool, now: u64) {
        let guest = &mut self.guests[index];
        guest.end_time = self.end_time;
        if guest.staffed {
            guest.put_to_sleep();
        }
        if let Some(true | false) = guest.in_hand {
            let flow = guest.flow;
            guest.toss_in_hand(DropReason::Flushing, false, flow);
        }
        let untouched = guest.mood == Mood::Asleep;
        if guest.mood == Mood::Shut(DropReason::Evicted) {
            guest.pardoned = guest.drops[DropReason::Slow.index()];
        }
        guest.mood = Mood::Fed;
        guest.staffed = true;
        guest.session_unsaid = guest.keeps_session;
        let is_stocked = untouched && linked && !guest.closed;
        let stocked = self.larder.tray(now).filter(|_| is_stocked);
        guest.seat(stocked, &self.larder.sticky, self.end);
        if !linked {
            guest.mood = Mood::Shut(DropReason::NotLinked);
            guest.flow = -7;
        }
    }

    pub(super) fn welcome_back(&mut self, index: usize, now: u64) {
        let stocked = self.larder.tray(now);
        self.guests[index].welcome_back(stocked, &self.larder.sticky, self.end);
    }

    pub(super) fn enable(&mut self, index: usize, enabled: bool, now: u64) {
        let guest = &mut self.guests[index];
        guest.end_time = self.end_time;
        match enabled {
            true => guest.open(self.larder.kept(), now),
            false => guest.close(),
        }
    }

    pub(super) fn set_limits(&mut self, index: usize, limits: Limits, now: u64) {
        let guest = &mut self.guests[index];
        guest.limits = limits;
        guest.tidy(now, self.end_time);
    }

    /// Removes a consumer.
    pub(super) fn leave(&mut self, index: usize) {
        let guest = self.guests.remove(index);
        let waiting = if guest.mood == Mood::Fed {
            guest.level()
        } else {
            0
        };
        let in_flight = u64::from(guest.in_hand.is_some());
        self.parted += guest.drops.iter().sum::<u64>() + waiting as u64 + in_flight;
    }

    pub(super) fn reset(&mut self) {
        let guests = self.guests.iter();
        let guests = guests.map(Guest::reset).collect();
        *self = Self {
            guests,
            larder: Larder {
                capacity: self.larder.capacity,
                ..Larder::default()
            },
            ..Self::default()
        };
    }

    /// True if a consumer is served.
    pub(super) fn served(&self) -> bool {
        self.guests.iter().any(|guest| guest.mood == Mood::Fed)
    }
}
