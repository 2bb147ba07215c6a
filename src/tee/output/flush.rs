// SPDX-License-Identifier: MPL-2.0
//! A flush, as the branches get it: the thread that brings it waits for them, but not for long.

use std::time::{Duration, Instant};

use gst::subclass::prelude::*;

use super::around::remove_sticky;
use crate::tee::asking::BUSY_PATIENCE;
use crate::tee::{DroneTeePad, Stream, now};

/// How long the thread that flushes waits for them, when all others have got the end of the flush.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

/// FLUSH_START: nothing is taken from now on.
pub(in crate::tee) fn start(stream: &Stream, pads: &[DroneTeePad], event: &gst::Event) {
    stream.flush_start(now());
    let deadline = Instant::now() + BUSY_PATIENCE;
    let branches = || pads.iter().filter_map(|pad| pad.imp().branch());
    for branch in branches() {
        branch.start_flush(event.clone());
    }
    for branch in branches() {
        branch.wait_flushing(deadline);
    }
}

/// FLUSH_STOP: each branch gets it before the stream flows again.
pub(in crate::tee) fn stop(stream: &Stream, pads: &[DroneTeePad], event: &gst::Event) {
    let deadline = Instant::now() + BUSY_PATIENCE;
    pads.iter().for_each(forget_around);
    let branches = || pads.iter().filter_map(|pad| pad.imp().branch());
    for branch in branches() {
        branch.stop_flush(event.clone(), deadline);
    }
    stream.flush_stop(now());
    // A branch refuses the next seek until it knows.
    let deadline = Instant::now() + FLUSH_PATIENCE;
    for branch in branches() {
        branch.wait_flushed(deadline);
    }
}

/// The pad forgets what went around the frames before a flush: GStreamer keeps it for the next link.
fn forget_around(pad: &DroneTeePad) {
    remove_sticky(pad, |event| !event.is_serialized());
}
