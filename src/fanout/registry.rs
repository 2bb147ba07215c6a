// SPDX-License-Identifier: MPL-2.0
//! Who is there: consumers by their key, and frames in flight that are of no consumer any more.

use std::sync::Arc;

use super::consumer::Consumer;
use super::key::{ConsumerId, Stamp};
use super::types::Event;
use crate::sync::atomic::{AtomicU64, Ordering};

struct Slot<E, L> {
    joined: Stamp,
    consumer: Consumer<E, L>,
}

/// A frame in flight whose consumer left, was activated again or reset while a thread had it. It
/// is counted already. It is kept because its buffer is still out, until the thread comes back.
struct Orphan {
    id: ConsumerId,
    stamp: Stamp,
    /// Of the frame.
    number: u64,
    /// Where it will be said that it landed; `None` if it has. A frame that is taken in the next session uses the same place.
    landing: Option<Arc<AtomicU64>>,
}

impl Orphan {
    fn is_in_hands(&self) -> bool {
        let place = self.landing.as_ref();
        place.is_some_and(|landed| landed.load(Ordering::Acquire) != self.number)
    }
}

pub(super) struct Registry<E, L> {
    slots: Vec<Option<Slot<E, L>>>,
    orphans: Vec<Orphan>,
}

impl<E: Event, L> Registry<E, L> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            orphans: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, joined: Stamp, consumer: Consumer<E, L>) -> ConsumerId {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        let new = Some(Slot { joined, consumer });
        match free {
            Some(free) => self.slots[free] = new,
            None => self.slots.push(new),
        }
        ConsumerId { slot, joined }
    }

    pub(super) fn remove(&mut self, id: ConsumerId) -> Option<Consumer<E, L>> {
        let slot = self.slots.get_mut(id.slot)?;
        let old = slot.take_if(|slot| slot.joined == id.joined)?;
        Some(old.consumer)
    }

    pub(super) fn get(&self, id: ConsumerId) -> Option<&Consumer<E, L>> {
        let slot = self.slots.get(id.slot)?.as_ref()?;
        (slot.joined == id.joined).then_some(&slot.consumer)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer<E, L>> {
        let slot = self.slots.get_mut(id.slot)?.as_mut()?;
        (slot.joined == id.joined).then_some(&mut slot.consumer)
    }

    #[inline]
    pub(super) fn consumers(&self) -> impl Iterator<Item = &Consumer<E, L>> {
        self.slots.iter().flatten().map(|slot| &slot.consumer)
    }

    #[inline]
    pub(super) fn consumers_mut(&mut self) -> impl Iterator<Item = &mut Consumer<E, L>> {
        self.slots
            .iter_mut()
            .flatten()
            .map(|slot| &mut slot.consumer)
    }

    pub(super) fn with_ids(&mut self) -> impl Iterator<Item = (ConsumerId, &mut Consumer<E, L>)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(slot, entry)| {
                let entry = entry.as_mut()?;
                let joined = entry.joined;
                Some((ConsumerId { slot, joined }, &mut entry.consumer))
            })
    }

    /// The first frame that any consumer needs.
    #[inline]
    pub(super) fn needed(&self) -> Option<u64> {
        self.consumers().map(Consumer::needs_from).min()
    }

    /// The first event that any consumer needs.
    pub(super) fn needed_events(&self) -> Option<u64> {
        self.consumers().map(Consumer::needs_events_from).min()
    }

    // ---- orphans ---------------------------------------------------------------------------

    /// The frame that the consumer has in flight, if any, is about to be of no consumer.
    pub(super) fn orphan(&mut self, id: ConsumerId) {
        let Some(consumer) = self.get(id) else { return };
        if let Some(flight) = consumer.flight() {
            let orphan = Orphan {
                id,
                stamp: flight.stamp,
                number: flight.number,
                landing: consumer.in_hands().map(|_| consumer.landed().clone()),
            };
            self.orphans.push(orphan);
        }
    }

    /// The same for all consumers.
    pub(super) fn orphan_all(&mut self) {
        let ids: Vec<_> = self.with_ids().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.orphan(id));
    }

    /// A frame comes back; false if it is a consumer's.
    pub(super) fn finish_orphan(&mut self, id: ConsumerId, stamp: Stamp) -> bool {
        let is_it = |orphan: &Orphan| (orphan.id, orphan.stamp) == (id, stamp);
        let index = self.orphans.iter().position(is_it);
        index.map(|index| self.orphans.swap_remove(index)).is_some()
    }

    pub(super) fn orphans(&self) -> usize {
        self.orphans.len()
    }

    /// The numbers of the frames in flight that are still out, of consumers and of none.
    pub(super) fn in_hands(&self) -> impl Iterator<Item = u64> {
        let orphans = self.orphans.iter().filter(|orphan| orphan.is_in_hands());
        let orphans = orphans.map(|orphan| orphan.number);
        self.consumers()
            .filter_map(Consumer::in_hands)
            .chain(orphans)
    }
}
