// SPDX-License-Identifier: MPL-2.0
//! What `src/sync.rs` has: with a scheduler that decides which thread runs next, or, with the feature
//! `threads`, as it is there.

#[cfg(not(feature = "threads"))]
mod of {
    pub(crate) use shuttle::sync::atomic;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    /// Of no interest to the scheduler.
    pub(crate) use std::sync::Mutex as Plain;

    pub(crate) mod thread {
        pub(crate) use shuttle::thread::*;

        /// A wait that times out may return at any time. The scheduler knows no time.
        pub(crate) fn park_timeout(_: std::time::Duration) {
            yield_now();
        }
    }

    /// A number below `end`.
    pub(crate) fn draw(end: u64) -> u64 {
        use shuttle::rand::Rng;
        shuttle::rand::thread_rng().gen_range(0..end)
    }
}

/// The standard library's locks are compiled without the sanitizer, which sees races where they are
/// contended: so these are another crate's, with the standard library's interface.
#[cfg(feature = "threads")]
mod of {
    pub(crate) use std::sync::atomic;
    use std::sync::{LockResult, PoisonError};
    pub(crate) use std::thread;
    use std::time::{Duration, Instant};

    pub(crate) use parking_lot::MutexGuard;

    #[derive(Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            Ok(self.0.lock())
        }
    }

    pub(crate) type Plain<T> = Mutex<T>;

    #[derive(Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            patience: Duration,
            mut waits: impl FnMut(&mut T) -> bool,
        ) -> Result<(MutexGuard<'a, T>, bool), PoisonError<()>> {
            let end = Instant::now() + patience;
            while waits(&mut guard) {
                if self.0.wait_until(&mut guard, end).timed_out() {
                    return Ok((guard, true));
                }
            }
            Ok((guard, false))
        }
    }

    /// A number below `end`.
    pub(crate) fn draw(end: u64) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(end) % end
    }
}

pub(crate) use of::*;
