// SPDX-License-Identifier: MPL-2.0
//! The contenders, with consumers that behave as told.

mod wake;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};
use hdrhistogram::Histogram;
pub(crate) use wake::WakeUps;

use crate::ends::{Gate, begin, gray, leaky_queue, nanos, sink_pad, stamped};

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

/// Consumers get stuck at once, but for a debugger's time.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A `dronetee` with consumers in this process.
pub(crate) fn with_receivers(count: usize) -> (gst::Element, Vec<FrameReceiver>) {
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    let publisher = FramePublisher::new(&tee).unwrap();
    let receivers = (0..count).map(|n| publisher.subscribe(&n.to_string()).unwrap());
    let receivers = receivers.collect();
    tee.set_state(gst::State::Playing).unwrap();
    begin(&tee.static_pad("sink").unwrap(), Some(&gray()));
    (tee, receivers)
}

impl Setup {
    pub(crate) fn new(kind: Kind, consumers: usize, behaviour: Behaviour) -> Self {
        let gate = Arc::new(Gate::default());
        if matches!(behaviour, Behaviour::Stuck) {
            gate.stick(usize::MAX);
        }
        let outs: Vec<_> = (0..consumers)
            .map(|index| consumer(index, &behaviour, &gate))
            .collect();
        let (sink, elements) = match kind {
            Kind::Harness => (
                sink_pad("harness", |_| Ok(gst::FlowSuccess::Ok)),
                Vec::new(),
            ),
            Kind::Tee => tee(&outs),
            Kind::DroneTee => dronetee(&outs),
        };
        // At this rate no pause of the machine's is a silence of the source's.
        let mut caps = gray();
        caps.make_mut().set("framerate", gst::Fraction::new(1, 100));
        begin(&sink, Some(&caps));
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

    /// From here on all publishes take the same instructions, in every run: nothing falls due with time, and
    /// to the allocator all frames are of the same size.
    pub(crate) fn settle(&self) {
        if self.kind == Kind::DroneTee {
            self.elements[0].set_property("stall-timeout", 0u64);
            self.elements[0].set_property("drop-messages-interval", u32::MAX);
            self.wait_all_told();
        }
        drop(Vec::from_iter((0..64).map(|_| stamped(0))));
        (0..16).for_each(|_| self.publish(stamped(0)));
    }

    /// Waits until the first drops of every consumer are told.
    fn wait_all_told(&self) {
        let bus = self.elements[0].bus().unwrap();
        let patience = gst::ClockTime::from_seconds(60);
        let mut told = HashSet::new();
        while told.len() < self.consumers {
            let message = bus.timed_pop_filtered(patience, &[gst::MessageType::Element]);
            let message = message.expect("drops are not told");
            let drop = message.structure().unwrap();
            if drop.name() == "dronetee-drop" {
                told.insert(drop.get::<String>("consumer").unwrap());
            }
        }
    }

    pub(crate) fn stick(&self, consumers: usize) {
        self.gate.stick(consumers);
    }

    pub(crate) fn wait_all_stuck(&self) {
        if self.kind != Kind::Harness {
            self.wait_stuck(self.consumers);
        }
    }

    pub(crate) fn wait_stuck(&self, consumers: usize) {
        assert!(self.gate.wait_stuck(consumers, PATIENCE));
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
        self.gate.stick(0);
        for element in &self.elements {
            element.set_state(gst::State::Null).unwrap();
        }
    }
}

fn consumer(index: usize, behaviour: &Behaviour, gate: &Arc<Gate>) -> gst::Pad {
    let (behaviour, gate) = (behaviour.clone(), gate.clone());
    sink_pad(&format!("consumer{index}"), move |buffer| {
        match &behaviour {
            Behaviour::Measure(figures) => {
                let took = nanos() - buffer.offset();
                figures[index].lock().unwrap().saturating_record(took);
            }
            Behaviour::Stuck | Behaviour::Staggered => gate.pass(index),
        }
        Ok(gst::FlowSuccess::Ok)
    })
}

fn tee(outs: &[gst::Pad]) -> (gst::Pad, Vec<gst::Element>) {
    let tee = gst::ElementFactory::make("tee").build().unwrap();
    let mut elements = vec![tee.clone()];
    for out in outs {
        let queue = leaky_queue(4);
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
    tee.set_bus(Some(&gst::Bus::new()));
    for out in outs {
        let pad = tee.request_pad_simple("src_%u").unwrap();
        pad.link(out).unwrap();
    }
    tee.set_state(gst::State::Playing).unwrap();
    (tee.static_pad("sink").unwrap(), vec![tee])
}
