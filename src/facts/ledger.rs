// SPDX-License-Identifier: MPL-2.0
//! What became of the frames that a consumer was offered.

use super::reason::DropReason;

/// Drop counters of one consumer, one per [`DropReason`].
///
/// With the feature `serde` they are a map from the reasons' names to counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// How many frames were dropped for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// How many frames were dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Every reason with its count, zero counts included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0.iter().copied())
    }

    pub(crate) fn add(&mut self, reason: DropReason, count: u64) {
        self.0[reason.index()] += count;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (reason, count) in other.iter() {
            self.add(reason, count);
        }
    }
}

/// The reasons that frames were dropped for, by name: `slow=3 eos=1`, or `none`.
impl std::fmt::Display for Drops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut counts = self.iter().filter(|(_, count)| *count > 0);
        let Some((reason, count)) = counts.next() else {
            return f.write_str("none");
        };
        write!(f, "{reason}={count}")?;
        counts.try_for_each(|(reason, count)| write!(f, " {reason}={count}"))
    }
}

/// A map from the names of all reasons to counts.
impl std::fmt::Debug for Drops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.iter().map(|(reason, count)| (reason.name(), count));
        f.debug_map().entries(names).finish()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Drops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Drops {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = std::collections::BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut drops = Self::default();
        for (name, count) in counts {
            let reason = DropReason::from_name(&name);
            // The accounts would not balance without it.
            let unknown = || serde::de::Error::custom(format!("no reason for a drop: {name}"));
            drops.add(reason.ok_or_else(unknown)?, count);
        }
        Ok(drops)
    }
}

/// One consumer's accounts at one moment.
///
/// They always balance to the frame, see [`balances`](Self::balances).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Ledger {
    /// Frames that arrived since the consumer joined (or since READY→PAUSED).
    pub frames_in: u64,
    /// Frames that the consumer took and was done with.
    pub frames_out: u64,
    /// Frames handed to the consumer that it is not done with: 0 or 1.
    pub in_flight: u64,
    /// Frames that wait in the queue.
    pub waiting: u64,
    /// Frames that were dropped, by reason.
    pub dropped: Drops,
}

impl Ledger {
    /// `in == out + Σ dropped + waiting + in-flight`.
    pub fn balances(&self) -> bool {
        // What was read from JSON may be any numbers.
        let parts = [self.frames_out, self.waiting, self.in_flight];
        let sum: u128 = self
            .dropped
            .0
            .into_iter()
            .chain(parts)
            .map(u128::from)
            .sum();
        u128::from(self.frames_in) == sum
    }
}
