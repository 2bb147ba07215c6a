// SPDX-License-Identifier: MPL-2.0
//! What goes around the frames: flush-start and out-of-band events.
//!
//! They must reach a branch whose thread is stuck in a push, and a handler that hangs must not
//! hold up upstream: a queue, for one, waits for its own stuck thread when it is flushed. So they
//! are delivered by a helper thread of GStreamer's, and upstream waits only so long.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::{CAT, DroneTee, DroneTeePad, lock};

/// How long upstream waits for the branches.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// Flush-starts on their way to the branch; another one once another branch is linked, which those
/// that hang in the one before are not for.
#[derive(Default)]
pub(super) struct Flush {
    starts: Mutex<Arc<UnderWay>>,
    /// The end of the flush, which the branch's thread delivers.
    stop: Mutex<Option<gst::Event>>,
}

#[derive(Default)]
struct UnderWay {
    /// `None` at first, and once they are abandoned.
    count: Mutex<Option<u32>>,
    delivered: Condvar,
}

impl UnderWay {
    fn is_awaited(&self) -> bool {
        lock(&self.count).is_some()
    }

    fn has_some(count: &mut Option<u32>) -> bool {
        count.is_some_and(|count| count > 0)
    }

    fn end(&self) {
        let mut count = lock(&self.count);
        *count = count.map(|count| count - 1);
        self.delivered.notify_all();
    }
}

impl Flush {
    fn current(&self) -> Arc<UnderWay> {
        lock(&self.starts).clone()
    }

    fn begin(&self) -> Arc<UnderWay> {
        let current = self.current();
        let mut count = lock(&current.count);
        *count = Some(count.unwrap_or(0) + 1);
        drop(count);
        current
    }

    /// Another branch is there.
    pub(super) fn abandon(&self) {
        let old = std::mem::take(&mut *lock(&self.starts));
        *lock(&old.count) = None;
        old.delivered.notify_all();
    }

    pub(super) fn set_stop(&self, event: gst::Event) {
        *lock(&self.stop) = Some(event);
    }

    /// For the branch's own thread: delivers the end of the flush after its start.
    pub(super) fn deliver_stop(&self, pad: &DroneTeePad) {
        let event = lock(&self.stop).take();
        if let Some(event) = event {
            self.wait_delivered();
            pad.push_event(event);
        }
    }

    fn wait_delivered(&self) {
        let current = self.current();
        drop(
            current
                .delivered
                .wait_while(lock(&current.count), UnderWay::has_some),
        );
    }

    fn wait_until(&self, deadline: Instant) {
        let current = self.current();
        let patience = deadline.saturating_duration_since(Instant::now());
        let count = lock(&current.count);
        drop(
            current
                .delivered
                .wait_timeout_while(count, patience, UnderWay::has_some),
        );
    }
}

/// Passes flush-start on to all branches and waits for them a little.
pub(super) fn pass_flush_start(tee: &DroneTee, event: &gst::Event) {
    let pads = tee.consumers();
    for pad in &pads {
        let (pad, event) = (pad.clone(), event.clone());
        let under_way = pad.imp().flush.begin();
        tee.call_async(move |_| {
            // Not for a branch that was linked since: its flush-stop may have passed.
            if under_way.is_awaited() {
                pad.push_event(event);
                under_way.end();
            }
        });
    }
    let deadline = Instant::now() + PATIENCE;
    for pad in pads {
        pad.imp().flush.wait_until(deadline);
    }
}

/// Out-of-band events of one pad, delivered in order by one thread at a time.
#[derive(Default)]
pub(super) struct OutOfBand {
    waiting: Mutex<Arc<Mutex<Waiting>>>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<gst::Event>,
    /// A thread is at it.
    delivering: bool,
}

/// More do not wait for a branch that hangs.
const MAX_OUT_OF_BAND: usize = 256;

impl OutOfBand {
    pub(super) fn pass(&self, pad: &DroneTeePad, event: gst::Event) {
        let Some(element) = pad.parent_element() else {
            return;
        };
        let current = lock(&self.waiting).clone();
        let (oldest, is_busy) = {
            let mut waiting = lock(&current);
            waiting.events.push_back(event);
            let too_many = waiting.events.len() > MAX_OUT_OF_BAND;
            let oldest = too_many.then(|| waiting.events.pop_front()).flatten();
            (oldest, std::mem::replace(&mut waiting.delivering, true))
        };
        if let Some(oldest) = oldest {
            gst::warning!(CAT, obj = pad, "The branch hangs, {oldest:?} is dropped");
        }
        if is_busy {
            return;
        }
        let pad = pad.clone();
        element.call_async(move |_| while pass_next(&pad, &current) {});
    }

    /// Another branch is there, which what the one before hangs in is not for.
    pub(super) fn abandon(&self) {
        let old = std::mem::take(&mut *lock(&self.waiting));
        let events = std::mem::take(&mut lock(&old).events);
        drop(events);
    }
}

fn pass_next(pad: &DroneTeePad, waiting: &Mutex<Waiting>) -> bool {
    let event = {
        let mut waiting = lock(waiting);
        let event = waiting.events.pop_front();
        waiting.delivering = event.is_some();
        event
    };
    event.map(|event| pad.push_event(event)).is_some()
}
