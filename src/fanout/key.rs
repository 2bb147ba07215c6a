// SPDX-License-Identifier: MPL-2.0
//! The names of consumers and of moments: neither ever stands for two.

/// A moment in the life of the core: a counter that never goes back, not even at a reset.
///
/// Everything that a consumer takes carries the newest of the consumer's stamps. When its thread
/// brings something back, the stamp says what has changed in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The next one; each exists once.
    pub(super) fn advance(&mut self) -> Self {
        self.0 += 1;
        *self
    }
}

/// A consumer. The next one in the same slot joined at another moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumerId {
    pub(super) slot: usize,
    pub(super) joined: Stamp,
}

impl ConsumerId {
    /// What to take with before the consumer was activated.
    pub(crate) fn joined(self) -> Stamp {
        self.joined
    }
}
