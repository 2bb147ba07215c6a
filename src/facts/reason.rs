// SPDX-License-Identifier: MPL-2.0
//! Why a frame was dropped.

/// Why a consumer did not get a frame.
///
/// Every drop has exactly one reason. [`name`](Self::name) ends the pad property
/// (`dropped-<reason>`); [`tag`](Self::tag) joins it with the consumer's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum DropReason {
    /// The queue was full and the oldest frame gave way.
    Slow,
    /// The frame waited longer than `max-age`.
    Stale,
    /// A coded frame whose reference was lost.
    WaitingKeyframe,
    /// The pad has no peer, or the branch said `NOT_LINKED`.
    NotLinked,
    /// Discarded by a flush, a stop, or the pad's release.
    Flushing,
    /// The branch had said `EOS`.
    Eos,
    /// The branch had said an error.
    Error,
    /// The consumer was evicted.
    Evicted,
    /// The frame was given back so that upstream's buffer pool does not run dry.
    Pool,
    /// The consumer's gate is closed.
    Disabled,
}

impl DropReason {
    /// All reasons, in the order in which they are listed everywhere.
    pub const fn all() -> &'static [Self] {
        &Self::ALL
    }

    // Its length will change, which is why it is not public.
    pub(crate) const ALL: [Self; 10] = [
        Self::Slow,
        Self::Stale,
        Self::WaitingKeyframe,
        Self::NotLinked,
        Self::Flushing,
        Self::Eos,
        Self::Error,
        Self::Evicted,
        Self::Pool,
        Self::Disabled,
    ];

    /// The name as in the property `dropped-<name>`, words joined by `-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Stale => "stale",
            Self::WaitingKeyframe => "waiting-keyframe",
            Self::NotLinked => "not-linked",
            Self::Flushing => "flushing",
            Self::Eos => "eos",
            Self::Error => "error",
            Self::Evicted => "evicted",
            Self::Pool => "pool",
            Self::Disabled => "disabled",
        }
    }

    /// The reason of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The tag of this reason for `consumer`, for example `detection_client_slow`.
    pub fn tag(self, consumer: &str) -> String {
        format!("{consumer}_{}", self.name().replace('-', "_"))
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_the_promised_ones() {
        let tags = DropReason::ALL.map(|reason| reason.tag("telemetry"));
        assert_eq!(
            tags,
            [
                "telemetry_slow",
                "telemetry_stale",
                "telemetry_waiting_keyframe",
                "telemetry_not_linked",
                "telemetry_flushing",
                "telemetry_eos",
                "telemetry_error",
                "telemetry_evicted",
                "telemetry_pool",
                "telemetry_disabled",
            ]
        );
    }

    #[test]
    fn all_is_indexed_by_discriminant() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
