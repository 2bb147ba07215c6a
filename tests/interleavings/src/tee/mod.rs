// SPDX-License-Identifier: MPL-2.0
//! What the reporter needs of the element, for plain frames and events.

#[path = "../../../../src/tee/reporter.rs"]
mod reporter;
pub(crate) mod scenes;

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::facts::DropReason;
use crate::fanout::{Event, Fanout};
use crate::sync::{Mutex, MutexGuard};

/// A frame is its number.
type Frame = Arc<u64>;
/// The name of a consumer.
type Label = &'static str;
type Stream = Fanout<Frame, Kind, Label>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Start,
    Segment,
    Eos,
    Gap,
}

impl Event for Kind {
    fn is_sticky(&self) -> bool {
        *self <= Self::Eos
    }

    fn replaces(&self, older: &Self) -> bool {
        self.is_sticky() && self == older || (*self, *older) == (Self::Segment, Self::Eos)
    }

    fn order(&self) -> u32 {
        *self as u32
    }

    fn must_precede_later_kinds(&self) -> bool {
        *self <= Self::Segment
    }

    fn ends_stream(&self) -> bool {
        *self == Self::Eos
    }

    fn voids(&self, _: &Self) -> bool {
        false
    }

    fn is_expendable(&self) -> bool {
        *self == Self::Gap
    }

    fn survives_flush(&self) -> bool {
        *self == Self::Start
    }

    fn readmits(&self, reason: DropReason) -> bool {
        (*self, reason) == (Self::Segment, DropReason::Eos)
    }

    fn starts_format(&self) -> bool {
        false
    }

    fn in_place_of(_pts: u64, _duration: u64) -> Self {
        Self::Gap
    }
}

/// The time: one nanosecond a look.
fn now() -> u64 {
    static TIME: AtomicU64 = AtomicU64::new(1);
    TIME.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
