// SPDX-License-Identifier: MPL-2.0
//! The stream as late joiners find it.

use super::super::Kind;
use super::tray::{Dish, Item, Tray, bars, events, thin};

#[derive(Debug, Default)]
pub(in super::super) struct Larder {
    pub(super) sticky: Vec<(Kind, u64)>,
    /// From the last keyframe on, with the sticky events that were in force there.
    pub(super) gop: Option<(Vec<(Kind, u64)>, Tray)>,
    pub(super) capacity: u64,
    pub(super) truncated: u64,
    /// Frames of this format need others.
    coded: bool,
}

impl Larder {
    /// Of a new life of the stream.
    pub(super) fn renewed(&self) -> Self {
        Self {
            capacity: self.capacity,
            ..Self::default()
        }
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &Dish> {
        let kept = self.gop.iter().flat_map(|(_, items)| items);
        kept.filter_map(Item::frame)
    }

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
    pub(super) fn tray(&self, now: u64) -> Option<Tray> {
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

    pub(in super::super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
        let frames = |items: &Tray| items.iter().filter_map(Item::frame).count() as u64;
        self.gop.take_if(|(_, items)| frames(items) > capacity);
    }

    pub(super) fn flush(&mut self) {
        self.sticky.retain(|(kind, _)| kind.survives_flush());
        self.gop = None;
    }
}
