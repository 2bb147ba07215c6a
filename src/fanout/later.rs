// SPDX-License-Identifier: MPL-2.0
//! What must not happen under the lock: waking, and freeing frames and events.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use smallvec::SmallVec;

use super::log::GopStart;

/// Collected under the lock, done by [`run`](Self::run) after it.
#[must_use]
pub(super) struct Later<F, E> {
    pub(super) wake: SmallVec<[Waker; 8]>,
    pub(super) free: SmallVec<[F; 4]>,
    pub(super) free_events: SmallVec<[E; 4]>,
    /// Wakers that nobody needs any more.
    pub(super) free_wakers: SmallVec<[Waker; 1]>,
    /// Where the frames kept for late joiners began.
    pub(super) free_gops: SmallVec<[GopStart<E>; 1]>,
    /// Something is due for whoever reports.
    pub(super) report: bool,
    /// A consumer waits for a keyframe.
    pub(super) want_key: bool,
    /// A consumer is served no longer, or again.
    pub(super) mode_changed: bool,
}

impl<F, E> Later<F, E> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            wake: SmallVec::new(),
            free: SmallVec::new(),
            free_events: SmallVec::new(),
            free_wakers: SmallVec::new(),
            free_gops: SmallVec::new(),
            report: false,
            want_key: false,
            mode_changed: false,
        }
    }

    #[inline]
    pub(super) fn run(self) {
        // The consumers first: freeing can give a buffer back to a pool, which takes its time.
        for waker in self.wake {
            // One that panics is its owner's trouble, not upstream's nor the next one's.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}
