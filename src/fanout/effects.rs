// SPDX-License-Identifier: MPL-2.0
//! What a step under the lock leaves to be done: wake-ups and frees after the lock, and which
//! conclusions the core has to draw before it lets go.

use std::task::Waker;

use smallvec::SmallVec;

use super::types::Sticky;
use crate::park::wake;

/// What is freed without the lock.
#[expect(dead_code, reason = "kept only to be freed")]
pub(super) enum Gone<F, E> {
    Frame(F),
    Event(E),
    /// One that was replaced.
    Waker(Waker),
    /// Sticky events that were in force once.
    Sticky(Sticky<E>),
}

/// Collected under the lock. The core draws the conclusions in one place; what is woken and freed is so
/// without the lock.
#[must_use]
pub(super) struct Effects<F, E> {
    /// Who waits for what there is now.
    pub(super) wake: Option<SmallVec<[Waker; 8]>>,
    /// What is freed by most steps that free anything.
    pub(super) frame: Option<F>,
    /// Rarely anything.
    pub(super) gone: Option<Vec<Gone<F, E>>>,
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
    /// A frame was given back for upstream's sake.
    pub(super) gave_back: bool,
}

impl<F, E> Effects<F, E> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            wake: None,
            frame: None,
            gone: None,
            report: false,
            want_keyframe: false,
            served_changed: false,
            frames_moved: false,
            events_moved: false,
            gave_back: false,
        }
    }

    pub(super) fn note_waker(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.wake.get_or_insert_default().push(waker);
        }
    }

    fn free(&mut self, gone: Gone<F, E>) {
        self.gone.get_or_insert_default().push(gone);
    }

    #[inline]
    pub(super) fn free_frame(&mut self, frame: F) {
        if let Some(first) = self.frame.replace(frame) {
            self.free(Gone::Frame(first));
        }
    }

    pub(super) fn free_event(&mut self, event: E) {
        self.free(Gone::Event(event));
    }

    pub(super) fn free_waker(&mut self, waker: Waker) {
        self.free(Gone::Waker(waker));
    }

    pub(super) fn free_sticky(&mut self, sticky: Sticky<E>) {
        self.free(Gone::Sticky(sticky));
    }
}

/// After the lock.
pub(super) fn wake_all(wakers: SmallVec<[Waker; 8]>) {
    wakers.into_iter().for_each(wake);
}

/// Frees what is rarely there.
#[cold]
pub(super) fn free_all<F, E>(gone: Vec<Gone<F, E>>) {
    drop(gone);
}

/// Events to be freed.
impl<F, E> Extend<E> for Effects<F, E> {
    fn extend<I: IntoIterator<Item = E>>(&mut self, events: I) {
        for event in events {
            self.free_event(event);
        }
    }
}
