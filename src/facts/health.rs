// SPDX-License-Identifier: MPL-2.0
//! How a stream and its consumers do, as plain data.

use std::time::Duration;

use super::ledger::Ledger;
use super::state::State;

/// How a stream does.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Health {
    /// Frames that arrived since READY→PAUSED.
    pub published: u64,
    /// Bytes that arrived since READY→PAUSED.
    pub bytes: u64,
    /// Frames dropped over all consumers, released ones included.
    pub dropped: u64,
    /// Frames a second over the last second.
    pub frame_rate: f64,
    /// Bits a second over the last second.
    pub bitrate: u64,
    /// Time since the last frame arrived.
    pub last_frame_age: Option<Duration>,
    /// Frames of upstream's that are out, each counted once.
    pub held: u64,
    /// How many may be out at once; 0: no limit is in force.
    pub max_held: u64,
    /// What was lost before it came here.
    pub input: InputLosses,
    /// The consumers that are there.
    pub consumers: Vec<ConsumerHealth>,
}

/// What was lost before the element, as far as the frames that arrive tell, since READY→PAUSED.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct InputLosses {
    /// Jumps of time of more than 1.5 frame durations. A stream without a fixed frame rate has none.
    pub gaps: u64,
    /// The frames that fit into these gaps.
    pub missing: u64,
    /// Frames with the flag DISCONT, but for the first one of a stream, after a seek, a flush or new
    /// caps.
    pub disconts: u64,
    /// Frames with the flag CORRUPTED.
    pub corrupted: u64,
}

/// How a consumer does.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConsumerHealth {
    /// The name that its tags begin with.
    pub consumer: String,
    /// How it does.
    pub state: State,
    /// What became of its frames.
    pub ledger: Ledger,
    /// How long frames waited in the queue, 99th percentile since start.
    pub wait_p99: Duration,
    /// How long the consumer took for a frame, 99th percentile since start: beyond the frame
    /// duration it is too slow itself.
    pub service_p99: Duration,
    /// How long the frame in flight has been so.
    pub in_flight_for: Duration,
}

impl ConsumerHealth {
    /// False while stalled, failed or evicted.
    pub fn is_healthy(&self) -> bool {
        self.state.is_healthy()
    }
}
