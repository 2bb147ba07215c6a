// SPDX-License-Identifier: MPL-2.0
//! The place where upstream's thread hands something to the content's thread and waits for the
//! answer. It holds one item. Closing it releases both threads, also while the content's thread
//! hangs with an item.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::content::now;

/// One item on its way to the content and back.
pub(super) struct Slot<I, A> {
    inner: Mutex<Inner<I, A>>,
    changed: Condvar,
}

struct Inner<I, A> {
    place: Place<I, A>,
    /// The number of the item that was offered last. A thread that was released may see the next one,
    /// of another thread, in its place.
    ticket: u64,
    /// When the item was offered, or upstream was released; read by the supervisor.
    since: u64,
    /// When the content last returned; 0 never.
    returned_at: u64,
    closed: bool,
}

enum Place<I, A> {
    Free,
    Offered(I),
    /// The content's thread has it, upstream waits.
    Taken,
    /// The content's thread has it, and upstream was released: the answer is for no thread.
    Orphaned,
    Answered(A),
}

impl<I, A> Slot<I, A> {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                place: Place::Free,
                ticket: 0,
                since: 0,
                returned_at: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<I, A>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner<I, A>>) -> MutexGuard<'a, Inner<I, A>> {
        self.changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// For upstream's thread: hands the item over and waits for the answer. `None` if the slot was
    /// closed or upstream was released meanwhile.
    pub(super) fn pass(&self, item: I) -> Option<A> {
        let mut inner = self.lock();
        while !inner.closed && !matches!(inner.place, Place::Free) {
            inner = self.wait(inner);
        }
        if inner.closed {
            return None;
        }
        inner.since = now();
        inner.place = Place::Offered(item);
        inner.ticket += 1;
        let own = inner.ticket;
        self.changed.notify_all();
        loop {
            inner = self.wait(inner);
            if inner.ticket != own {
                return None;
            }
            match std::mem::replace(&mut inner.place, Place::Free) {
                Place::Answered(answer) => {
                    self.changed.notify_all();
                    return Some(answer);
                }
                // Released or closed, perhaps before the item was taken.
                place @ (Place::Free | Place::Orphaned) => {
                    inner.place = place;
                    return None;
                }
                place => inner.place = place,
            }
        }
    }

    /// For the content's thread: the next item. `None`: closed.
    pub(super) fn take(&self) -> Option<I> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            match std::mem::replace(&mut inner.place, Place::Free) {
                Place::Offered(item) => {
                    inner.place = Place::Taken;
                    return Some(item);
                }
                place => inner.place = place,
            }
            inner = self.wait(inner);
        }
    }

    /// For the content's thread: what came of the item that it took.
    pub(super) fn answer(&self, answer: A) {
        let mut inner = self.lock();
        inner.returned_at = now();
        inner.place = match inner.place {
            Place::Taken => Place::Answered(answer),
            _ => Place::Free,
        };
        self.changed.notify_all();
    }

    /// Upstream's thread waits no longer for what is under way; later items pass as usual.
    pub(super) fn release(&self) {
        let item = self.release_locked(&mut self.lock());
        drop(item);
    }

    /// Releases all threads; nothing passes any more.
    pub(super) fn close(&self) {
        let item = {
            let mut inner = self.lock();
            inner.closed = true;
            self.release_locked(&mut inner)
        };
        drop(item);
    }

    /// What was in it, to be freed after unlocking.
    fn release_locked(&self, inner: &mut Inner<I, A>) -> Place<I, A> {
        let next = match inner.place {
            Place::Taken => {
                inner.since = now();
                Place::Orphaned
            }
            Place::Orphaned => Place::Orphaned,
            _ => Place::Free,
        };
        self.changed.notify_all();
        std::mem::replace(&mut inner.place, next)
    }

    /// Since when an item has been on its way.
    pub(super) fn busy_since(&self) -> Option<u64> {
        let inner = self.lock();
        let is_busy = matches!(
            inner.place,
            Place::Offered(_) | Place::Taken | Place::Orphaned
        );
        is_busy.then_some(inner.since)
    }

    /// Since when the content has been expected to return from what upstream was released from.
    pub(super) fn released_since(&self) -> Option<u64> {
        let inner = self.lock();
        matches!(inner.place, Place::Orphaned).then_some(inner.since)
    }

    /// When the content last returned; 0 never.
    pub(super) fn returned_at(&self) -> u64 {
        self.lock().returned_at
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Slot;
    use std::sync::Arc;

    #[test]
    fn answers_come_back() {
        let slot = Arc::new(Slot::<u32, u32>::new());
        let content = slot.clone();
        let thread = std::thread::spawn(move || {
            while let Some(item) = content.take() {
                content.answer(item * 2);
            }
        });
        for item in 0..100 {
            assert_eq!(slot.pass(item), Some(item * 2));
        }
        assert_eq!(slot.busy_since(), None);
        slot.close();
        thread.join().unwrap();
        assert_eq!(slot.pass(1), None);
    }

    #[test]
    fn closing_releases_upstream_while_the_content_hangs() {
        let slot = Arc::new(Slot::<u32, u32>::new());
        let upstream = slot.clone();
        let thread = std::thread::spawn(move || upstream.pass(1));
        assert_eq!(slot.take(), Some(1));
        assert!(slot.busy_since().is_some());
        slot.close();
        assert_eq!(thread.join().unwrap(), None);
        slot.answer(2);
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn a_released_item_is_answered_to_no_thread() {
        let slot = Arc::new(Slot::<u32, u32>::new());
        let upstream = slot.clone();
        let first = std::thread::spawn(move || upstream.pass(1));
        assert_eq!(slot.take(), Some(1));
        assert_eq!(slot.released_since(), None);
        slot.release();
        assert_eq!(first.join().unwrap(), None);
        assert!(slot.released_since().is_some());
        let upstream = slot.clone();
        let second = std::thread::spawn(move || upstream.pass(2));
        slot.answer(10);
        assert_eq!(slot.take(), Some(2));
        slot.answer(20);
        assert_eq!(second.join().unwrap(), Some(20));
    }

    #[test]
    fn what_was_not_taken_is_dropped() {
        let slot = Arc::new(Slot::<Arc<()>, ()>::new());
        let item = Arc::new(());
        let (upstream, offered) = (slot.clone(), item.clone());
        let thread = std::thread::spawn(move || upstream.pass(offered));
        while slot.busy_since().is_none() {
            std::thread::yield_now();
        }
        slot.close();
        assert_eq!(thread.join().unwrap(), None);
        assert_eq!(Arc::strong_count(&item), 1);
    }
}
