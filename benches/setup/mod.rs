// SPDX-License-Identifier: MPL-2.0
//! The contenders, with consumers that behave as told.

mod wake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};
use hdrhistogram::Histogram;
pub(crate) use wake::WakeUps;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A sink pad that drops what it gets: what the measuring itself costs.
    Harness,
    Tee,
    DroneTee,
}

#[derive(Clone)]
pub(crate) enum Behaviour {
    /// The first frame is never returned from.
    Stuck,
    /// The first `n` consumers get stuck, as told.
    Staggered,
    /// Notes how long a frame took.
    Measure(Vec<Figures>),
}

/// Of one consumer, in ns; its own, as a shared lock would be a wait of its own.
pub(crate) type Figures = Arc<Mutex<Histogram<u64>>>;

pub(crate) fn figures() -> Figures {
    Arc::new(Mutex::new(histogram()))
}

/// Of ns up to ten seconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap()
}

#[derive(Default)]
struct Gate {
    /// Consumers below this number get stuck; all are let go at `usize::MAX`'s opposite, zero.
    stuck: Mutex<usize>,
    opened: Condvar,
    inside: AtomicUsize,
}

pub(crate) struct Setup {
    kind: Kind,
    consumers: usize,
    sink: gst::Pad,
    elements: Vec<gst::Element>,
    _outs: Vec<gst::Pad>,
    gate: Arc<Gate>,
}

pub(crate) fn init() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
}

pub(crate) fn nanos() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// A frame whose pixels are the same for all; `stamp` tells when it was made.
pub(crate) fn frame(stamp: u64) -> gst::Buffer {
    static PIXELS: LazyLock<gst::Memory> = LazyLock::new(|| gst::Memory::from_slice([0u8; 64]));
    let mut buffer = gst::Buffer::new();
    let own = buffer.get_mut().unwrap();
    own.append_memory(PIXELS.clone());
    own.set_offset(stamp);
    own.set_pts(gst::ClockTime::from_nseconds(stamp));
    buffer
}

struct Counted(Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &[0; 16]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A frame that is counted while it lives.
pub(crate) fn counted(alive: &Arc<AtomicUsize>) -> gst::Buffer {
    alive.fetch_add(1, Ordering::SeqCst);
    gst::Buffer::from_slice(Counted(alive.clone()))
}

fn begin(sink: &gst::Pad) {
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "GRAY8")
        .build();
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink.send_event(gst::event::StreamStart::new("bench")));
    assert!(sink.send_event(gst::event::Caps::new(&caps)));
    assert!(sink.send_event(gst::event::Segment::new(&segment)));
}

/// A `dronetee` with consumers in this process.
pub(crate) fn with_receivers(count: usize) -> (gst::Element, Vec<FrameReceiver>) {
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    let publisher = FramePublisher::new(&tee).unwrap();
    let receivers = (0..count).map(|n| publisher.subscribe(&n.to_string()).unwrap());
    let receivers = receivers.collect();
    tee.set_state(gst::State::Playing).unwrap();
    begin(&tee.static_pad("sink").unwrap());
    (tee, receivers)
}

impl Setup {
    pub(crate) fn new(kind: Kind, consumers: usize, behaviour: Behaviour) -> Self {
        let gate = Arc::new(Gate::default());
        if matches!(behaviour, Behaviour::Stuck) {
            *gate.stuck.lock().unwrap() = usize::MAX;
        }
        let outs: Vec<_> = (0..consumers)
            .map(|index| consumer(index, &behaviour, &gate))
            .collect();
        let (sink, elements) = match kind {
            Kind::Harness => (consumer_that_drops(), Vec::new()),
            Kind::Tee => tee(&outs),
            Kind::DroneTee => dronetee(&outs),
        };
        begin(&sink);
        Self {
            kind,
            consumers,
            sink,
            elements,
            _outs: outs,
            gate,
        }
    }

    pub(crate) fn publish(&self, buffer: gst::Buffer) {
        self.sink.chain(buffer).unwrap();
    }

    pub(crate) fn stick(&self, consumers: usize) {
        *self.gate.stuck.lock().unwrap() = consumers;
    }

    pub(crate) fn wait_all_stuck(&self) {
        if self.kind != Kind::Harness {
            self.wait_stuck(self.consumers);
        }
    }

    pub(crate) fn wait_stuck(&self, consumers: usize) {
        while self.gate.inside.load(Ordering::SeqCst) < consumers {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    pub(crate) fn wait_measured(&self, frames: u64, figures: &[Figures]) {
        // Neither contender drops anything here, but a hang would be worse than a short count.
        let deadline = Instant::now() + Duration::from_secs(1);
        let missing = |figures: &Figures| figures.lock().unwrap().len() < frames;
        while figures.iter().any(missing) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        *self.gate.stuck.lock().unwrap() = 0;
        self.gate.opened.notify_all();
        for element in &self.elements {
            element.set_state(gst::State::Null).unwrap();
        }
    }
}

fn consumer(index: usize, behaviour: &Behaviour, gate: &Arc<Gate>) -> gst::Pad {
    let (behaviour, gate) = (behaviour.clone(), gate.clone());
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name(format!("consumer{index}"))
        .chain_function(move |_, _, buffer| {
            if let Behaviour::Measure(figures) = &behaviour {
                let took = nanos() - buffer.offset();
                figures[index].lock().unwrap().saturating_record(took);
            } else {
                let stuck = gate.stuck.lock().unwrap();
                if index < *stuck {
                    gate.inside.fetch_add(1, Ordering::SeqCst);
                    drop(
                        gate.opened
                            .wait_while(stuck, |stuck| index < *stuck)
                            .unwrap(),
                    );
                }
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build();
    pad.set_active(true).unwrap();
    pad
}

fn consumer_that_drops() -> gst::Pad {
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name("harness")
        .chain_function(|_, _, _| Ok(gst::FlowSuccess::Ok))
        .event_function(|_, _, _| true)
        .build();
    pad.set_active(true).unwrap();
    pad
}

fn tee(outs: &[gst::Pad]) -> (gst::Pad, Vec<gst::Element>) {
    let tee = gst::ElementFactory::make("tee").build().unwrap();
    let mut elements = vec![tee.clone()];
    for out in outs {
        let queue = gst::ElementFactory::make("queue")
            .property("max-size-buffers", 4u32)
            .property("max-size-bytes", 0u32)
            .property("max-size-time", 0u64)
            .property_from_str("leaky", "downstream")
            .build()
            .unwrap();
        let pad = tee.request_pad_simple("src_%u").unwrap();
        pad.link(&queue.static_pad("sink").unwrap()).unwrap();
        queue.static_pad("src").unwrap().link(out).unwrap();
        elements.push(queue);
    }
    for element in elements.iter().rev() {
        element.set_state(gst::State::Playing).unwrap();
    }
    (tee.static_pad("sink").unwrap(), elements)
}

fn dronetee(outs: &[gst::Pad]) -> (gst::Pad, Vec<gst::Element>) {
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    for out in outs {
        let pad = tee.request_pad_simple("src_%u").unwrap();
        pad.link(out).unwrap();
    }
    tee.set_state(gst::State::Playing).unwrap();
    (tee.static_pad("sink").unwrap(), vec![tee])
}
