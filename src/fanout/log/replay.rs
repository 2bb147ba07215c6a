// SPDX-License-Identifier: MPL-2.0
//! What is kept for late joiners: the stream from the last keyframe on.

use super::backlog::{Backlog, Placed};
use crate::fanout::types::{Event, Sticky};

/// Where a consumer starts to read.
pub(in crate::fanout) struct Start<E> {
    pub(in crate::fanout) position: u64,
    /// Events that come first.
    pub(in crate::fanout) events: Vec<Placed<E>>,
    /// Sequence number of the first event after these.
    pub(in crate::fanout) next: u64,
}

impl<E: Event> Start<E> {
    /// At `position`, where the `sticky` events are in force, each with its sequence number.
    pub(super) fn new(position: u64, sticky: &[(u64, E)], next: u64) -> Self {
        let events = sticky.iter().map(|(sequence, event)| Placed {
            at: position,
            sequence: *sequence,
            event: event.clone(),
        });
        Self {
            position,
            events: events.collect(),
            next,
        }
    }
}

/// The stream from a keyframe on.
pub(super) struct Replay<E> {
    /// Of the keyframe: the log keeps all frames from it on.
    pub(super) position: u64,
    /// The sticky events in force there.
    sticky: Sticky<E>,
    /// Events after it that were too many to stay in the log.
    events: Backlog<E>,
    /// Sequence number of the first event that the log keeps for this.
    pub(super) next: u64,
}

impl<E: Event> Replay<E> {
    pub(super) fn new(position: u64, sticky: Sticky<E>, next: u64) -> Self {
        Self {
            position,
            sticky,
            events: Backlog::new(),
            next,
        }
    }

    pub(super) fn sticky(&mut self) -> &mut Sticky<E> {
        &mut self.sticky
    }

    /// Those after it that the log does not keep.
    pub(super) fn events(&self) -> impl Iterator<Item = &Placed<E>> {
        self.events.iter()
    }

    pub(super) fn start(&self) -> Start<E> {
        let mut start = Start::new(self.position, &self.sticky, self.next);
        start.events.extend(self.events.iter().cloned());
        start
    }

    /// An event was appended to those that the log keeps for this, from `next` on: too many are
    /// taken over and thinned out.
    pub(super) fn bound_events<'a>(
        &mut self,
        kept: impl ExactSizeIterator<Item = &'a Placed<E>>,
        gone: &mut impl Extend<E>,
    ) where
        E: 'a,
    {
        if self.events.is_full(kept.len()) {
            self.next += kept.len() as u64;
            kept.for_each(|placed| self.events.push(placed.clone()));
            self.events.thin_out(self.position, gone);
        }
    }

    /// What is left of it, to be freed later.
    pub(super) fn dissolve(mut self, gone: &mut impl Extend<E>) -> Sticky<E> {
        self.events.clear(gone);
        self.sticky
    }
}
