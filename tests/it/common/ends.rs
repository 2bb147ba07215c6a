// SPDX-License-Identifier: MPL-2.0
//! The two ends of an element: what is sent into its sink pad, and sink pads in place of its consumers.
//!
//! The benches measure with it too, so it needs nothing but GStreamer.
#![allow(dead_code, reason = "not every program uses all of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

pub(crate) type Flow = Result<gst::FlowSuccess, gst::FlowError>;

// ---- upstream's end ------------------------------------------------------------------------

/// Sends what precedes the frames of a stream.
pub(crate) fn begin(sink: &gst::Pad, caps: Option<&gst::Caps>) {
    assert!(sink.send_event(gst::event::StreamStart::new("camera")));
    if let Some(caps) = caps {
        assert!(sink.send_event(gst::event::Caps::new(caps)));
    }
    segment(sink);
}

pub(crate) fn segment(sink: &gst::Pad) {
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink.send_event(gst::event::Segment::new(&segment)));
}

/// Raw frames of a size that is not told.
pub(crate) fn gray() -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "GRAY8")
        .build()
}

/// Monotonic, since the first call.
pub(crate) fn nanos() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// A frame with the same pixels as all others of its kind; `stamp`, its offset, tells when it was made.
pub(crate) fn stamped(stamp: u64) -> gst::Buffer {
    static PIXELS: LazyLock<gst::Memory> = LazyLock::new(|| gst::Memory::from_slice([0u8; 64]));
    let mut buffer = gst::Buffer::new();
    let own = buffer.get_mut().expect("new");
    own.append_memory(PIXELS.clone());
    own.set_offset(stamp);
    own.set_pts(gst::ClockTime::from_nseconds(stamp));
    buffer
}

/// Pixels that are counted while they live.
struct Counted {
    pixels: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.pixels
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A frame that is counted in `alive` while it lives.
pub(crate) fn counted(alive: &Arc<AtomicUsize>, pixels: Vec<u8>) -> gst::Buffer {
    alive.fetch_add(1, Ordering::SeqCst);
    let alive = alive.clone();
    gst::Buffer::from_slice(Counted { pixels, alive })
}

// ---- the consumers' end --------------------------------------------------------------------

/// An active sink pad that hands each frame to `chain`, and takes every event.
pub(crate) fn sink_pad(
    name: &str,
    chain: impl Fn(gst::Buffer) -> Flow + Send + Sync + 'static,
) -> gst::Pad {
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name(name)
        .chain_function(move |_, _, buffer| chain(buffer))
        .event_function(|_, _, _| true)
        .build();
    pad.set_active(true).expect("a pad without a parent");
    pad
}

/// What `dronetee` is compared with behind each pad of a `tee`.
pub(crate) fn leaky_queue(depth: u32) -> gst::Element {
    gst::ElementFactory::make("queue")
        .property("max-size-buffers", depth)
        .property("max-size-bytes", 0_u32)
        .property("max-size-time", 0_u64)
        .property_from_str("leaky", "downstream")
        .build()
        .expect("queue")
}

/// Consumers below a number do not return from a frame.
#[derive(Default)]
pub(crate) struct Gate {
    stuck: Mutex<usize>,
    opened: Condvar,
    inside: AtomicUsize,
}

impl Gate {
    pub(crate) fn stick(&self, consumers: usize) {
        *self.stuck.lock().expect("gate") = consumers;
        self.opened.notify_all();
    }

    /// Called by the consumer `index` with a frame.
    pub(crate) fn pass(&self, index: usize) {
        let stuck = self.stuck.lock().expect("gate");
        if index < *stuck {
            self.inside.fetch_add(1, Ordering::SeqCst);
            let stays = |stuck: &mut usize| index < *stuck;
            drop(self.opened.wait_while(stuck, stays).expect("gate"));
        }
    }

    /// True if so many are stuck in time.
    pub(crate) fn wait_stuck(&self, consumers: usize, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.inside.load(Ordering::SeqCst) < consumers {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        true
    }
}
