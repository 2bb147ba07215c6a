// SPDX-License-Identifier: MPL-2.0
//! What lies before a guest: frames and events in order, and how events are thinned out.

use std::collections::VecDeque;

use super::super::Kind;
use crate::fanout::FrameInfo;

const MAX_EVENTS: usize = 256;

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Dish {
    pub(in super::super) sequence: u64,
    pub(super) info: FrameInfo,
    /// When it came into this tray.
    pub(in super::super) arrived: u64,
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
