// SPDX-License-Identifier: MPL-2.0
//! What can be read of the core.

use std::sync::Arc;

use super::key::ConsumerId;
use super::pool::PoolFigures;
use crate::facts::{Ledger, State};

/// One consumer at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<L> {
    pub(crate) label: Arc<L>,
    pub(crate) id: ConsumerId,
    pub(crate) ledger: Ledger,
    /// Of the frames that wait.
    pub(crate) bytes: u64,
    /// Running time of the frames that wait, ns.
    pub(crate) time: u64,
    pub(crate) state: State,
    /// How long the frame in flight has been so, ns.
    pub(crate) in_flight_for: u64,
    /// How long the frame before it was, ns.
    pub(crate) last_flight: u64,
    /// Which life of the stream the accounts are of.
    pub(crate) run: u64,
    /// What the consumer last answered.
    pub(crate) flow: i32,
    pub(crate) events_dropped: u64,
    /// Asked of upstream for this consumer.
    pub(crate) requested_keyframes: u64,
}

impl<L> Snapshot<L> {
    pub(super) fn called(self, label: Arc<L>) -> Self {
        Self { label, ..self }
    }
}

impl<L> Clone for Snapshot<L> {
    fn clone(&self) -> Self {
        Self {
            label: self.label.clone(),
            ..*self
        }
    }
}

/// How far the stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Course {
    #[default]
    Running,
    /// Upstream has said its end.
    Ended,
    /// The application has closed it.
    Closed,
}

/// The whole stream at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) published: u64,
    pub(crate) bytes: u64,
    /// Over all consumers, those that left included.
    pub(crate) dropped: u64,
    pub(crate) keyframe_requests: u64,
    /// Frames a second, over the last second.
    pub(crate) frame_rate: f64,
    /// Bits a second, over the last second.
    pub(crate) bitrate: u64,
    /// ns since the last frame.
    pub(crate) last_frame_age: Option<u64>,
    /// Which life of the stream this is, from one.
    pub(crate) run: u64,
    pub(crate) course: Course,
    /// Frames that are out, and how many may be.
    pub(crate) pool: PoolFigures,
}
