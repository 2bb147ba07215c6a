// SPDX-License-Identifier: MPL-2.0
//! The consumers' side of the fan-out.

use std::sync::Arc;
use std::task::Waker;

use super::later::Later;
use super::taker::{Mode, Next, Taker};
use super::{
    ConsumerId, Core, Done, Event, Fanout, Label, Limits, Link, Notice, Outcome, Slot, Snapshot,
    Stamp, Stray, Taken, TakenFrame,
};

impl<F: Clone, E: Event> Fanout<F, E> {
    /// A new consumer, which nothing counts for before it is activated.
    pub(crate) fn join(&self, label: Label, limits: Limits) -> ConsumerId {
        let mut core = self.lock();
        let (end, event_end) = (core.log.end(), core.log.event_end());
        let joined = core.stamp.advance();
        let slot = Slot {
            joined,
            taker: Taker::new(Arc::new(label), limits, joined, end, event_end),
        };
        let free = core.slots.iter().position(Option::is_none);
        let index = free.unwrap_or(core.slots.len());
        if index == core.slots.len() {
            core.slots.push(Some(slot));
        } else {
            core.slots[index] = Some(slot);
        }
        core.settle();
        ConsumerId {
            slot: index,
            joined,
        }
    }

    /// The consumer is served from now on; returns what to [`take`](Self::take) with.
    ///
    /// One that is not linked is served when it is [readmitted](Self::readmit).
    pub(crate) fn activate(&self, id: ConsumerId, link: Link, now: u64) -> Stamp {
        self.locked(|core, later| {
            let (live, cached) = (core.log.start_live(), core.log.start_cached());
            core.stray(id);
            core.with(id, now, later, |taker, cx| {
                let start = if taker.mode == Mode::Idle && link == Link::Made {
                    cached
                } else {
                    live
                };
                taker.activate(cx, start);
                if let Link::Missing(flow) = link {
                    taker.begin_unlinked(cx, flow);
                }
            });
            core.trim(later);
            core.settle();
            // Of a consumer that was released, one that nothing is served with.
            core.stamp
        })
    }

    /// The consumer stops; what waits is dropped as flushing.
    pub(crate) fn deactivate(&self, id: ConsumerId, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, Taker::deactivate);
            core.trim(later);
            core.settle();
        });
    }

    /// The consumer leaves for good: its last drops and its summary are told. `keep` gets its last
    /// accounts, under the lock, so that whoever reads finds them in one place or the other.
    pub(crate) fn leave(&self, id: ConsumerId, now: u64, keep: impl FnOnce(Snapshot)) {
        self.locked(|core, later| {
            core.with(id, now, later, Taker::deactivate);
            core.stray(id);
            core.with(id, now, later, Taker::abandon_flight);
            if let Some(snapshot) = core.summarize(id, now) {
                if let Some(Notice::Summary(told)) = core.desk.outbox.back_mut() {
                    told.last = true;
                }
                keep(snapshot);
            }
            if let Some(slot) = core.slots.get_mut(id.slot)
                && let Some(old) = slot.take_if(|slot| slot.joined == id.joined)
            {
                let ledger = old.taker.ledger(core.log.end());
                core.released.add_all(&ledger.dropped);
            }
            core.trim(later);
            core.settle();
            later.report = true;
        });
    }

    /// The next thing for the consumer, in the session that it was activated with, or its
    /// [`joined`](ConsumerId::joined) before that. After a `Wait`, the waker, which is taken if it
    /// was not known, is woken when there is something; without one, whoever waits goes on waiting.
    pub(crate) fn take(
        &self,
        id: ConsumerId,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, later| core.take(id, session, now, waker, later))
    }

    /// The frame in flight came to its end.
    pub(crate) fn finish(&self, id: ConsumerId, done: Done, now: u64) {
        self.locked(|core, later| core.finish(id, done, now, later));
    }

    /// [`finish`](Self::finish), then [`take`](Self::take), at once.
    pub(crate) fn finish_and_take(
        &self,
        id: ConsumerId,
        done: Done,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
    ) -> Taken<F, E> {
        self.locked(|core, later| {
            core.finish(id, done, now, later);
            core.take(id, session, now, waker, later)
        })
    }

    /// The stream will not start: whoever waits for that is told once that it is closed.
    pub(crate) fn dismiss(&self) {
        self.locked(|core, later| core.each(0, later, Taker::dismiss));
    }

    /// The consumer has not been active since the last [`reset`](Self::reset).
    pub(crate) fn is_idle(&self, id: ConsumerId) -> bool {
        self.locked(|core, later| {
            let mode = core.with(id, 0, later, |taker, _| taker.mode);
            mode == Some(Mode::Idle)
        })
    }

    /// False if the event that was taken with `stamp` is void: the consumer was stopped since, or
    /// begins anew with the frames that are kept for late joiners.
    pub(crate) fn is_current(&self, id: ConsumerId, stamp: Stamp) -> bool {
        self.locked(|core, later| {
            let is_current = core.with(id, 0, later, |taker, _| taker.is_current(stamp));
            is_current == Some(true)
        })
    }

    /// The consumer may have recovered: it is served again, if it is active.
    ///
    /// With `repeats`, if nothing waits for it, the last event does once more: sticky events come
    /// with the next one only, which may be long in coming.
    pub(crate) fn readmit(&self, id: ConsumerId, repeats: bool, now: u64) {
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
    pub(crate) fn set_limits(&self, id: ConsumerId, limits: impl FnOnce() -> Limits, now: u64) {
        self.locked(|core, later| {
            core.with(id, now, later, |taker, cx| {
                taker.set_limits(limits());
                taker.fit(cx);
            });
            core.trim(later);
            core.settle();
        });
    }

    pub(crate) fn set_label(&self, id: ConsumerId, label: impl FnOnce() -> Label, now: u64) {
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
        id: ConsumerId,
        session: Stamp,
        position: u64,
        now: u64,
        later: &mut Later<F, E>,
    ) -> Taken<F, E> {
        let Some(entry) = self.log.entry(position) else {
            return Taken::Closed(session);
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
            return Taken::Closed(session);
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
                stamp: taker.stamp(),
            }
        });
        taken.map_or(Taken::Closed(session), Taken::Frame)
    }

    /// A frame that was nobody's any more came to its end; false if it was somebody's.
    fn finish_stray(&mut self, id: ConsumerId, stamp: Stamp) -> bool {
        let is_it = |stray: &Stray| (stray.id, stray.stamp) == (id, stamp);
        let index = self.strays.iter().position(is_it);
        index.map(|index| self.strays.swap_remove(index)).is_some()
    }
}

impl<F: Clone, E: Event> Core<F, E> {
    fn finish(&mut self, id: ConsumerId, done: Done, now: u64, later: &mut Later<F, E>) {
        if self.finish_stray(id, done.stamp) {
            return;
        }
        self.with(id, now, later, |taker, cx| {
            taker.finish(cx, done.stamp, done.outcome, done.flow);
        });
        if done.outcome != Outcome::Delivered {
            self.trim(later);
            self.settle();
        }
    }

    fn take(
        &mut self,
        id: ConsumerId,
        session: Stamp,
        now: u64,
        waker: &mut Option<Waker>,
        later: &mut Later<F, E>,
    ) -> Taken<F, E> {
        let base = self.log.base();
        let Some((next, held_base)) = self.with(id, now, later, |taker, cx| {
            let held_base = taker.needs_from() == base;
            (taker.next(cx, session), held_base)
        }) else {
            return Taken::Closed(session);
        };
        let taken = match next {
            Next::Closed(stamp) => return Taken::Closed(stamp),
            Next::Superseded(stamp) => return Taken::Superseded(stamp),
            Next::Evicted => Taken::Evicted,
            Next::Resumed => Taken::Resumed,
            Next::Event(event) => {
                self.trim_events(later);
                let stamp = self.with(id, now, later, |taker, _| taker.stamp());
                Taken::Event(event, stamp.unwrap_or_default())
            }
            Next::Nothing => {
                self.with(id, now, later, |taker, cx| taker.wait(cx, waker));
                Taken::Wait
            }
            Next::Frame(position) => self.hand_out(id, session, position, now, later),
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
