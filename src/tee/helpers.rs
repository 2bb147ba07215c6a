// SPDX-License-Identifier: MPL-2.0
//! Threads for calls into a branch that may hang, or that must not be made in the thread at hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use once_cell::sync::Lazy;

use super::{CAT, lock};

/// Threads that GLib shares among all its pools; as many as there is work.
static POOL: Lazy<Option<glib::ThreadPool>> = Lazy::new(|| glib::ThreadPool::shared(None).ok());

/// The helper threads of one element.
///
/// `gst_element_call_async()` holds the element until after the call, so that a reference may
/// outlive the change to NULL. These are counted, and the stop waits for them.
#[derive(Clone, Default)]
pub(super) struct Helpers(Arc<UnderWay>);

#[derive(Default)]
struct UnderWay {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One helper that is under way.
struct Helper(Arc<UnderWay>);

impl Helper {
    fn new(under_way: &Arc<UnderWay>) -> Self {
        *lock(&under_way.count) += 1;
        Self(under_way.clone())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.changed.notify_all();
    }
}

impl Helpers {
    /// Calls `work` in another thread; false if there is none, then `work` is dropped.
    pub(super) fn run(&self, work: impl FnOnce() + Send + 'static) -> bool {
        let helper = Helper::new(&self.0);
        let call = move || {
            // It must not unwind into GLib.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                gst::error!(CAT, "A helper thread panicked");
            }
            // By now all that `work` held is dropped.
            drop(helper);
        };
        POOL.as_ref().is_some_and(|pool| pool.push(call).is_ok())
    }

    /// Waits until no helper is under way, at most until `deadline`.
    pub(super) fn wait_done(&self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        let count = lock(&self.0.count);
        let busy = |count: &mut usize| *count > 0;
        drop(self.0.changed.wait_timeout_while(count, patience, busy));
    }
}
