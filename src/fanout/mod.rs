// SPDX-License-Identifier: MPL-2.0
//! The core: one log of frames and events, and a window on it for each consumer.
//!
//! It knows no GStreamer type. Publishing is one append and one look at each consumer; a drop is a
//! cursor moved on; a frame lives as long as some window (or the cache for late joiners) holds it.
//! One lock makes all accounts part of one snapshot. Nothing is freed, woken or called under it:
//! that is collected in [`Later`] and done afterwards. Times are handed in, monotonic ns.

mod consumers;
mod events;
mod later;
mod log;
mod report;
mod snapshot;
mod taker;
#[cfg(test)]
mod tests;
mod types;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use later::Later;
use log::Log;
use report::Desk;
pub(crate) use report::{DropNotice, Notice, ReportConfig};
pub(crate) use snapshot::{Rate, Snapshot, Totals};
use taker::{Cx, Mode, Taker};
pub(crate) use types::{
    Answer, ConsumerId, Done, Event, FrameInfo, Label, Limits, Link, Outcome, Published, Stamp,
    Taken, TakenFrame,
};

use crate::facts::{DropReason, Drops};

/// Force-key-unit requests go upstream at most this often, ns.
const KEY_REQUEST_INTERVAL: u64 = 1_000_000_000;

struct Slot<E> {
    joined: Stamp,
    taker: Taker<E>,
}

/// A frame in flight that is of no consumer's life any more.
struct Stray {
    id: ConsumerId,
    stamp: Stamp,
}

struct Core<F, E> {
    log: Log<F, E>,
    slots: Vec<Option<Slot<E>>>,
    /// The newest stamp.
    stamp: Stamp,
    desk: Desk,
    answer: Answer,
    /// Between the start and the stop of a flush.
    flushing: bool,
    rate: Rate,
    /// Drops of consumers that have left.
    released: Drops,
    /// Frames whose thread has not come back since its consumer left or began a new life.
    strays: Vec<Stray>,
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
        id: ConsumerId,
        now: u64,
        later: &mut Later<F, E>,
        work: impl FnOnce(&mut Taker<E>, &mut Cx<'_, F, E>) -> R,
    ) -> Option<R> {
        let slot = self.slots.get_mut(id.slot)?.as_mut()?;
        let mut cx = Cx {
            log: &self.log,
            stamp: &mut self.stamp,
            now,
            flushing: self.flushing,
            plain: (u64::MAX, None),
            desk: &mut self.desk,
            later,
        };
        (slot.joined == id.joined).then(|| work(&mut slot.taker, &mut cx))
    }

    fn each(
        &mut self,
        now: u64,
        later: &mut Later<F, E>,
        mut work: impl FnMut(&mut Taker<E>, &mut Cx<'_, F, E>),
    ) {
        let mut cx = Cx {
            log: &self.log,
            stamp: &mut self.stamp,
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

    /// The frame that the consumer has in flight, if it has one, is not its own any more.
    fn stray(&mut self, id: ConsumerId) {
        if let Some(Some(slot)) = self.slots.get(id.slot)
            && slot.joined == id.joined
            && let Some(stamp) = slot.taker.flight_stamp()
        {
            self.strays.push(Stray { id, stamp });
        }
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

    /// What is kept for late joiners was given up.
    fn tell_truncation(&mut self, later: &mut Later<F, E>) {
        let capacity = self.log.gop_capacity();
        let notice = Notice::GopTruncated { capacity };
        self.desk.outbox.push_back(notice);
        later.report = true;
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
                stamp: Stamp::default(),
                desk: Desk::new(),
                answer: Answer::NoConsumer,
                flushing: false,
                rate: Rate::default(),
                released: Drops::default(),
                strays: Vec::new(),
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
                core.tell_truncation(later);
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

    /// Drops all that waits; frames are dropped, and nothing is taken, until
    /// [`flush_stop`](Self::flush_stop).
    pub(crate) fn flush_start(&self, now: u64) {
        self.locked(|core, later| {
            core.flushing = true;
            core.each(now, later, Taker::flush);
            core.log.flush_sticky(later);
            core.trim(later);
        });
    }

    /// Frames and events flow again. Whoever had ended is served again, but for the evicted.
    pub(crate) fn flush_stop(&self, now: u64) {
        self.locked(|core, later| {
            core.flushing = false;
            core.each(now, later, Taker::resume);
            core.settle();
        });
    }

    /// The consumer asks for a keyframe; true if that may go upstream now.
    pub(crate) fn may_request_keyframe(&self, id: ConsumerId, now: u64) -> bool {
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
            for slot in 0..core.slots.len() {
                if let Some(joined) = core.slots[slot].as_ref().map(|slot| slot.joined) {
                    core.stray(ConsumerId { slot, joined });
                }
            }
            core.each(0, later, Taker::reset);
            core.flushing = false;
            core.rate = Rate::default();
            core.released = Drops::default();
            core.key_requested = None;
            core.keyframe_requests = 0;
            core.settle();
            core.log.reset()
        });
        drop(old);
    }
}
