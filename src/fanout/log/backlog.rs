// SPDX-License-Identifier: MPL-2.0
//! Events that wait for a consumer that does not come back do not grow without bound.

use std::collections::VecDeque;

use crate::fanout::types::Event;

/// The most events that wait for one consumer before they are thinned out.
const MAX_EVENTS: usize = 256;

/// An event in its place in the stream.
#[derive(Debug, Clone)]
pub(in crate::fanout) struct Placed<E> {
    /// Position of the frame that it precedes.
    pub(in crate::fanout) at: u64,
    /// Which event of the stream it is; one that is repeated keeps its number.
    pub(in crate::fanout) sequence: u64,
    pub(in crate::fanout) event: E,
}

impl<E: Event> Placed<E> {
    /// Frames of before it are of no use to a consumer that has had it.
    pub(in crate::fanout) fn bars(&self) -> bool {
        self.event.ends_stream() || self.event.must_precede_later_kinds()
    }
}

/// Events that wait apart from the log.
pub(in crate::fanout) struct Backlog<E> {
    events: VecDeque<Placed<E>>,
    /// From so many on it is thinned out. More than [`MAX_EVENTS`] while that many can not be
    /// reached: so the same events are not looked through for each new one.
    limit: usize,
}

impl<E: Event> Backlog<E> {
    pub(in crate::fanout) fn new() -> Self {
        Self {
            events: VecDeque::new(),
            limit: MAX_EVENTS,
        }
    }

    pub(in crate::fanout) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(in crate::fanout) fn push(&mut self, event: Placed<E>) {
        self.events.push_back(event);
    }

    /// The first event, if it precedes the frame at `cursor`.
    pub(in crate::fanout) fn next(&mut self, cursor: u64) -> Option<Placed<E>> {
        self.events.front().filter(|first| first.at <= cursor)?;
        self.events.pop_front()
    }

    pub(in crate::fanout) fn iter(&self) -> impl Iterator<Item = &Placed<E>> {
        self.events.iter()
    }

    /// True if it is time to thin out: `more` events wait in the log.
    pub(in crate::fanout) fn is_full(&mut self, more: usize) -> bool {
        let waiting = self.events.len() + more;
        if waiting <= MAX_EVENTS {
            self.limit = MAX_EVENTS;
        }
        waiting > self.limit
    }

    pub(in crate::fanout) fn clear(&mut self, gone: &mut impl Extend<E>) {
        gone.extend(self.events.drain(..).map(|placed| placed.event));
    }

    /// Keeps the events that survive a flush.
    pub(in crate::fanout) fn flush(&mut self, gone: &mut impl Extend<E>) {
        self.retract(|placed| !placed.event.survives_flush(), gone);
    }

    /// All up to the last that bars precede the frame at `position`.
    pub(in crate::fanout) fn go_back(&mut self, position: u64) {
        let last = self.events.iter().rposition(Placed::bars);
        let count = last.map_or(0, |last| last + 1);
        for placed in self.events.iter_mut().take(count) {
            placed.at = placed.at.min(position);
        }
    }

    /// Forgets the events that are `void`.
    pub(in crate::fanout) fn retract(
        &mut self,
        void: impl Fn(&Placed<E>) -> bool,
        gone: &mut impl Extend<E>,
    ) {
        let (void, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.events).into_iter().partition(void);
        self.events = kept;
        gone.extend(void.into_iter().map(|placed| placed.event));
    }

    /// Thins out; the frames before `cursor` are gone. Returns how many expendable events went.
    pub(in crate::fanout) fn thin_out(&mut self, cursor: u64, gone: &mut impl Extend<E>) -> u64 {
        for placed in &mut self.events {
            placed.at = placed.at.max(cursor);
        }
        let events = std::mem::take(&mut self.events).into();
        let (kept, dropped) = thinned(events, MAX_EVENTS, gone);
        self.limit = match kept.len() {
            len if len > MAX_EVENTS => 2 * len,
            _ => MAX_EVENTS,
        };
        self.events = kept.into();
        dropped
    }
}

/// Thins out `events`. Returns what stays, and how many expendable events went.
///
/// Sticky events that a newer one of the same kind replaced, with no frame between them, are
/// merged. If that leaves more than `max`, the oldest expendable ones go.
fn thinned<E: Event>(
    events: Vec<Placed<E>>,
    max: usize,
    gone: &mut impl Extend<E>,
) -> (Vec<Placed<E>>, u64) {
    let mut kept: Vec<Placed<E>> = Vec::with_capacity(events.len());
    for placed in last_ends(events, gone) {
        let index = reinsert(&mut kept, &placed, gone);
        kept.insert(index, placed);
    }
    let mut excess = kept.len().saturating_sub(max);
    let mut dropped = 0;
    gone.extend(
        kept.extract_if(.., |placed| {
            let goes = excess > 0 && placed.event.is_expendable();
            excess -= usize::from(goes);
            dropped += u64::from(goes);
            goes
        })
        .map(|placed| placed.event),
    );
    (kept, dropped)
}

/// Of several ends of the stream with no frame between them only the last.
fn last_ends<E: Event>(mut events: Vec<Placed<E>>, gone: &mut impl Extend<E>) -> Vec<Placed<E>> {
    let mut newer = None;
    for index in (0..events.len()).rev() {
        let Placed { at, event, .. } = &events[index];
        if event.ends_stream() && newer.replace(*at) == Some(*at) {
            gone.extend([events.remove(index).event]);
        }
    }
    events
}

/// Where `new` belongs in `kept`, from which the event that it replaces is removed.
///
/// An event in general goes last. STREAM_START, CAPS and SEGMENT must come in this order and before
/// all others, so each of them takes the place of the one that it replaces, for the sake of the
/// events behind that, but stays behind those of the three that precede it:
///
/// ```text
/// CAPS1 TAG SEGMENT1 GAP + CAPS2    → CAPS2 TAG SEGMENT1 GAP
/// CAPS1 GAP STREAM_START2 + CAPS2   → GAP STREAM_START2 CAPS2
/// ```
///
/// Nothing passes a frame or the end of the stream.
fn reinsert<E: Event>(
    kept: &mut Vec<Placed<E>>,
    new: &Placed<E>,
    gone: &mut impl Extend<E>,
) -> usize {
    let event = &new.event;
    if !event.is_sticky() || event.ends_stream() {
        return kept.len();
    }
    let barrier = |older: &Placed<E>| older.at != new.at || older.event.ends_stream();
    let from = kept.iter().rposition(barrier).map_or(0, |at| at + 1);
    let replaced = kept[from..]
        .iter()
        .position(|older| event.replaces(&older.event));
    let Some(old) = replaced.map(|at| from + at) else {
        return kept.len();
    };
    gone.extend([kept.remove(old).event]);
    if !event.must_precede_later_kinds() {
        return kept.len();
    }
    let precedes = |other: &Placed<E>| {
        other.event.must_precede_later_kinds() && other.event.order() < event.order()
    };
    let after = kept[from..].iter().rposition(precedes);
    old.max(after.map_or(0, |at| from + at + 1))
}
