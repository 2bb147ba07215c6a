// SPDX-License-Identifier: MPL-2.0
//! The rest of the model: what late joiners find, how events are thinned out, and the whole.

use super::Kind;
use super::model::{Got, Item, Mode, Party, Queue, Waiting};
use crate::facts::DropReason;
use crate::fanout::{FrameInfo, Limits};

const SECOND: u64 = 1_000_000_000;
const MAX_EVENTS: usize = 256;

pub(super) fn events(sticky: &[(Kind, u64)]) -> Queue {
    let items = sticky.iter().map(|(kind, id)| Item::Event(*kind, *id));
    items.collect()
}

/// Thins out the events of `queue` if there are too many; tells how many were lost.
pub(super) fn shed(queue: &mut Queue) -> u64 {
    let count = |queue: &Queue| queue.iter().filter(|item| item.frame().is_none()).count();
    if count(queue) <= MAX_EVENTS {
        return 0;
    }
    let mut all = Queue::new();
    let mut run = Vec::new();
    for item in queue.drain(..) {
        match item {
            Item::Event(kind, id) => run.push((kind, id)),
            frame => {
                all.extend(events(&merge(std::mem::take(&mut run))));
                all.push_back(frame);
            }
        }
    }
    all.extend(events(&merge(run)));
    *queue = all;
    let mut dropped = 0;
    while count(queue) > MAX_EVENTS {
        let expendable = |item: &Item| matches!(item.kind(), Some(Kind::Gap | Kind::Custom));
        let Some(oldest) = queue.iter().position(expendable) else {
            break;
        };
        queue.remove(oldest);
        dropped += 1;
    }
    dropped
}

/// Merges sticky events with no frame between them.
fn merge(mut run: Vec<(Kind, u64)>) -> Vec<(Kind, u64)> {
    // Of several ends of the stream only the last, and nothing passes it.
    let last_end = run.iter().rposition(|(kind, _)| *kind == Kind::Eos);
    let mut index = 0;
    run.retain(|(kind, _)| {
        index += 1;
        *kind != Kind::Eos || Some(index - 1) == last_end
    });
    let mut merged: Vec<(Kind, u64)> = Vec::new();
    for part in run.split_inclusive(|(kind, _)| *kind == Kind::Eos) {
        let mut kept: Vec<(Kind, u64)> = Vec::new();
        for (kind, id) in part.iter().copied() {
            let old = kept
                .iter()
                .position(|(other, _)| kind.sticky() && *other == kind);
            let Some(old) = old else {
                kept.push((kind, id));
                continue;
            };
            kept.remove(old);
            let lower = |other: &(Kind, u64)| other.0 < kind;
            let at = match kind {
                Kind::Tag => kept.len(),
                _ => old.max(kept.iter().rposition(lower).map_or(0, |index| index + 1)),
            };
            kept.insert(at, (kind, id));
        }
        merged.extend(kept);
    }
    merged
}

/// The stream as late joiners find it.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) sticky: Vec<(Kind, u64)>,
    /// From the last keyframe on, with the sticky events that were in force there.
    pub(super) gop: Option<(Vec<(Kind, u64)>, Queue)>,
    pub(super) capacity: u64,
    pub(super) truncated: u64,
}

impl Cache {
    pub(super) fn frame(&mut self, frame: Waiting, flushing: bool) {
        if flushing || self.capacity == 0 {
            self.gop = None;
            return;
        }
        if !frame.info.delta {
            self.gop = Some((self.sticky.clone(), Queue::new()));
        }
        if let Some((_, items)) = &mut self.gop {
            items.push_back(Item::Frame(frame));
            if items.iter().filter_map(Item::frame).count() as u64 > self.capacity {
                self.gop = None;
                self.truncated += 1;
            }
        }
    }

    pub(super) fn event(&mut self, kind: Kind, id: u64) {
        if kind <= Kind::Caps {
            self.gop = None;
        }
        if kind.sticky() {
            self.sticky
                .retain(|(older, _)| !kind.replaces(*older) && !kind.voids(*older));
            self.sticky.push((kind, id));
            self.sticky.sort_by_key(|(kind, _)| *kind);
        }
        if let Some((_, items)) = &mut self.gop {
            items.push_back(Item::Event(kind, id));
            shed(items);
        }
    }

    /// What waits at first for a consumer that joins.
    fn queue(&self, now: u64) -> Option<Queue> {
        let (sticky, items) = self.gop.as_ref()?;
        let mut queue = events(sticky);
        queue.extend(items.iter().map(|item| match *item {
            Item::Frame(frame) => Item::Frame(Waiting {
                arrived: now,
                ..frame
            }),
            event => event,
        }));
        Some(queue)
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        let frames = |items: &Queue| items.iter().filter_map(Item::frame).count() as u64;
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
    pub(super) cache: Cache,
    pub(super) flushing: bool,
    pub(super) parties: Vec<Party>,
    pub(super) released: u64,
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
        let frame = Waiting {
            sequence: self.end,
            info,
            arrived: now,
            follows_header: of_header,
        };
        self.end += 1;
        self.cache.frame(frame, self.flushing);
        if self.flushing {
            self.header = None;
        }
        let mut asks = false;
        for party in &mut self.parties {
            party.end_time = self.end_time;
            asks |= party.offer(frame, self.flushing, self.end_time);
        }
        let due = self.key_requested.is_none_or(|last| now - last >= SECOND);
        if asks && due {
            self.key_requested = Some(now);
            self.keyframe_requests += 1;
            for party in &mut self.parties {
                let waits = party.needs_key && party.mode == Mode::Serving;
                party.requested_keyframes += u64::from(waits);
            }
        }
        asks && due
    }

    pub(super) fn event(&mut self, kind: Kind, id: u64) {
        self.cache.event(kind, id);
        if kind <= Kind::Caps {
            self.header = None;
        }
        for party in &mut self.parties {
            party.offer_event(kind, id);
        }
    }

    pub(super) fn flush_start(&mut self) {
        self.flushing = true;
        self.header = None;
        self.cache.flush();
        for party in &mut self.parties {
            if party.mode == Mode::Serving {
                party.drop_all(DropReason::Flushing);
                party.needs_key = true;
            }
            party.fresh = true;
            party.resumption_untold = false;
            let stays = |item: &Item| item.kind().is_some_and(Kind::survives_flush);
            party.queue.retain(stays);
        }
    }

    pub(super) fn flush_stop(&mut self) {
        self.flushing = false;
        self.parties.iter_mut().for_each(Party::resume);
    }

    pub(super) fn take(&mut self, index: usize, now: u64) -> Got {
        self.parties[index].take(now, self.end_time, self.flushing)
    }

    pub(super) fn activate(&mut self, index: usize, linked: bool, now: u64) {
        let party = &mut self.parties[index];
        party.end_time = self.end_time;
        if party.active {
            party.deactivate();
        }
        if let Some(true | false) = party.flight {
            let flow = party.flow;
            party.drop_flight(DropReason::Flushing, false, flow);
        }
        let fresh = party.mode == Mode::Idle;
        if party.mode == Mode::Ended(DropReason::Evicted) {
            party.forgiven = party.drops[DropReason::Slow.index()];
        }
        party.mode = Mode::Serving;
        party.active = true;
        let cached = self.cache.queue(now).filter(|_| fresh && linked);
        party.begin(cached, &self.cache.sticky);
        if !linked {
            party.mode = Mode::Ended(DropReason::NotLinked);
            party.flow = -7;
        }
    }

    pub(super) fn readmit(&mut self, index: usize, now: u64) {
        let cached = self.cache.queue(now);
        self.parties[index].readmit(cached, &self.cache.sticky);
    }

    pub(super) fn set_limits(&mut self, index: usize, limits: Limits, now: u64) {
        let party = &mut self.parties[index];
        party.limits = limits;
        party.enforce(now, self.end_time);
    }

    /// Removes a consumer.
    pub(super) fn leave(&mut self, index: usize) {
        let party = self.parties.remove(index);
        let waiting = if party.mode == Mode::Serving {
            party.level()
        } else {
            0
        };
        let in_flight = u64::from(party.flight.is_some());
        self.released += party.drops.iter().sum::<u64>() + waiting as u64 + in_flight;
    }

    pub(super) fn reset(&mut self) {
        let parties = self.parties.iter();
        let parties = parties.map(Party::reset).collect();
        *self = Self {
            parties,
            cache: Cache {
                capacity: self.cache.capacity,
                ..Cache::default()
            },
            ..Self::default()
        };
    }

    /// True if nobody is served but consumers failed.
    pub(super) fn served(&self) -> bool {
        self.parties.iter().any(|party| party.mode == Mode::Serving)
    }
}
