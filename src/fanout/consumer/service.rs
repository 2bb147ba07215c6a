// SPDX-License-Identifier: MPL-2.0
//! It is known at each moment whether the consumer is served, what it hears first, and whether an
//! answer that comes back still counts.
//!
//! The states are drawn in [`fanout`](crate::fanout). Of its three stamps each is a moment from
//! which on something counts: a frame or an event that was taken before carries an older one.
//!
//! | what comes back is older than | it is |
//! | --- | --- |
//! | `session`: the consumer was activated | of a thread that serves it no longer: nothing counts |
//! | `accepted`: the consumer was served again | counted, but ends nothing |
//! | `replayed`: it begins anew with replayed frames | as any other; only an event is void |

use crate::facts::{DropReason, State};
use crate::fanout::key::Stamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Phase {
    /// Never active yet: nothing counts.
    Idle,
    Serving,
    /// Its gate is closed: it gets events, and no frames.
    Disabled(StandIn),
    /// Gets no frame: each is dropped for this reason.
    Ended(DropReason),
    /// The same, and no thread is there to take anything.
    Stopped(DropReason),
}

/// Whether the consumer's gate lets frames through: what the application says, for now and for when
/// the consumer is served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Gate {
    Open,
    Closed,
}

/// One event in place of a frame that the gate holds back, for sinks that wait for their first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum StandIn {
    /// It goes in place of the next frame.
    Due,
    Given,
}

/// What the consumer hears before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// A flush is over.
    Resumed,
    /// It was evicted, or a flush undid that it was told so.
    Evicted,
    /// The stream will not start.
    Cancelled,
}

/// What happens to a frame that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Admission {
    Take,
    Drop(DropReason),
    /// The consumer has not joined yet.
    Uncounted,
}

/// How a call to take is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Greeting {
    /// With what waits.
    Serve,
    Wait,
    Evicted,
    Resumed,
    Cancelled,
    Closed(Stamp),
    Superseded(Stamp),
}

/// What an answer to a frame is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fanout) enum Verdict {
    Ours,
    /// It is counted, but does not end the consumer.
    Late,
    /// It is of a session that is over.
    Orphan,
}

#[derive(Debug)]
pub(in crate::fanout) struct Service {
    phase: Phase,
    gate: Gate,
    pending: Option<Pending>,
    session: Stamp,
    accepted: Stamp,
    replayed: Stamp,
    /// What the consumer last answered, opaque here.
    flow: i32,
}

impl Service {
    pub(in crate::fanout) fn new(joined: Stamp) -> Self {
        Self {
            phase: Phase::Idle,
            gate: Gate::Open,
            pending: None,
            session: joined,
            accepted: joined,
            replayed: joined,
            flow: 0,
        }
    }

    // ---- what it says ----------------------------------------------------------------------

    #[inline]
    pub(in crate::fanout) fn phase(&self) -> Phase {
        self.phase
    }

    pub(in crate::fanout) fn flow(&self) -> i32 {
        self.flow
    }

    pub(in crate::fanout) fn is_active(&self) -> bool {
        matches!(
            self.phase,
            Phase::Serving | Phase::Disabled(_) | Phase::Ended(_)
        )
    }

    /// It gets frames, or would if its gate were open.
    pub(in crate::fanout) fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Disabled(_))
    }

    /// It gets frames.
    #[inline]
    pub(in crate::fanout) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Why it gets no frames, active or not.
    pub(in crate::fanout) fn ended(&self) -> Option<DropReason> {
        match self.phase {
            Phase::Ended(reason) | Phase::Stopped(reason) => Some(reason),
            Phase::Idle | Phase::Serving | Phase::Disabled(_) => None,
        }
    }

    pub(in crate::fanout) fn is_gate_open(&self) -> bool {
        self.gate == Gate::Open
    }

    pub(in crate::fanout) fn is_stand_in_due(&self) -> bool {
        self.phase == Phase::Disabled(StandIn::Due)
    }

    /// The newest of its stamps, for all that is handed out.
    pub(in crate::fanout) fn stamp(&self) -> Stamp {
        self.session.max(self.accepted).max(self.replayed)
    }

    /// A call to take in `session` would be answered with something else than that there is nothing, or
    /// that the session is over.
    pub(in crate::fanout) fn has_news(&self, session: Stamp) -> bool {
        match self.phase {
            Phase::Idle => self.pending.is_some(),
            Phase::Stopped(_) => false,
            _ => self.pending.is_some() || session < self.session,
        }
    }

    /// What becomes of a frame that is published.
    #[inline]
    pub(in crate::fanout) fn admission(&self, flushing: bool) -> Admission {
        match self.phase {
            Phase::Serving if flushing => Admission::Drop(DropReason::Flushing),
            Phase::Serving => Admission::Take,
            Phase::Disabled(_) => Admission::Drop(DropReason::Disabled),
            Phase::Idle => Admission::Uncounted,
            Phase::Ended(reason) | Phase::Stopped(reason) => Admission::Drop(reason),
        }
    }

    pub(in crate::fanout) fn verdict(&self, stamp: Stamp) -> Verdict {
        if stamp < self.session {
            Verdict::Orphan
        } else if stamp < self.accepted {
            Verdict::Late
        } else {
            Verdict::Ours
        }
    }

    /// An event that was taken with `stamp` is not void.
    pub(in crate::fanout) fn is_current(&self, stamp: Stamp) -> bool {
        stamp >= self.session && stamp >= self.replayed
    }

    /// The state that can be read, but for `Stalled`.
    pub(in crate::fanout) fn state(&self) -> State {
        match self.ended() {
            Some(DropReason::NotLinked) => State::NotLinked,
            Some(DropReason::Eos) => State::Eos,
            Some(DropReason::Error) => State::Failed,
            Some(DropReason::Evicted) => State::Evicted,
            _ if self.gate == Gate::Closed => State::Disabled,
            _ => State::Ok,
        }
    }

    // ---- what happens to it ----------------------------------------------------------------

    /// The consumer takes in `session`. What is pending is told by that.
    pub(in crate::fanout) fn greet(&mut self, session: Stamp, flushing: bool) -> Greeting {
        match self.phase {
            Phase::Idle if session >= self.session => match self.pending.take() {
                Some(Pending::Cancelled) => Greeting::Cancelled,
                _ => Greeting::Wait,
            },
            Phase::Idle | Phase::Stopped(_) => Greeting::Closed(self.session),
            Phase::Serving | Phase::Disabled(_) | Phase::Ended(_) if session < self.session => {
                Greeting::Superseded(self.session)
            }
            Phase::Serving | Phase::Disabled(_) | Phase::Ended(_) => {
                if self.pending != Some(Pending::Evicted) && flushing {
                    return Greeting::Wait;
                }
                match self.pending.take() {
                    Some(Pending::Evicted) => Greeting::Evicted,
                    Some(Pending::Resumed) => Greeting::Resumed,
                    _ => Greeting::Serve,
                }
            }
        }
    }

    pub(in crate::fanout) fn activate(&mut self, now: Stamp) {
        self.serve();
        self.pending = None;
        self.session = now;
    }

    /// As far as its gate lets frames through.
    fn serve(&mut self) {
        self.phase = match self.gate {
            Gate::Open => Phase::Serving,
            Gate::Closed => Phase::Disabled(StandIn::Due),
        };
    }

    /// The application opens or closes the gate. True if frames that come have another fate from now on.
    pub(in crate::fanout) fn set_gate(&mut self, gate: Gate) -> bool {
        let before = self.phase;
        self.gate = gate;
        match self.phase {
            Phase::Serving | Phase::Stopped(DropReason::Flushing) if gate == Gate::Open => {}
            Phase::Disabled(_) | Phase::Stopped(DropReason::Disabled) if gate == Gate::Closed => {}
            Phase::Serving | Phase::Disabled(_) => self.serve(),
            Phase::Stopped(DropReason::Flushing | DropReason::Disabled) => self.stop(),
            // What has ended it counts first.
            Phase::Idle | Phase::Ended(_) | Phase::Stopped(_) => {}
        }
        self.phase != before
    }

    /// Sinks have lost their first frame, or will.
    pub(in crate::fanout) fn need_stand_in(&mut self) {
        if let Phase::Disabled(stand_in) = &mut self.phase {
            *stand_in = StandIn::Due;
        }
    }

    pub(in crate::fanout) fn give_stand_in(&mut self) {
        if let Phase::Disabled(stand_in) = &mut self.phase {
            *stand_in = StandIn::Given;
        }
    }

    /// It gets no more frames.
    pub(in crate::fanout) fn end(&mut self, reason: DropReason) {
        self.phase = match self.phase {
            Phase::Idle | Phase::Stopped(_) => Phase::Stopped(reason),
            Phase::Serving | Phase::Disabled(_) | Phase::Ended(_) => Phase::Ended(reason),
        };
    }

    pub(in crate::fanout) fn evict(&mut self) {
        self.end(DropReason::Evicted);
        self.pending = Some(Pending::Evicted);
    }

    /// Its thread goes. Why it ended before that, if it had, stays on record.
    pub(in crate::fanout) fn deactivate(&mut self) {
        self.pending = None;
        match self.phase {
            Phase::Serving | Phase::Disabled(_) => self.stop(),
            Phase::Ended(reason) => self.phase = Phase::Stopped(reason),
            Phase::Idle | Phase::Stopped(_) => {}
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopped(match self.gate {
            Gate::Open => DropReason::Flushing,
            Gate::Closed => DropReason::Disabled,
        });
    }

    /// It is served again: answers from before end it no more.
    pub(in crate::fanout) fn readmit(&mut self, now: Stamp) {
        if self.is_active() {
            self.accepted = now;
            self.serve();
            if self.pending == Some(Pending::Evicted) {
                self.pending = None;
            }
        }
    }

    /// It begins anew with replayed frames: events from before are void.
    pub(in crate::fanout) fn replay(&mut self, now: Stamp) {
        self.replayed = now;
    }

    pub(in crate::fanout) fn flush_start(&mut self) {
        if self.pending == Some(Pending::Resumed) {
            self.pending = None;
        }
    }

    /// A flush is over, and with it any end of the stream. True if the consumer is served again.
    pub(in crate::fanout) fn flush_stop(&mut self, now: Stamp) -> bool {
        if !self.is_active() {
            return false;
        }
        let is_evicted = self.phase == Phase::Ended(DropReason::Evicted);
        self.pending = Some(match is_evicted {
            true => Pending::Evicted,
            false => Pending::Resumed,
        });
        self.accepted = now;
        let ends = Phase::Ended(DropReason::Eos) == self.phase
            || Phase::Ended(DropReason::Error) == self.phase;
        if ends {
            self.serve();
        }
        self.need_stand_in();
        ends
    }

    /// The stream will not start, which a consumer that waits for it hears once.
    pub(in crate::fanout) fn cancel(&mut self) {
        if self.phase == Phase::Idle {
            self.pending = Some(Pending::Cancelled);
        }
    }

    /// A new life of the stream. The thread that serves the old one is told that it is over.
    pub(in crate::fanout) fn reset(&mut self, now: Stamp) {
        let session = match self.phase {
            Phase::Idle => self.session,
            _ => now,
        };
        *self = Self {
            gate: self.gate,
            ..Self::new(session)
        };
    }

    pub(in crate::fanout) fn set_flow(&mut self, flow: i32) {
        self.flow = flow;
    }
}
