// SPDX-License-Identifier: MPL-2.0
//! What the consumers share in one step under the lock.

use std::task::Waker;

use crate::fanout::effects::Effects;
use crate::fanout::key::Stamp;
use crate::fanout::log::Log;
use crate::fanout::notices::NoticeQueue;
use crate::fanout::types::{Event, Lost};

/// What a consumer works with, all of it under the lock.
pub(in crate::fanout) struct Step<'a, F, E, L> {
    pub(in crate::fanout) log: &'a Log<F, E>,
    /// The log's.
    pub(in crate::fanout) end: u64,
    pub(in crate::fanout) stamp: &'a mut Stamp,
    pub(in crate::fanout) now: u64,
    /// Between the start and the stop of a flush.
    pub(in crate::fanout) flushing: bool,
    pub(in crate::fanout) notices: &'a mut NoticeQueue<L>,
    pub(in crate::fanout) effects: &'a mut Effects<F, E>,
    /// The last answer of `cached_loss`, and for which frame: most consumers ask for the same one.
    pub(in crate::fanout) loss: (u64, Lost),
}

impl<F, E: Event, L> Step<'_, F, E, L> {
    /// What to tell of the frame at `position`, if no other is useless without it and drops are
    /// not told one by one.
    #[inline]
    pub(super) fn cached_loss(&mut self, position: u64) -> Option<Lost> {
        match self.loss.0 == position {
            true => Some(self.loss.1),
            false => self.find_loss(position),
        }
    }

    fn find_loss(&mut self, position: u64) -> Option<Lost> {
        if self.notices.tells_each() || self.log.is_delta(position + 1) {
            return None;
        }
        self.loss = (position, self.lost(position));
        Some(self.loss.1)
    }

    pub(super) fn lost(&self, position: u64) -> Lost {
        let entry = self.log.entry(position);
        entry.map_or_else(Lost::default, |entry| entry.lost)
    }

    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.effects.note_waker(waker.take());
    }
}
