// SPDX-License-Identifier: MPL-2.0
//! The consumers' side of the fan-out.

use std::sync::Arc;
use std::task::Waker;

use super::later::Later;
use super::taker::{Mode, Next, Taker};
use super::{
    Core, Done, Event, Fanout, Label, Limits, Notice, Outcome, Slot, Snapshot, Stray, Taken,
    TakenFrame, TakerId, Ticket,
};

impl<F: Clone, E: Event> Fanout<F, E> {
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
    ///
    /// One that is not linked is served when it is [readmitted](Self::readmit); `unlinked` is the
    /// flow that a branch would answer until then.
    pub(crate) fn activate(&self, id: TakerId, unlinked: Option<i32>, now: u64) -> Option<u32> {
        self.locked(|core, later| {
            let (live, cached) = (core.log.start_live(), core.log.start_cached());
            core.stray(id, false);
            let run = core.with(id, now, later, |taker, cx| {
                let start = if taker.mode == Mode::Idle && unlinked.is_none() {
                    cached
                } else {
                    live
                };
                let run = taker.activate(cx, start);
                if let Some(flow) = unlinked {
                    taker.begin_unlinked(cx, flow);
                }
                run
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

    /// The consumer leaves for good: its last drops and its summary are told. `keep` gets its last
    /// accounts, under the lock, so that whoever reads finds them in one place or the other.
    pub(crate) fn leave(&self, id: TakerId, now: u64, keep: impl FnOnce(Snapshot)) {
        self.locked(|core, later| {
            core.with(id, now, later, Taker::deactivate);
            if let Some(snapshot) = core.summarize(id, now) {
                if let Some(Notice::Summary(told)) = core.desk.outbox.back_mut() {
                    told.last = true;
                }
                keep(snapshot);
            }
            core.stray(id, true);
            if let Some(slot) = core.slots.get_mut(id.index)
                && let Some(old) = slot.take_if(|slot| slot.serial == id.serial)
            {
                let ledger = old.taker.ledger(core.log.end());
                core.released.add_all(&ledger.dropped);
            }
            core.trim(later);
            core.settle();
            later.report = true;
        });
    }

    /// The next thing for the consumer; a `run` serves that activation only. After a `Wait`, the
    /// waker, which is taken if it was not known, is woken when there is something; without one,
    /// whoever waits goes on waiting.
    pub(crate) fn take(
        &self,
        id: TakerId,
        run: Option<u32>,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, later| core.take(id, run, now, waker, later))
    }

    /// The frame in flight came to its end.
    pub(crate) fn finish(&self, id: TakerId, done: Done, now: u64) {
        self.locked(|core, later| core.finish(id, done, now, later));
    }

    /// [`finish`](Self::finish), then [`take`](Self::take), at once.
    pub(crate) fn finish_and_take(
        &self,
        id: TakerId,
        done: Done,
        run: Option<u32>,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, later| {
            core.finish(id, done, now, later);
            core.take(id, run, now, waker, later)
        })
    }

    /// The stream will not start: whoever waits for that is told once that it is closed.
    pub(crate) fn dismiss(&self) {
        self.locked(|core, later| core.each(0, later, Taker::dismiss));
    }

    /// The consumer has not been active since the last [`reset`](Self::reset).
    pub(crate) fn is_idle(&self, id: TakerId) -> bool {
        self.locked(|core, later| {
            let mode = core.with(id, 0, later, |taker, _| taker.mode);
            mode == Some(Mode::Idle)
        })
    }

    /// True if the consumer has not begun anew since it took an event with that number.
    pub(crate) fn is_current(&self, id: TakerId, beginning: u32) -> bool {
        self.locked(|core, later| {
            let now = core.with(id, 0, later, |taker, _| taker.beginnings());
            now == Some(beginning)
        })
    }

    /// The consumer may have recovered: it is served again, if it is active.
    ///
    /// With `repeats`, if nothing waits for it, the last event does once more: sticky events come
    /// with the next one only, which may be long in coming.
    pub(crate) fn readmit(&self, id: TakerId, repeats: bool, now: u64) {
        self.locked(|core, later| {
            let start = core.log.start_live();
            core.with(id, now, later, |taker, cx| {
                taker.readmit(cx, start, repeats)
            });
            core.settle();
        });
    }

    /// Takes effect at once. The limits are read under the lock, as all settings: of two that are
    /// made at once the last one stays.
    pub(crate) fn set_limits(&self, id: TakerId, limits: impl FnOnce() -> Limits, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, |taker, cx| {
                taker.set_limits(limits());
                taker.fit(cx);
            });
            core.trim(later);
            core.settle();
        });
    }

    pub(crate) fn set_label(&self, id: TakerId, label: impl FnOnce() -> Label, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, |taker, cx| taker.rename(cx, label()));
        });
    }

    pub(crate) fn set_gop_capacity(&self, capacity: impl FnOnce() -> u64) {
        self.locked(|core, later| {
            if core.log.set_gop_capacity(capacity(), later) {
                core.tell_truncation(later);
            }
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
                at: now,
                ticket: taker.ticket(),
            }
        });
        taken.map_or(Taken::Closed, Taken::Frame)
    }

    /// A frame that was nobody's any more came to its end; false if it was somebody's.
    fn finish_stray(&mut self, id: TakerId, ticket: Ticket, outcome: Outcome) -> bool {
        let is_it = |stray: &Stray| (stray.id, stray.run) == (id, ticket.run);
        let Some(index) = self.strays.iter().position(is_it) else {
            return false;
        };
        let stray = self.strays.swap_remove(index);
        if let Outcome::Lost(reason) | Outcome::Ended(reason) = outcome
            && stray.uncounted
        {
            self.released.add(reason, 1);
        }
        true
    }
}

impl<F: Clone, E: Event> Core<F, E> {
    fn finish(&mut self, id: TakerId, done: Done, now: u64, later: &mut Later<F, E>) {
        if self.finish_stray(id, done.ticket, done.outcome) {
            return;
        }
        self.with(id, now, later, |taker, cx| {
            taker.finish(cx, done.ticket, done.outcome, done.flow);
        });
        if done.outcome != Outcome::Delivered {
            self.trim(later);
            self.settle();
        }
    }

    fn take(
        &mut self,
        id: TakerId,
        run: Option<u32>,
        now: u64,
        waker: &mut Option<Waker>,
        later: &mut Later<F, E>,
    ) -> Taken<F, E> {
        let base = self.log.base();
        let Some((next, held_base)) = self.with(id, now, later, |taker, cx| {
            let held_base = taker.needs_from() == base;
            (taker.next(cx, run), held_base)
        }) else {
            return Taken::Closed;
        };
        let taken = match next {
            Next::Closed => return Taken::Closed,
            Next::Evicted => Taken::Evicted,
            Next::Begun => Taken::Begun,
            Next::Event(event) => {
                self.trim_events(later);
                let beginning = self.with(id, now, later, |taker, _| taker.beginnings());
                Taken::Event(event, beginning.unwrap_or_default())
            }
            Next::Nothing => {
                self.with(id, now, later, |taker, cx| taker.wait(cx, waker));
                Taken::Wait
            }
            Next::Frame(position) => self.hand_out(id, position, now, later),
        };
        if held_base {
            self.trim(later);
        }
        if later.mode_changed {
            self.settle();
        }
        taken
    }
}
