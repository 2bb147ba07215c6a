// SPDX-License-Identifier: MPL-2.0
//! What upstream hears: the answer to its frames, and when it is asked for a keyframe.

use super::keyframes::KeyframeRequests;
use super::types::Answer;
use crate::facts::DropReason;

/// How a consumer stands, as far as upstream is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Idle,
    Serving,
    /// With what its branch last answered.
    Ended(DropReason, i32),
}

#[derive(Debug)]
pub(super) struct Upstream {
    answer: Answer,
    rate: Rate,
    keyframes: KeyframeRequests,
}

impl Upstream {
    pub(super) fn new() -> Self {
        Self {
            answer: Answer::NoConsumer,
            rate: Rate::default(),
            keyframes: KeyframeRequests::default(),
        }
    }

    #[inline]
    pub(super) fn answer(&self) -> Answer {
        self.answer
    }

    pub(super) fn rate(&mut self) -> &mut Rate {
        &mut self.rate
    }

    pub(super) fn keyframes(&mut self) -> &mut KeyframeRequests {
        &mut self.keyframes
    }

    /// The stream is closed, whatever its consumers say.
    pub(super) fn end(&mut self) {
        self.answer = Answer::Eos;
    }

    /// OK while any consumer lives. A consumer that was evicted, stopped or flushed did not refuse
    /// the stream: while there is one and none has failed or ended, upstream goes on, too.
    pub(super) fn update_answer(&mut self, consumers: impl Iterator<Item = Standing>) {
        let (mut ended, mut spared) = (Answer::NoConsumer, false);
        for standing in consumers {
            match standing {
                Standing::Serving => {
                    self.answer = Answer::Ok;
                    return;
                }
                Standing::Ended(DropReason::Error, flow) => ended = Answer::Failed(flow),
                Standing::Ended(DropReason::Eos, _) if ended == Answer::NoConsumer => {
                    ended = Answer::Eos;
                }
                Standing::Ended(
                    DropReason::Evicted | DropReason::Flushing | DropReason::Disabled,
                    _,
                ) => spared = true,
                Standing::Idle | Standing::Ended(..) => {}
            }
        }
        self.answer = match ended {
            Answer::NoConsumer if spared => Answer::Ok,
            ended => ended,
        };
    }
}

/// Frames and bytes over the last second, in ten slices.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Those that are over; in the place of the running one, nothing.
    slices: [(u64, u64); Self::SLICES as usize],
    running: (u64, u64),
    /// Number of the running slice.
    slice: u64,
    /// When it is over, ns.
    slice_end: u64,
    last: Option<u64>,
    bytes: u64,
}

impl Rate {
    const SLICES: u64 = 10;
    const SLICE: u64 = 100_000_000;

    #[inline]
    pub(super) fn note(&mut self, now: u64, bytes: u64) {
        if now >= self.slice_end {
            self.advance(now);
        }
        self.running.0 += 1;
        self.running.1 += bytes;
        self.bytes += bytes;
        self.last = Some(now);
    }

    #[cold]
    fn advance(&mut self, now: u64) {
        let slice = now / Self::SLICE;
        if slice > self.slice {
            let over = std::mem::take(&mut self.running);
            self.slices[(self.slice % Self::SLICES) as usize] = over;
        }
        for passed in (self.slice + 1..=slice).take(Self::SLICES as usize) {
            self.slices[(passed % Self::SLICES) as usize] = (0, 0);
        }
        if slice - self.slice >= Self::SLICES {
            self.slices = Default::default();
        }
        self.slice = slice;
        self.slice_end = (slice + 1) * Self::SLICE;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Frames and bytes a second over the last second, of which the running slice is a part.
    pub(super) fn per_second(&mut self, now: u64) -> (f64, u64) {
        self.advance(now.max(self.slice * Self::SLICE));
        let slices = self.slices.iter().chain([&self.running]);
        let (frames, bytes) = slices.fold((0, 0), |(frames, bytes), slice| {
            (frames + slice.0, bytes + slice.1)
        });
        let span = Self::SLICE * (Self::SLICES - 1) + now % Self::SLICE;
        let seconds = span as f64 / 1e9;
        (frames as f64 / seconds, (bytes as f64 / seconds) as u64)
    }
}
