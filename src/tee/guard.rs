// SPDX-License-Identifier: MPL-2.0
//! A panic in a function of a pad is an error of the element, whose pads do nothing from then on.
//!
//! That is what the bindings' `catch_panic_pad_function()` does. With each call it looks for its flag in a
//! map, which costs a frame more than its place in the log: here it is called once the element is broken.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use glib::prelude::*;
use gst::subclass::prelude::*;

/// Set by the first panic in a function of a pad of the element.
#[derive(Debug, Default)]
pub(super) struct Broken(AtomicBool);

/// An element whose pads' functions are [`guarded`](Self::guarded).
pub(super) trait Guarded: ElementImpl {
    fn broken(&self) -> &Broken;

    /// Calls `work` for a function of one of the element's pads; `fallback` is the function's answer when
    /// that panics, and from then on.
    #[inline]
    fn guarded<R>(
        parent: Option<&gst::Object>,
        fallback: fn() -> R,
        work: impl FnOnce(&Self) -> R,
    ) -> R {
        let own = parent.and_then(|parent| parent.dynamic_cast_ref::<Self::Type>());
        let own = own.map(Self::from_obj);
        let Some(own) = own.filter(|own| !own.broken().0.load(Ordering::Relaxed)) else {
            return break_down::<Self, R>(parent, fallback, None);
        };
        catch_unwind(AssertUnwindSafe(|| work(own))).unwrap_or_else(|panic| {
            own.broken().0.store(true, Ordering::Relaxed);
            break_down::<Self, R>(parent, fallback, Some(panic))
        })
    }
}

/// Has the bindings note the first `panic`, and tell the application of each call that comes to nothing.
#[cold]
fn break_down<T: Guarded, R>(
    parent: Option<&gst::Object>,
    fallback: fn() -> R,
    panic: Option<Box<dyn Any + Send>>,
) -> R {
    T::catch_panic_pad_function(parent, fallback, |_| match panic {
        Some(panic) => resume_unwind(panic),
        None => fallback(),
    })
}
