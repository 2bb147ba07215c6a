// SPDX-License-Identifier: MPL-2.0
//! What `src/sync.rs` has, with a scheduler that decides which thread runs next.

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};

pub(crate) mod thread {
    pub(crate) use shuttle::thread::*;

    /// A wait that times out may return at any time. The scheduler knows no time.
    pub(crate) fn park_timeout(_: std::time::Duration) {
        yield_now();
    }
}
