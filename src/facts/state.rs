// SPDX-License-Identifier: MPL-2.0
//! The state of a consumer.

/// How a consumer does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum State {
    /// It is served.
    #[default]
    Ok,
    /// A frame has been in flight for longer than `stall-timeout`.
    Stalled,
    /// The pad has no peer, or the branch said `NOT_LINKED`.
    NotLinked,
    /// The branch said `EOS`.
    Eos,
    /// The branch said an error.
    Failed,
    /// It lost more than `max-lag` frames.
    Evicted,
    /// Its gate is closed.
    Disabled,
}

impl State {
    /// All states, in the order in which they are listed everywhere.
    pub const fn all() -> &'static [Self] {
        &Self::ALL
    }

    // Its length will change, which is why it is not public.
    pub(crate) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Stalled,
        Self::NotLinked,
        Self::Eos,
        Self::Failed,
        Self::Evicted,
        Self::Disabled,
    ];

    /// The name as in the property `state` and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stalled => "stalled",
            Self::NotLinked => "not-linked",
            Self::Eos => "eos",
            Self::Failed => "failed",
            Self::Evicted => "evicted",
            Self::Disabled => "disabled",
        }
    }

    /// The state of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// False while stalled, failed or evicted.
    pub const fn is_healthy(self) -> bool {
        !matches!(self, Self::Stalled | Self::Failed | Self::Evicted)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
