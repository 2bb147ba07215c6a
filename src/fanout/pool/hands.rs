// SPDX-License-Identifier: MPL-2.0
//! The frames that can not be taken back.

use smallvec::SmallVec;

/// Frames in the application's hands after they have landed, and how many handles each has.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<(u64, u32)>);

impl Kept {
    pub(super) fn add(&mut self, number: u64) {
        match self.0.iter_mut().find(|kept| kept.0 == number) {
            Some(kept) => kept.1 += 1,
            None => self.0.push((number, 1)),
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(index) = self.0.iter().position(|kept| kept.0 == number) else {
            return;
        };
        self.0[index].1 -= 1;
        if self.0[index].1 == 0 {
            self.0.swap_remove(index);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|kept| kept.0)
    }
}

/// The frames that can not be taken back, each once, in order.
#[derive(Debug)]
pub(super) struct InHands(SmallVec<[u64; 16]>);

impl InHands {
    pub(super) fn new(numbers: impl Iterator<Item = u64>) -> Self {
        let mut numbers: SmallVec<[u64; 16]> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// How many frames are out, of which the log has those in `log`.
    pub(super) fn held(&self, log: &std::ops::Range<u64>) -> u64 {
        let apart = self.0.iter().filter(|number| !log.contains(*number));
        apart.count() as u64 + (log.end - log.start)
    }

    /// The first of `waiting` that can be taken back: it only waits.
    pub(super) fn first_to_give(&self, waiting: std::ops::Range<u64>) -> Option<u64> {
        let mut waiting = waiting;
        waiting.find(|number| self.0.binary_search(number).is_err())
    }
}
