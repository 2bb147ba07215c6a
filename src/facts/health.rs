// SPDX-License-Identifier: MPL-2.0
//! How a stream and its consumers do, as plain data.

use std::time::Duration;

use super::ledger::Ledger;
use super::metadata::Metadata;
use super::state::State;

/// How a stream does, at one moment.
///
/// Plain data: it is not updated, and nothing ends with it. With the feature `serde` it is serialized
/// field by field; durations as `secs` and `nanos`, names as the element's properties have them.
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
    /// How often upstream was asked for a keyframe.
    pub keyframe_requests: u64,
    /// What was lost before it came here.
    pub input: InputLosses,
    /// What the stream is.
    pub metadata: Metadata,
    /// The consumers that are there.
    pub consumers: Vec<ConsumerHealth>,
}

impl Health {
    /// How the consumer of this name does; `None` if there is none.
    pub fn consumer(&self, name: &str) -> Option<&ConsumerHealth> {
        self.consumers.iter().find(|one| one.consumer == name)
    }
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

/// How a consumer does, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct ConsumerHealth {
    /// The name that its tags begin with.
    pub consumer: String,
    /// The name of its pad.
    pub pad: String,
    /// Which run of the stream the accounts are of, see [`Frame::run`](crate::Frame::run).
    pub run: u64,
    /// How it does.
    pub state: State,
    /// What its branch last answered to a frame: `ok`, `error`, `not-linked` and so on.
    pub last_flow: String,
    /// What became of its frames.
    pub ledger: Ledger,
    /// How much may wait for it.
    pub limits: ConsumerLimits,
    /// How long frames waited in the queue.
    pub wait: Timing,
    /// How long the consumer took for a frame: beyond the frame duration it is too slow itself.
    pub service: Timing,
    /// How long the frame in flight has been so; zero if there is none.
    pub in_flight_for: Duration,
    /// What its branch reported by QoS events.
    pub qos: QosReport,
    /// Keyframes that were asked of upstream for it.
    pub requested_keyframes: u64,
}

impl ConsumerHealth {
    /// False while stalled, failed or evicted.
    pub fn is_healthy(&self) -> bool {
        self.state.is_healthy()
    }
}

/// How much may wait for a consumer, as its pad's properties say; zero: no such limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct ConsumerLimits {
    /// Frames that may wait, in force: the element's where the pad has none of its own.
    pub depth: u64,
    /// Bytes that may wait.
    pub max_size_bytes: u64,
    /// Running time that may wait.
    pub max_size_time: Duration,
    /// Frames that waited longer are dropped.
    pub max_age: Duration,
    /// So many frames may be lost as slow before the consumer is evicted.
    pub max_lag: u64,
}

/// How long something took, since start; within one per cent, from a microsecond on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Timing {
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Maximum.
    pub max: Duration,
}

impl Timing {
    pub(crate) fn of_nanos([p50, p99, max]: [u64; 3]) -> Self {
        Self {
            p50: Duration::from_nanos(p50),
            p99: Duration::from_nanos(p99),
            max: Duration::from_nanos(max),
        }
    }
}

/// What a branch reported of itself by QoS events. A receiver reports nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct QosReport {
    /// How many events came.
    pub events: u64,
    /// The last one's ratio of the time that processing took to what there was; above 1 it is too slow.
    pub proportion: f64,
    /// How much too late the last frame was, ns; negative: too early.
    pub jitter: i64,
}
