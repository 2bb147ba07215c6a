// SPDX-License-Identifier: MPL-2.0
//! What can be read of a consumer.

use super::{Mode, Taker};
use crate::facts::{DropReason, Ledger, State};
use crate::fanout::log::Log;
use crate::fanout::{ConsumerId, Event, Snapshot};

impl<E: Event> Taker<E> {
    #[inline]
    pub(in crate::fanout) fn ledger(&self, end: u64) -> Ledger {
        Ledger {
            frames_in: end - self.joined + self.offered_again,
            frames_out: self.out,
            in_flight: u64::from(self.flight.is_some()),
            waiting: end - self.cursor,
            dropped: self.dropped,
        }
    }

    /// How long the frame in flight has been so, ns.
    pub(in crate::fanout) fn in_flight_for(&self, now: u64) -> u64 {
        self.flight
            .as_ref()
            .map_or(0, |flight| now.saturating_sub(flight.since))
    }

    /// How long the frame that this transition is about was or has been in flight, ns.
    pub(in crate::fanout) fn flight_of(&self, now: u64, state: State) -> u64 {
        match state {
            State::Stalled | State::Evicted => self.in_flight_for(now),
            _ => self.last_flight,
        }
    }

    pub(in crate::fanout) fn in_flight_since(&self) -> Option<u64> {
        self.flight.as_ref().map(|flight| flight.since)
    }

    pub(in crate::fanout) fn state(&self, now: u64, stall_timeout: u64) -> State {
        match self.mode {
            // Nothing to tell of a pad that is requested, and linked before a frame comes.
            Mode::Ended(DropReason::NotLinked) if self.dropped.get(DropReason::NotLinked) == 0 => {
                State::Ok
            }
            Mode::Ended(DropReason::NotLinked) => State::NotLinked,
            Mode::Ended(DropReason::Eos) => State::Eos,
            Mode::Ended(DropReason::Error) => State::Failed,
            Mode::Ended(DropReason::Evicted) => State::Evicted,
            _ if stall_timeout != 0 && self.in_flight_for(now) > stall_timeout => State::Stalled,
            _ => State::Ok,
        }
    }

    pub(in crate::fanout) fn events_dropped(&self) -> u64 {
        self.events_dropped
    }

    pub(in crate::fanout) fn snapshot<F>(
        &self,
        id: ConsumerId,
        log: &Log<F, E>,
        now: u64,
        stall_timeout: u64,
    ) -> Snapshot {
        Snapshot {
            id,
            label: self.label.clone(),
            ledger: self.ledger(log.end()),
            bytes: log.bytes_from(self.cursor),
            time: log.time_from(self.cursor),
            state: self.state(now, stall_timeout),
            in_flight_for: self.in_flight_for(now),
            flow: self.flow,
            events_dropped: self.events_dropped,
            requested_keyframes: self.requested_keyframes,
            last: false,
        }
    }
}
