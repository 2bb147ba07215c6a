// SPDX-License-Identifier: MPL-2.0
//! What notices are made of, as plain data.

use std::time::Duration;

use super::reason::DropReason;
use super::state::State;

/// A consumer lost frames.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Dropped {
    /// The consumer's name; empty where it stands for several, see [`Notices`](crate::Notices).
    pub consumer: String,
    /// Its pad's name.
    pub pad: String,
    /// Why they were lost.
    pub reason: DropReason,
    /// How many, since the last such notice of this consumer and reason.
    pub count: u64,
    /// How many in all, of this consumer and reason.
    pub total: u64,
    /// The consumer's frames that arrived, when it was told.
    pub frames_in: u64,
    /// The consumer's frames that were delivered, when it was told.
    pub frames_out: u64,
    /// The consumer's frames that were lost for any reason, when it was told.
    pub dropped: u64,
    /// The presentation time of the last one lost.
    pub timestamp: Option<Duration>,
    /// The running time of the last one lost.
    pub running_time: Option<Duration>,
}

impl Dropped {
    /// Of consumers that are not told apart.
    pub(crate) fn of_several(reason: DropReason) -> Self {
        Self {
            consumer: String::new(),
            pad: String::new(),
            reason,
            count: 0,
            total: 0,
            frames_in: 0,
            frames_out: 0,
            dropped: 0,
            timestamp: None,
            running_time: None,
        }
    }
}

/// A consumer came to another state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Transition {
    /// The consumer's name.
    pub consumer: String,
    /// Its pad's name.
    pub pad: String,
    /// How it does now.
    pub state: State,
    /// How it did before.
    pub previous: State,
    /// What its branch last answered to a frame: `ok`, `error`, `not-linked` and so on.
    pub flow: String,
    /// How long the frame that this is about is or was in flight.
    pub in_flight_for: Duration,
}

/// Groups of pictures were longer than `gop-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GopTruncated {
    /// Frames that may be kept.
    pub capacity: u64,
    /// How many groups this is about.
    pub count: u64,
}

/// The limit on the frames that are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PoolLimit {
    /// Frames that are out.
    pub held: u64,
    /// Frames that may be out at once.
    pub max_held: u64,
    /// Buffers of upstream's pool.
    pub pool_size: u64,
    /// The pool did not tell its size; it was found out by upstream's silence.
    pub learned: bool,
}
