// SPDX-License-Identifier: MPL-2.0
//! What a step under the lock leaves to be done: wake-ups and frees after the lock, and which
//! conclusions the core has to draw before it lets go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use smallvec::SmallVec;

use super::types::Sticky;

/// Collected under the lock. The core draws the conclusions in one place, then
/// [`run`](Self::run) does the rest without the lock.
#[must_use]
pub(super) struct Effects<F, E> {
    pub(super) wake: SmallVec<[Waker; 8]>,
    pub(super) frames: SmallVec<[F; 4]>,
    pub(super) events: SmallVec<[E; 4]>,
    /// Wakers that were replaced.
    pub(super) wakers: SmallVec<[Waker; 1]>,
    /// Sticky events that were in force once.
    pub(super) lists: SmallVec<[Sticky<E>; 1]>,
    /// Something is due for the thread that reports.
    pub(super) report: bool,
    /// A consumer waits for a keyframe.
    pub(super) want_keyframe: bool,
    /// A consumer is served no longer, or again, or left: upstream may hear something else.
    pub(super) served_changed: bool,
    /// The oldest frame may be of no use any more.
    pub(super) frames_moved: bool,
    /// The same for the oldest event.
    pub(super) events_moved: bool,
    /// The first frame that any consumer needs, where the step has looked at all of them.
    pub(super) needed: Option<u64>,
}

impl<F, E> Effects<F, E> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            wake: SmallVec::new(),
            frames: SmallVec::new(),
            events: SmallVec::new(),
            wakers: SmallVec::new(),
            lists: SmallVec::new(),
            report: false,
            want_keyframe: false,
            served_changed: false,
            frames_moved: false,
            events_moved: false,
            needed: None,
        }
    }

    /// Wakes the consumers first: a free can give a buffer back to a pool, which takes its time.
    #[inline]
    pub(super) fn run(self) {
        for waker in self.wake {
            // One that panics is its owner's trouble, not upstream's nor the next one's.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}
