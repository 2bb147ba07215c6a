// SPDX-License-Identifier: MPL-2.0
//! Events that wait for a consumer that does not come back must not grow without bound.

use std::collections::VecDeque;

use super::Event;

/// The most events that wait for one consumer before they are thinned out.
pub(super) const MAX_EVENTS: usize = 256;

/// Events that wait apart from the log, each with the position of the frame that it precedes.
pub(super) struct Backlog<E> {
    events: VecDeque<(u64, E)>,
    /// What can not be thinned out further is not looked through for each event.
    limit: usize,
}

impl<E: Event> Backlog<E> {
    pub(super) fn new() -> Self {
        Self {
            events: VecDeque::new(),
            limit: MAX_EVENTS,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push(&mut self, position: u64, event: E) {
        self.events.push_back((position, event));
    }

    /// The first event, if it precedes the frame at `cursor`.
    pub(super) fn next(&mut self, cursor: u64) -> Option<E> {
        let (position, _) = self.events.front()?;
        if *position > cursor {
            return None;
        }
        self.events.pop_front().map(|(_, event)| event)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &(u64, E)> {
        self.events.iter()
    }

    /// True if it is time to thin out: `more` events wait in the log.
    pub(super) fn is_full(&mut self, more: usize) -> bool {
        let waiting = self.events.len() + more;
        if waiting <= MAX_EVENTS {
            self.limit = MAX_EVENTS;
        }
        waiting > self.limit
    }

    pub(super) fn clear(&mut self, gone: &mut impl Extend<E>) {
        gone.extend(self.events.drain(..).map(|(_, event)| event));
    }

    /// Keeps the events that survive a flush.
    pub(super) fn flush(&mut self, gone: &mut impl Extend<E>) {
        let (kept, void): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|(_, event)| event.survives_flush());
        self.events = kept;
        gone.extend(void.into_iter().map(|(_, event)| event));
    }

    /// Thins out; the frames before `cursor` are gone. Returns how many expendable events went.
    pub(super) fn thin_out(&mut self, cursor: u64, gone: &mut impl Extend<E>) -> u64 {
        for (position, _) in &mut self.events {
            *position = (*position).max(cursor);
        }
        let events = std::mem::take(&mut self.events).into();
        let (kept, dropped) = shed(events, MAX_EVENTS, gone);
        self.limit = match kept.len() {
            len if len > MAX_EVENTS => 2 * len,
            _ => MAX_EVENTS,
        };
        self.events = kept.into();
        dropped
    }
}

/// Thins out `events`.
///
/// Sticky events that a newer one of the same kind replaced, with no frame between them, are
/// merged. If that leaves more than `max`, the oldest expendable ones go. Returns what stays and
/// how many expendable ones went.
fn shed<E: Event>(
    events: Vec<(u64, E)>,
    max: usize,
    gone: &mut impl Extend<E>,
) -> (Vec<(u64, E)>, u64) {
    let mut kept: Vec<(u64, E)> = Vec::with_capacity(events.len());
    for (position, event) in last_ends(events, gone) {
        let at = place(&mut kept, position, &event, gone);
        kept.insert(at, (position, event));
    }
    let mut excess = kept.len().saturating_sub(max);
    let mut dropped = 0;
    gone.extend(
        kept.extract_if(.., |(_, event)| {
            let goes = excess > 0 && event.is_expendable();
            excess -= usize::from(goes);
            dropped += u64::from(goes);
            goes
        })
        .map(|(_, event)| event),
    );
    (kept, dropped)
}

/// Of several ends of the stream with no frame between them only the last.
fn last_ends<E: Event>(mut events: Vec<(u64, E)>, gone: &mut impl Extend<E>) -> Vec<(u64, E)> {
    let mut newer = None;
    for index in (0..events.len()).rev() {
        let (position, event) = &events[index];
        if event.ends_stream() && newer.replace(*position) == Some(*position) {
            gone.extend([events.remove(index).1]);
        }
    }
    events
}

/// Where `event` goes after what it replaces went: last, in general.
///
/// What must precede later kinds comes where its predecessor was, for what followed that one, but
/// not before the kinds that it has to follow. Nothing passes a frame or the end of the stream.
fn place<E: Event>(
    kept: &mut Vec<(u64, E)>,
    position: u64,
    event: &E,
    gone: &mut impl Extend<E>,
) -> usize {
    if !event.is_sticky() || event.ends_stream() {
        return kept.len();
    }
    let barrier = |(other, older): &(u64, E)| *other != position || older.ends_stream();
    let from = kept.iter().rposition(barrier).map_or(0, |at| at + 1);
    let replaced = kept[from..]
        .iter()
        .position(|(_, older)| event.replaces(older));
    let Some(old) = replaced.map(|at| from + at) else {
        return kept.len();
    };
    gone.extend([kept.remove(old).1]);
    if !event.must_precede_later_kinds() {
        return kept.len();
    }
    let precedes =
        |(_, other): &(u64, E)| other.must_precede_later_kinds() && other.order() < event.order();
    let after = kept[from..].iter().rposition(precedes);
    old.max(after.map_or(0, |at| from + at + 1))
}
