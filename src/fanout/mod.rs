// SPDX-License-Identifier: MPL-2.0
//! The core: one log of frames and events, and a window on it for each consumer.
//!
//! It knows no GStreamer type. Publishing is one append and one look at each consumer; a drop is a
//! cursor moved on; a frame lives as long as some window (or the cache for late joiners) holds it.
//! One lock makes all accounts part of one snapshot. Nothing is freed, woken or called under it:
//! that is collected in [`Later`] and done afterwards. Times are handed in, monotonic ns.

mod events;
mod later;
mod log;
mod report;
mod snapshot;
mod taker;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use later::Later;
use log::Log;
use report::Desk;
pub(crate) use report::{DropNotice, Notice, ReportConfig};
pub use snapshot::State;
pub(crate) use snapshot::{Rate, Snapshot, Totals};
use taker::{Cx, Mode, Next, Taker};

use crate::ledger::Drops;
use crate::reason::DropReason;

/// Force-key-unit requests go upstream at most this often, ns.
const KEY_REQUEST_INTERVAL: u64 = 1_000_000_000;

/// What the fan-out must know of a serialized event.
pub(crate) trait Event: Clone {
    /// Late joiners have to get it, and it survives in place of an older one of its kind.
    fn is_sticky(&self) -> bool;
    /// Makes `older` void: the same sticky kind, or an EOS before a new segment.
    fn replaces(&self, older: &Self) -> bool;
    /// Sticky events are given to a late joiner in ascending order of this.
    fn order(&self) -> u32;
    /// One of the kinds that all later kinds (by `order`) have to follow.
    fn must_precede_later_kinds(&self) -> bool;
    fn ends_stream(&self) -> bool;
    /// May go when too many events wait.
    fn is_expendable(&self) -> bool;
    fn survives_flush(&self) -> bool;
    /// A consumer that ended for `reason` is served again after it.
    fn readmits(&self, reason: DropReason) -> bool;
    /// Frames from before it are of no use after it.
    fn starts_format(&self) -> bool;
}

/// What the fan-out must know of a frame; times are running times in ns.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameInfo {
    pub(crate) bytes: u64,
    /// It needs the frames since the last one without this.
    pub(crate) delta: bool,
    pub(crate) pts: Option<u64>,
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
}

/// How much may wait for a consumer; zero means no limit, but for `depth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Frames.
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    /// Running time, ns.
    pub(crate) time: u64,
    /// ns since the frame was published.
    pub(crate) max_age: u64,
    /// Frames dropped as slow before the consumer is evicted.
    pub(crate) max_lag: u64,
}

/// How a consumer is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) consumer: String,
    pub(crate) pad: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TakerId {
    index: usize,
    serial: u64,
}

/// Ties a frame in flight to the consumer's life in which it was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ticket {
    run: u32,
    epoch: u32,
}

impl Ticket {
    fn next_run(self) -> Self {
        Self {
            run: self.run.wrapping_add(1),
            epoch: self.epoch,
        }
    }
}

/// What a consumer gets.
#[derive(Debug)]
pub(crate) enum Taken<F, E> {
    Event(E),
    Frame(TakenFrame<F>),
    /// Evicted: tell it that the stream is over for it.
    Evicted,
    /// Nothing now; the waker will be woken.
    Wait,
    /// Stopped or released.
    Closed,
}

#[derive(Debug)]
pub(crate) struct TakenFrame<F> {
    pub(crate) frame: F,
    /// Which frame of the stream it is, from zero.
    pub(crate) sequence: u64,
    /// Something was lost since the last frame.
    pub(crate) discont: bool,
    pub(crate) lost_before: u64,
    /// How long it waited, ns.
    pub(crate) waited: u64,
    pub(crate) ticket: Ticket,
}

/// What became of a frame in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    /// Dropped, but the consumer goes on.
    Lost(DropReason),
    /// Dropped, and so are the next ones until something readmits the consumer.
    Ended(DropReason),
}

/// What to answer upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    /// Nobody is there to take frames.
    NoConsumer,
    /// All consumers have ended.
    Eos,
    /// None lives, and at least one failed with this flow.
    Failed(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Published {
    pub(crate) answer: Answer,
    /// A consumer waits for a keyframe, and it is time to ask for one.
    pub(crate) request_keyframe: bool,
}

struct Slot<E> {
    serial: u64,
    taker: Taker<E>,
}

struct Core<F, E> {
    log: Log<F, E>,
    slots: Vec<Option<Slot<E>>>,
    serial: u64,
    desk: Desk,
    answer: Answer,
    /// Between the start and the stop of a flush.
    flushing: bool,
    rate: Rate,
    /// Drops of consumers that have left.
    released: Drops,
    /// Frames in flight whose consumer has left, with its run.
    left_in_flight: Vec<(TakerId, u32)>,
    key_requested: Option<u64>,
    keyframe_requests: u64,
    reporter: Option<Waker>,
}

/// The fan-out. See the [module](self).
pub(crate) struct Fanout<F, E> {
    core: Mutex<Core<F, E>>,
}

impl<F: Clone, E: Event> Core<F, E> {
    /// The consumer and what it works with.
    fn with<R>(
        &mut self,
        id: TakerId,
        now: u64,
        later: &mut Later<F, E>,
        work: impl FnOnce(&mut Taker<E>, &mut Cx<'_, F, E>) -> R,
    ) -> Option<R> {
        let slot = self.slots.get_mut(id.index)?.as_mut()?;
        let mut cx = Cx {
            log: &self.log,
            now,
            flushing: self.flushing,
            plain: (u64::MAX, None),
            desk: &mut self.desk,
            later,
        };
        (slot.serial == id.serial).then(|| work(&mut slot.taker, &mut cx))
    }

    fn each(
        &mut self,
        now: u64,
        later: &mut Later<F, E>,
        mut work: impl FnMut(&mut Taker<E>, &mut Cx<'_, F, E>),
    ) {
        let mut cx = Cx {
            log: &self.log,
            now,
            flushing: self.flushing,
            plain: (u64::MAX, None),
            desk: &mut self.desk,
            later,
        };
        for slot in self.slots.iter_mut().flatten() {
            work(&mut slot.taker, &mut cx);
        }
    }

    fn takers(&self) -> impl Iterator<Item = &Taker<E>> {
        self.slots.iter().flatten().map(|slot| &slot.taker)
    }

    /// Frees what nobody needs any more.
    fn trim(&mut self, later: &mut Later<F, E>) {
        let end = self.log.end();
        let frames = self.takers().map(Taker::needs_from).min().unwrap_or(end);
        self.log.release_before(frames, later);
        self.trim_events(later);
    }

    fn trim_events(&mut self, later: &mut Later<F, E>) {
        let end = self.log.event_end();
        let events = self.takers().map(Taker::needs_events_from).min();
        self.log.release_events_before(events.unwrap_or(end), later);
    }

    /// Works out what upstream hears from now on.
    fn settle(&mut self) {
        let mut answer = Answer::NoConsumer;
        for taker in self.takers() {
            match taker.mode {
                Mode::Serving => {
                    answer = Answer::Ok;
                    break;
                }
                Mode::Ended(DropReason::Error) => answer = Answer::Failed(taker.flow()),
                Mode::Ended(DropReason::Eos) if answer == Answer::NoConsumer => {
                    answer = Answer::Eos;
                }
                _ => {}
            }
        }
        let spared = |taker: &Taker<E>| {
            matches!(
                taker.mode,
                Mode::Ended(DropReason::Evicted | DropReason::Flushing)
            )
        };
        if answer == Answer::NoConsumer && self.takers().any(spared) {
            answer = Answer::Ok;
        }
        self.answer = answer;
    }

    fn append_event(&mut self, event: &E, now: u64, later: &mut Later<F, E>) {
        self.log.append_event(event.clone(), later);
        self.each(now, later, |taker, cx| taker.offer_event(cx, event));
        self.trim(later);
        self.settle();
    }

    /// The last frame of a consumer that has left came to its end.
    fn finish_left(&mut self, id: TakerId, ticket: Ticket, outcome: Outcome) {
        let left = self.left_in_flight.iter();
        let Some(index) = left.clone().position(|left| *left == (id, ticket.run)) else {
            return;
        };
        self.left_in_flight.swap_remove(index);
        if let Outcome::Lost(reason) | Outcome::Ended(reason) = outcome {
            self.released.add(reason, 1);
        }
    }

    fn may_request_keyframe(&mut self, now: u64) -> bool {
        let due = self
            .key_requested
            .is_none_or(|last| now.saturating_sub(last) >= KEY_REQUEST_INTERVAL);
        if due {
            self.key_requested = Some(now);
            self.keyframe_requests += 1;
        }
        due
    }

    /// Whoever reports is woken with the others if something is due.
    #[inline]
    fn wake_reporter(&mut self, later: &mut Later<F, E>) {
        if later.report {
            later.wake.extend(self.reporter.take());
        }
    }
}

impl<F: Clone, E: Event> Fanout<F, E> {
    pub(crate) fn new() -> Self {
        Self {
            core: Mutex::new(Core {
                log: Log::new(),
                slots: Vec::new(),
                serial: 0,
                desk: Desk::new(),
                answer: Answer::NoConsumer,
                flushing: false,
                rate: Rate::default(),
                released: Drops::default(),
                left_in_flight: Vec::new(),
                key_requested: None,
                keyframe_requests: 0,
                reporter: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core<F, E>> {
        // Nothing that can panic leaves the accounts half done.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` under the lock, and what it left for later after it.
    fn locked<R>(&self, work: impl FnOnce(&mut Core<F, E>, &mut Later<F, E>) -> R) -> R {
        let mut later = Later::new();
        let result = {
            let mut core = self.lock();
            let result = work(&mut core, &mut later);
            core.wake_reporter(&mut later);
            result
        };
        later.run();
        result
    }

    // ---- upstream's side -------------------------------------------------------------------

    /// Appends a frame and moves on the consumers that it overtakes.
    pub(crate) fn publish(&self, frame: F, info: FrameInfo, now: u64) -> Published {
        self.locked(|core, later| {
            core.rate.note(now, info.bytes);
            if core.log.append(frame, info, now, later) {
                let capacity = core.log.gop_capacity();
                core.desk
                    .outbox
                    .push_back(Notice::GopTruncated { capacity });
                later.report = true;
            }
            if core.flushing {
                core.log.forget_gop(later);
            }
            let mut needed = core.log.end();
            core.each(now, later, |taker, cx| {
                taker.offer(cx);
                needed = needed.min(taker.needs_from());
            });
            core.log.release_before(needed, later);
            if later.mode_changed {
                core.trim_events(later);
                core.settle();
            }
            let request_keyframe = later.want_key && core.may_request_keyframe(now);
            if request_keyframe {
                core.each(now, later, |taker, _| taker.note_keyframe_request(false));
            }
            Published {
                answer: core.answer,
                request_keyframe,
            }
        })
    }

    /// Appends a serialized event.
    pub(crate) fn publish_event(&self, event: E, now: u64) {
        self.locked(|core, later| core.append_event(&event, now, later));
    }

    /// Drops all that waits; frames are dropped until [`flush_stop`](Self::flush_stop).
    pub(crate) fn flush_start(&self, now: u64) {
        self.locked(|core, later| {
            core.flushing = true;
            core.each(now, later, Taker::flush);
            core.log.flush_sticky(later);
            core.trim(later);
        });
    }

    /// Frames flow again, after `event` for those that are served.
    pub(crate) fn flush_stop(&self, event: E, now: u64) {
        self.locked(|core, later| {
            core.flushing = false;
            core.append_event(&event, now, later);
        });
    }

    /// The consumer asks for a keyframe; true if that may go upstream now.
    pub(crate) fn may_request_keyframe(&self, id: TakerId, now: u64) -> bool {
        self.locked(|core, later| {
            let may = core.may_request_keyframe(now);
            if may {
                core.with(id, now, later, |taker, _| taker.note_keyframe_request(true));
            }
            may
        })
    }

    /// Forgets the frames kept for late joiners.
    pub(crate) fn forget_gop(&self) {
        self.locked(|core, later| {
            core.log.forget_gop(later);
            core.trim(later);
        });
    }

    /// A new life: an empty log, all counters at zero.
    pub(crate) fn reset(&self) {
        let old = self.locked(|core, later| {
            core.each(0, later, Taker::reset);
            core.flushing = false;
            core.left_in_flight.clear();
            core.rate = Rate::default();
            core.released = Drops::default();
            core.key_requested = None;
            core.keyframe_requests = 0;
            core.settle();
            core.log.reset()
        });
        drop(old);
    }

    // ---- the consumers' side ---------------------------------------------------------------

    /// A new consumer, which nothing counts for before it is activated.
    pub(crate) fn join(&self, label: Label, limits: Limits) -> TakerId {
        let mut core = self.lock();
        let (end, event_end) = (core.log.end(), core.log.event_end());
        core.serial += 1;
        let serial = core.serial;
        let slot = Slot {
            serial,
            taker: Taker::new(Arc::new(label), limits, end, event_end),
        };
        let free = core.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(core.slots.len());
        if index == core.slots.len() {
            core.slots.push(Some(slot));
        } else {
            core.slots[index] = Some(slot);
        }
        core.settle();
        TakerId { index, serial }
    }

    /// The consumer is served from now on; returns what to [`take`](Self::take) with.
    pub(crate) fn activate(&self, id: TakerId, now: u64) -> Option<u32> {
        self.locked(|core, later| {
            let (live, cached) = (core.log.start_live(), core.log.start_cached());
            let run = core.with(id, now, later, |taker, cx| {
                let start = if taker.mode == Mode::Idle {
                    cached
                } else {
                    live
                };
                taker.activate(cx, start)
            });
            core.trim(later);
            core.settle();
            run
        })
    }

    /// The consumer stops; what waits is dropped as flushing.
    pub(crate) fn deactivate(&self, id: TakerId, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, Taker::deactivate);
            core.trim(later);
            core.settle();
        });
    }

    /// The consumer leaves for good: its last drops and its summary are told.
    pub(crate) fn leave(&self, id: TakerId, now: u64) -> Option<Snapshot> {
        self.locked(|core, later| {
            core.with(id, now, later, Taker::deactivate);
            let snapshot = core.summarize(id, now);
            if let Some(slot) = core.slots.get_mut(id.index)
                && let Some(old) = slot.take_if(|slot| slot.serial == id.serial)
            {
                let ledger = old.taker.ledger(core.log.end());
                core.released.add_all(&ledger.dropped);
                if ledger.in_flight > 0 {
                    core.left_in_flight.push((id, old.taker.ticket().run));
                }
            }
            core.trim(later);
            core.settle();
            later.report = true;
            snapshot
        })
    }

    /// The next thing for the consumer; a `run` serves that activation only. `waker` is woken when there is something after a `Wait`.
    pub(crate) fn take(
        &self,
        id: TakerId,
        run: Option<u32>,
        now: u64,
        waker: &Waker,
    ) -> Taken<F, E> {
        self.locked(|core, later| {
            let base = core.log.base();
            let Some((next, held_base)) = core.with(id, now, later, |taker, cx| {
                let held_base = taker.needs_from() == base;
                (taker.next(cx, run), held_base)
            }) else {
                return Taken::Closed;
            };
            let taken = match next {
                Next::Closed => return Taken::Closed,
                Next::Evicted => Taken::Evicted,
                Next::Event(event) => {
                    core.trim_events(later);
                    Taken::Event(event)
                }
                Next::Nothing => {
                    core.with(id, now, later, |taker, cx| taker.wait(cx, waker));
                    Taken::Wait
                }
                Next::Frame(position) => core.hand_out(id, position, now, later),
            };
            if held_base {
                core.trim(later);
            }
            if later.mode_changed {
                core.settle();
            }
            taken
        })
    }

    /// The frame in flight came to its end; `flow` is the consumer's own word for how.
    pub(crate) fn finish(
        &self,
        id: TakerId,
        ticket: Ticket,
        outcome: Outcome,
        flow: i32,
        now: u64,
    ) {
        self.locked(|core, later| {
            let known = core.with(id, now, later, |taker, cx| {
                taker.finish(cx, ticket, outcome, flow);
            });
            if known.is_none() {
                core.finish_left(id, ticket, outcome);
            } else if outcome != Outcome::Delivered {
                core.trim(later);
                core.settle();
            }
        });
    }

    /// The consumer may have recovered: it is served again, if it is active.
    pub(crate) fn readmit(&self, id: TakerId, now: u64) {
        self.locked(|core, later| {
            let start = core.log.start_live();
            core.with(id, now, later, |taker, cx| taker.readmit(cx, start));
            core.settle();
        });
    }

    /// Takes effect at once.
    pub(crate) fn set_limits(&self, id: TakerId, limits: Limits, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, |taker, cx| {
                taker.set_limits(limits);
                taker.fit(cx);
            });
            core.trim(later);
            core.settle();
        });
    }

    pub(crate) fn set_label(&self, id: TakerId, label: Label, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, |taker, _| taker.label = Arc::new(label));
        });
    }

    pub(crate) fn set_gop_capacity(&self, capacity: u64) {
        self.locked(|core, later| {
            core.log.set_gop_capacity(capacity, later);
            core.trim(later);
        });
    }
}

impl<F: Clone, E: Event> Core<F, E> {
    /// The frame for its taker: the only reference if nobody else needs it.
    fn hand_out(
        &mut self,
        id: TakerId,
        position: u64,
        now: u64,
        later: &mut Later<F, E>,
    ) -> Taken<F, E> {
        let Some(entry) = self.log.entry(position) else {
            return Taken::Closed;
        };
        let arrived = entry.arrived;
        let needed = self.takers().map(Taker::needs_from).min();
        let frame = if position == self.log.base()
            && let Some(frame) = self.log.take_oldest(needed.unwrap_or(u64::MAX))
        {
            frame
        } else if let Some(entry) = self.log.entry(position) {
            entry.frame.clone()
        } else {
            return Taken::Closed;
        };
        let taken = self.with(id, now, later, |taker, _| {
            let (discont, lost_before) = taker.take_loss();
            TakenFrame {
                frame,
                sequence: position,
                discont,
                lost_before,
                waited: now.saturating_sub(taker.since(arrived)),
                ticket: taker.ticket(),
            }
        });
        taken.map_or(Taken::Closed, Taken::Frame)
    }
}
