// SPDX-License-Identifier: MPL-2.0
//! Each frame is counted once: in = out + Σ dropped + waiting + in flight, and what the frames
//! taken say of losses before them adds up to those.

use crate::facts::{DropReason, Drops, Ledger};
use crate::fanout::key::Stamp;
use crate::fanout::types::Lost;

/// A frame that the consumer has not given back.
#[derive(Debug, Clone, Copy)]
pub(in crate::fanout) struct Flight {
    pub(in crate::fanout) stamp: Stamp,
    /// Of the frame, over all lives of the stream.
    pub(in crate::fanout) number: u64,
    /// ns
    pub(in crate::fanout) since: u64,
    pub(in crate::fanout) lost: Lost,
}

#[derive(Debug)]
pub(in crate::fanout) struct Account {
    /// Position of the first frame that counts.
    joined: u64,
    /// Frames beside those of the log: dropped for want of a link and offered again by the replay, so
    /// that `in` may exceed the number of frames published; or turned away from a closed stream.
    beside: u64,
    out: u64,
    dropped: Drops,
    /// Frames dropped as slow when the consumer was last served again.
    slow_at_readmission: u64,
    /// Lost since the last frame taken.
    lost: u64,
    /// The next frame is the first of a stream after another one, or of a replay.
    begins_anew: bool,
    flight: Option<Flight>,
    /// How long the last frame was in flight, ns.
    last_flight: u64,
    requested_keyframes: u64,
}

impl Account {
    /// Of a consumer that joins at `position`.
    pub(in crate::fanout) fn new(position: u64) -> Self {
        Self {
            joined: position,
            beside: 0,
            out: 0,
            dropped: Drops::default(),
            slow_at_readmission: 0,
            lost: 0,
            begins_anew: false,
            flight: None,
            last_flight: 0,
            requested_keyframes: 0,
        }
    }

    /// All counters at zero, at the beginning of another stream.
    pub(in crate::fanout) fn reset(&mut self) {
        let had_frames = self.flight.is_some() || self.out > 0 || self.dropped.total() > 0;
        let begins_anew = self.begins_anew || had_frames;
        *self = Self {
            begins_anew,
            ..Self::new(0)
        };
    }

    /// Nothing counts before `position`.
    #[inline]
    pub(in crate::fanout) fn join(&mut self, position: u64) {
        self.joined = position;
    }

    pub(in crate::fanout) fn offer_again(&mut self, frames: u64) {
        self.beside += frames;
    }

    /// A frame counts that is not in the log. It still has to be dropped.
    pub(in crate::fanout) fn turn_away(&mut self) {
        self.beside += 1;
    }

    #[inline]
    pub(in crate::fanout) fn drop(&mut self, reason: DropReason, count: u64) {
        self.lost += count;
        self.dropped.add(reason, count);
    }

    /// A frame is handed out. What it has to carry: whether it is marked, and how many were lost
    /// before it.
    pub(in crate::fanout) fn take(&mut self, flight: Flight) -> (bool, u64) {
        // A consumer that takes the next one is done with the one before.
        self.out += u64::from(self.flight.replace(flight).is_some());
        let discont = self.is_discont();
        self.begins_anew = false;
        (discont, std::mem::take(&mut self.lost))
    }

    /// Something was lost before the next frame, or the stream begins anew with it.
    pub(in crate::fanout) fn is_discont(&self) -> bool {
        self.lost > 0 || self.begins_anew
    }

    /// The next frame need not follow the last one.
    pub(in crate::fanout) fn begin_anew(&mut self) {
        self.begins_anew = true;
    }

    /// The consumer has not heard of `untold` losses: the next frame says so.
    pub(in crate::fanout) fn tell_again(&mut self, untold: u64) {
        self.lost += untold;
    }

    /// The frame in flight comes back. It still has to be counted.
    pub(in crate::fanout) fn land(&mut self, now: u64) -> Option<Flight> {
        let flight = self.flight.take()?;
        self.last_flight = now.saturating_sub(flight.since);
        Some(flight)
    }

    /// The frame in flight does not come back. It still has to be counted.
    pub(in crate::fanout) fn abandon(&mut self) -> Option<Flight> {
        self.flight.take()
    }

    /// The frame that was in flight is done with.
    pub(in crate::fanout) fn deliver(&mut self) {
        self.out += 1;
    }

    pub(in crate::fanout) fn flight(&self) -> Option<&Flight> {
        self.flight.as_ref()
    }

    pub(in crate::fanout) fn has_delivered(&self) -> bool {
        self.out > 0
    }

    #[inline]
    pub(in crate::fanout) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason)
    }

    /// Frames lost as slow since the consumer was last served again.
    pub(in crate::fanout) fn lag(&self) -> u64 {
        self.dropped.get(DropReason::Slow) - self.slow_at_readmission
    }

    /// What was lost so far is no reason for an eviction any more.
    pub(in crate::fanout) fn forgive(&mut self) {
        self.slow_at_readmission = self.dropped.get(DropReason::Slow);
    }

    pub(in crate::fanout) fn in_flight_for(&self, now: u64) -> u64 {
        let flight = self.flight.as_ref();
        flight.map_or(0, |flight| now.saturating_sub(flight.since))
    }

    pub(in crate::fanout) fn last_flight(&self) -> u64 {
        self.last_flight
    }

    pub(in crate::fanout) fn request_keyframe(&mut self) {
        self.requested_keyframes += 1;
    }

    pub(in crate::fanout) fn requested_keyframes(&self) -> u64 {
        self.requested_keyframes
    }

    /// With `waiting` frames before `end`.
    #[inline]
    pub(in crate::fanout) fn ledger(&self, end: u64, waiting: u64) -> Ledger {
        Ledger {
            frames_in: end - self.joined + self.beside,
            frames_out: self.out,
            in_flight: u64::from(self.flight.is_some()),
            waiting,
            dropped: self.dropped,
        }
    }
}
