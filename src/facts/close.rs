// SPDX-License-Identifier: MPL-2.0
//! Why a consumer gets no more frames.

/// Why the stream is over for a receiver.
///
/// After [`Eos`](Self::Eos), [`Stopped`](Self::Stopped) and [`Failed`](Self::Failed) the receiver may
/// be kept: it goes on when the pipeline is started again, or the stream begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CloseReason {
    /// The stream came to its end, and the receiver has had every frame of it that was not dropped.
    Eos,
    /// The element was stopped (PAUSED→READY), or its pad deactivated.
    Stopped,
    /// The consumer lost more frames than its `max-lag`. It gets none any more: subscribe anew.
    Evicted,
    /// The consumer's pad was released or removed by the application.
    Released,
    /// The stream failed: its pipeline went back to NULL before the element had run, or the application
    /// said so by [`FramePublisher::fail`](crate::FramePublisher::fail).
    Failed,
    /// The application closed the publisher, see
    /// [`FramePublisher::close`](crate::FramePublisher::close).
    PublisherClosed,
}

impl CloseReason {
    /// All reasons, in the order in which they are listed.
    pub const fn all() -> &'static [Self] {
        &[
            Self::Eos,
            Self::Stopped,
            Self::Evicted,
            Self::Released,
            Self::Failed,
            Self::PublisherClosed,
        ]
    }

    /// The name as it is serialized, words joined by `-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Stopped => "stopped",
            Self::Evicted => "evicted",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::PublisherClosed => "publisher-closed",
        }
    }

    /// The reason of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::all().iter().copied();
        all.find(|reason| reason.name() == name)
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Eos => "the stream has ended",
            Self::Stopped => "the stream was stopped",
            Self::Evicted => "the consumer was evicted",
            Self::Released => "the consumer's pad was released",
            Self::Failed => "the stream failed",
            Self::PublisherClosed => "the publisher was closed",
        })
    }
}
