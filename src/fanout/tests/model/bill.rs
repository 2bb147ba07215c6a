// SPDX-License-Identifier: MPL-2.0
//! What a guest is counted for, and what it was told of that.

use crate::facts::DropReason;

/// A dish that a guest has taken and not brought back.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct InHand {
    /// Nothing readmitted the guest since.
    pub(super) current: bool,
    /// The application has freed it already.
    pub(in super::super) eaten: bool,
}

#[derive(Debug, Default)]
pub(in super::super) struct Bill {
    pub(in super::super) frames_in: u64,
    pub(in super::super) out: u64,
    pub(in super::super) drops: [u64; DropReason::ALL.len()],
    pub(in super::super) in_hand: Option<InHand>,
    /// Of the frames lost as slow, those that count for no eviction.
    pardoned: u64,
    /// Lost since the last one that was taken.
    missed: u64,
    /// The next one has to be marked.
    pub(super) gap: bool,
    pub(in super::super) events_gone: u64,
    pub(in super::super) requested_keyframes: u64,
}

impl Bill {
    /// Of a new life of the stream. One that was served before has a gap.
    pub(super) fn renewed(&self) -> Self {
        let served = self.in_hand.is_some() || self.out > 0 || self.total_dropped() > 0;
        Self {
            gap: self.gap || served,
            ..Self::default()
        }
    }

    pub(super) fn total_dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    pub(super) fn miss(&mut self, count: u64, reason: DropReason) {
        self.drops[reason.index()] += count;
        self.hear_of(count);
    }

    /// The guest was told of so many lost, and has not heard it.
    pub(super) fn hear_of(&mut self, count: u64) {
        self.missed += count;
        self.gap |= count > 0;
    }

    /// A dish is taken. One that was in hand still is done with. Whether it is marked, and how many were
    /// lost before it.
    pub(super) fn take(&mut self) -> (bool, u64) {
        let taken = InHand {
            current: true,
            eaten: false,
        };
        self.out += u64::from(self.in_hand.replace(taken).is_some());
        let missed = std::mem::take(&mut self.missed);
        (std::mem::take(&mut self.gap), missed)
    }

    /// An answer to what is in hand ends nothing any more.
    pub(super) fn outdate(&mut self) {
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.current = false;
        }
    }

    pub(super) fn lag(&self) -> u64 {
        self.drops[DropReason::Slow.index()] - self.pardoned
    }

    pub(super) fn pardon(&mut self) {
        self.pardoned = self.drops[DropReason::Slow.index()];
    }
}
