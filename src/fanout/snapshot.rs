// SPDX-License-Identifier: MPL-2.0
//! What can be read of the fan-out, and what is told of it.

use std::sync::Arc;
use std::task::Waker;

use super::later::Later;
use super::log::Log;
use super::report::Desk;
use super::taker::Taker;
use super::{ConsumerId, Core, Event, Fanout, Label, Notice, ReportConfig, Slot};
use crate::facts::{DropReason, Ledger, State};

/// One consumer at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) label: Arc<Label>,
    pub(crate) id: ConsumerId,
    pub(crate) ledger: Ledger,
    /// Of the frames that wait.
    pub(crate) bytes: u64,
    /// Running time of the frames that wait, ns.
    pub(crate) time: u64,
    pub(crate) state: State,
    /// ns
    pub(crate) in_flight_for: u64,
    /// What the consumer last answered.
    pub(crate) flow: i32,
    pub(crate) events_dropped: u64,
    /// Asked of upstream for this consumer.
    pub(crate) requested_keyframes: u64,
    /// It has left since.
    pub(crate) last: bool,
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
}

/// Frames and bytes over the last second, in ten slices.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    slices: [(u64, u64); Self::SLICES as usize],
    slice: u64,
    last: Option<u64>,
    bytes: u64,
}

impl Rate {
    const SLICES: u64 = 10;
    const SLICE: u64 = 100_000_000;

    #[inline]
    pub(crate) fn note(&mut self, now: u64, bytes: u64) {
        if now >= (self.slice + 1) * Self::SLICE {
            self.advance(now);
        }
        let slice = &mut self.slices[(self.slice % Self::SLICES) as usize];
        slice.0 += 1;
        slice.1 += bytes;
        self.bytes += bytes;
        self.last = Some(now);
    }

    fn advance(&mut self, now: u64) {
        let slice = now / Self::SLICE;
        for passed in (self.slice + 1..=slice).take(Self::SLICES as usize) {
            self.slices[(passed % Self::SLICES) as usize] = (0, 0);
        }
        if slice - self.slice >= Self::SLICES {
            self.slices = Default::default();
        }
        self.slice = slice;
    }

    /// Frames and bytes a second over the last second, of which the running slice is a part.
    pub(crate) fn per_second(&mut self, now: u64) -> (f64, u64) {
        self.advance(now.max(self.slice * Self::SLICE));
        let (frames, bytes) = self.slices.iter().fold((0, 0), |(frames, bytes), slice| {
            (frames + slice.0, bytes + slice.1)
        });
        let span = Self::SLICE * (Self::SLICES - 1) + now % Self::SLICE;
        let seconds = span as f64 / 1e9;
        (frames as f64 / seconds, (bytes as f64 / seconds) as u64)
    }
}

impl<F: Clone, E: Event> Core<F, E> {
    fn snapshot_of(&self, id: ConsumerId, taker: &Taker<E>, now: u64) -> Snapshot {
        taker.snapshot(id, &self.log, now, self.desk.config.stall_timeout)
    }

    fn ids(&self) -> impl Iterator<Item = (ConsumerId, &Taker<E>)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let consumer = slot.as_ref()?;
            let joined = consumer.joined;
            Some((
                ConsumerId {
                    slot: index,
                    joined,
                },
                &consumer.taker,
            ))
        })
    }

    fn totals(&mut self, now: u64) -> Totals {
        let end = self.log.end();
        let living = self.takers().map(|taker| taker.ledger(end).dropped.total());
        let dropped = self.released.total() + living.sum::<u64>();
        let (frame_rate, bytes_per_second) = self.rate.per_second(now);
        Totals {
            published: end,
            bytes: self.rate.bytes,
            dropped,
            keyframe_requests: self.keyframe_requests,
            frame_rate,
            bitrate: bytes_per_second * 8,
            last_frame_age: self.rate.last.map(|last| now.saturating_sub(last)),
        }
    }

    /// Writes down what is due.
    fn collect(&mut self, now: u64) {
        let end = self.log.end();
        let stall_timeout = self.desk.config.stall_timeout;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(Slot { joined, taker }) = slot else {
                continue;
            };
            let ledger = taker.ledger(end);
            for reason in DropReason::ALL {
                self.desk
                    .tell_drops(&taker.label, &mut taker.told, &ledger, reason, now, false);
            }
            let state = taker.state(now, stall_timeout);
            let previous = std::mem::replace(&mut taker.told.state, state);
            if state != previous {
                self.desk.outbox.push_back(Notice::State {
                    label: taker.label.clone(),
                    state,
                    previous,
                    flow: taker.flow(),
                    in_flight_for: taker.flight_of(now, state),
                });
            }
            if taker.events_dropped() > 0
                && !std::mem::replace(&mut taker.told.events_dropped, true)
            {
                let label = taker.label.clone();
                self.desk.outbox.push_back(Notice::EventsDropped { label });
            }
            if std::mem::take(&mut taker.told.summary_due) {
                let joined = *joined;
                summarize(
                    &mut self.desk,
                    &self.log,
                    ConsumerId {
                        slot: index,
                        joined,
                    },
                    taker,
                    now,
                );
            }
        }
    }

    /// Writes down the consumer's drops that were not told yet, and its accounts.
    pub(super) fn summarize(&mut self, id: ConsumerId, now: u64) -> Option<Snapshot> {
        self.collect(now);
        let slot = self.slots.get_mut(id.slot)?.as_mut()?;
        (slot.joined == id.joined)
            .then(|| summarize(&mut self.desk, &self.log, id, &mut slot.taker, now))
    }
}

fn summarize<F, E: Event>(
    desk: &mut Desk,
    log: &Log<F, E>,
    id: ConsumerId,
    taker: &mut Taker<E>,
    now: u64,
) -> Snapshot {
    let ledger = taker.ledger(log.end());
    for reason in DropReason::ALL {
        desk.tell_drops(&taker.label, &mut taker.told, &ledger, reason, now, true);
    }
    let snapshot = taker.snapshot(id, log, now, desk.config.stall_timeout);
    let notice = Notice::Summary(Box::new(snapshot.clone()));
    desk.outbox.push_back(notice);
    snapshot
}

impl<F: Clone, E: Event> Fanout<F, E> {
    /// All accounts at one moment.
    pub(crate) fn snapshot(&self, now: u64) -> (Totals, Vec<Snapshot>) {
        let mut core = self.lock();
        let totals = core.totals(now);
        let snapshots = core
            .ids()
            .map(|(id, taker)| core.snapshot_of(id, taker, now))
            .collect();
        (totals, snapshots)
    }

    pub(crate) fn snapshot_of(&self, id: ConsumerId, now: u64) -> Option<Snapshot> {
        let core = self.lock();
        let slot = core.slots.get(id.slot)?.as_ref()?;
        (slot.joined == id.joined).then(|| core.snapshot_of(id, &slot.taker, now))
    }

    pub(crate) fn totals(&self, now: u64) -> Totals {
        self.lock().totals(now)
    }

    /// True when no consumer, nor one that has left, nor the cache, holds a frame.
    pub(crate) fn is_drained(&self) -> bool {
        let core = self.lock();
        let end = core.log.end();
        core.log.base() == end && !core.takers().any(Taker::in_flight) && core.strays.is_empty()
    }

    /// Frames that are out and of no consumer's life any more.
    pub(crate) fn strays(&self) -> u32 {
        self.lock().strays.len().try_into().unwrap_or(u32::MAX)
    }

    pub(crate) fn set_report(&self, config: impl FnOnce() -> ReportConfig) {
        self.locked(|core, later| {
            let config = config();
            let old = std::mem::replace(&mut core.desk.config, config);
            if old.interval != config.interval {
                core.each(0, later, |taker, _| {
                    taker.told.change_interval(old.interval, config.interval);
                });
            }
            later.report = true;
        });
    }

    /// The consumer's accounts, after its drops, are the next to be told.
    pub(crate) fn summarize(&self, id: ConsumerId, now: u64) {
        self.locked(|core, later| {
            core.summarize(id, now);
            later.report = true;
        });
    }

    /// Tells, with no lock held and in order, what is due now; nothing if somebody else does.
    ///
    /// True if it was at it. What comes up meanwhile is left to whoever reports: a handler that
    /// causes news with each notice must not keep the caller forever.
    pub(crate) fn tell(&self, clock: impl Fn() -> u64, mut post: impl FnMut(Notice)) -> bool {
        let now = clock();
        let due = self.locked(|core, _| {
            if core.desk.telling.is_some() {
                return None;
            }
            core.desk.telling = Some(std::thread::current().id());
            core.collect(now);
            Some(core.desk.outbox.len())
        });
        let Some(due) = due else { return false };
        let telling = Telling(self);
        for _ in 0..due {
            let notice = self.lock().desk.outbox.pop_front();
            if let Some(notice) = notice {
                post(notice);
            }
        }
        drop(telling);
        true
    }

    /// True when all that was due is told.
    pub(crate) fn is_told(&self) -> bool {
        let core = self.lock();
        let due = core.takers().any(|taker| taker.told.summary_due);
        core.desk.outbox.is_empty() && core.desk.telling.is_none() && !due
    }

    /// True in a handler of what is being told: what else is due has to wait for its return.
    pub(crate) fn tells_here(&self) -> bool {
        self.lock().desk.telling == Some(std::thread::current().id())
    }

    /// When to [`tell`](Self::tell) next, ns from now; `waker` is woken if something comes up.
    pub(crate) fn next_report(&self, now: u64, waker: &Waker) -> Option<u64> {
        let mut old = Some(waker.clone());
        let mut core = self.lock();
        std::mem::swap(&mut core.reporter, &mut old);
        let due = core.next_report(now);
        drop(core);
        drop(old);
        due
    }
}

impl<F: Clone, E: Event> Core<F, E> {
    /// Whoever tells is done; one who was kept from it meanwhile looks again.
    fn stop_telling(&mut self, later: &mut Later<F, E>) {
        self.desk.telling = None;
        later.report |= std::mem::take(&mut self.desk.kept_waiting);
        later.report |= !self.desk.outbox.is_empty();
    }

    fn next_report(&mut self, now: u64) -> Option<u64> {
        if self.desk.telling.is_some() {
            // Whoever tells says when it is done.
            self.desk.kept_waiting = true;
            return None;
        }
        let end = self.log.end();
        let stall_timeout = self.desk.config.stall_timeout;
        let news = |taker: &Taker<E>| {
            taker.state(now, stall_timeout) != taker.told.state
                || taker.events_dropped() > 0 && !taker.told.events_dropped
                || taker.told.summary_due
        };
        if !self.desk.outbox.is_empty() || self.takers().any(news) {
            return Some(0);
        }
        let idle = (stall_timeout != 0).then(|| now.saturating_add(stall_timeout));
        let due = self
            .takers()
            .flat_map(|taker| {
                let stall = taker
                    .in_flight_since()
                    .filter(|_| stall_timeout != 0 && taker.told.state == State::Ok)
                    .map(|since| since.saturating_add(stall_timeout).saturating_add(1));
                [self.desk.next_due(&taker.told, &taker.ledger(end)), stall]
            })
            .flatten()
            .chain(idle)
            .min();
        due.map(|due| due.saturating_sub(now))
    }
}

/// Lets the next one tell, also if telling panicked.
struct Telling<'a, F: Clone, E: Event>(&'a Fanout<F, E>);

impl<F: Clone, E: Event> Drop for Telling<'_, F, E> {
    fn drop(&mut self) {
        self.0.locked(Core::stop_telling);
    }
}
