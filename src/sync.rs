// SPDX-License-Identifier: MPL-2.0
//! Locks, atomics and threads for the core and for what waits for it.
//!
//! `tests/interleavings` builds these files with a `sync` of its own, where a scheduler decides which
//! thread runs next.

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread;
