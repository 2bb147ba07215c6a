// SPDX-License-Identifier: MPL-2.0
//! Wakers for threads that wait by [`std::thread::park`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::sync::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker for the running thread.
pub(crate) fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Wakes a task of the application. A waker that panics is its owner's trouble, not this thread's.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

thread_local! {
    static WAKER: Waker = thread_waker();
}

/// Calls `work` with a waker for the running thread, which is made once a thread.
pub(crate) fn with_thread_waker<R>(work: impl FnOnce(&Waker) -> R) -> R {
    // In a thread that comes to its end there are no thread locals.
    let waker = WAKER.try_with(Waker::clone);
    work(&waker.unwrap_or_else(|_| thread_waker()))
}
