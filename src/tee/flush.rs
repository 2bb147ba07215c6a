// SPDX-License-Identifier: MPL-2.0
//! What goes around the frames: flush-start and out-of-band events.
//!
//! They must reach a branch whose thread is stuck in a push, and a handler that hangs must not
//! hold up upstream: a queue, for one, waits for its own stuck thread when it is flushed. So they
//! are delivered by a helper thread of GStreamer's, and upstream waits only so long.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::{CAT, DroneTee, DroneTeePad, lock};

/// How long upstream waits for the branches.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// Flush-starts on their way to the branch.
#[derive(Default)]
pub(super) struct Flush {
    under_way: Mutex<u32>,
    delivered: Condvar,
}

impl Flush {
    fn begin(&self) {
        *lock(&self.under_way) += 1;
    }

    fn end(&self) {
        *lock(&self.under_way) -= 1;
        self.delivered.notify_all();
    }

    /// For the branch's own thread: until all are delivered.
    pub(super) fn wait_delivered(&self) {
        let under_way = lock(&self.under_way);
        drop(
            self.delivered
                .wait_while(under_way, |under_way| *under_way > 0),
        );
    }

    fn wait_until(&self, deadline: Instant) {
        let under_way = lock(&self.under_way);
        let patience = deadline.saturating_duration_since(Instant::now());
        drop(
            self.delivered
                .wait_timeout_while(under_way, patience, |under_way| *under_way > 0),
        );
    }
}

/// Passes flush-start on to all branches and waits for them a little.
pub(super) fn pass_flush_start(tee: &DroneTee, event: &gst::Event) {
    let pads = tee.consumers();
    for pad in &pads {
        let (pad, event) = (pad.clone(), event.clone());
        pad.imp().flush.begin();
        tee.call_async(move |_| {
            pad.push_event(event);
            pad.imp().flush.end();
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
    waiting: Mutex<Waiting>,
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
        let (oldest, is_busy) = {
            let mut waiting = lock(&self.waiting);
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
        element.call_async(move |_| while pad.imp().out_of_band.pass_next(&pad) {});
    }

    fn pass_next(&self, pad: &DroneTeePad) -> bool {
        let event = {
            let mut waiting = lock(&self.waiting);
            let event = waiting.events.pop_front();
            waiting.delivering = event.is_some();
            event
        };
        event.map(|event| pad.push_event(event)).is_some()
    }
}
