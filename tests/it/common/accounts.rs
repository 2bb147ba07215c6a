// SPDX-License-Identifier: MPL-2.0
//! Who counts what: consumers with a chain function of the test's, pad probes that count,
//! a watcher of the balance, and all that was said on the bus.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::common::{Rig, assert_balanced};
use crate::ends::{Flow, sink_pad};

/// Longer than any test.
pub(crate) const NEVER: u32 = 3_600_000;

pub(crate) fn interval(tee: &gst::Element, milliseconds: u32) {
    tee.set_property("drop-messages-interval", milliseconds);
}

/// A number from zero up to, not including, `below`.
pub(crate) fn random(below: i32) -> i32 {
    glib::random_int_range(0, below)
}

/// Keeps the calling thread busy.
pub(crate) fn work_for(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// A consumer whose branch is `chain`, with nothing kept.
pub(crate) fn attach(
    rig: &Rig,
    name: &str,
    chain: impl Fn(gst::Buffer) -> Flow + Send + Sync + 'static,
) -> gst::Pad {
    let pad = rig.tee.request_pad_simple(&format!("src_{name}")).unwrap();
    let sink = sink_pad(name, chain);
    pad.link(&sink).unwrap();
    // A link does not keep its peer alive: the handler does, as long as the pad lives.
    pad.connect_unlinked(move |_, peer| assert_eq!(peer, &sink));
    pad
}

/// Counts the frames that go through `pad`, those of lists too.
pub(crate) fn count_frames(pad: &gst::Pad) -> Arc<AtomicU64> {
    let count = Arc::<AtomicU64>::default();
    let counted = count.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(kinds, move |_, info| {
        let frames = match &info.data {
            Some(gst::PadProbeData::Buffer(_)) => 1,
            Some(gst::PadProbeData::BufferList(list)) => list.len() as u64,
            _ => 0,
        };
        counted.fetch_add(frames, Ordering::SeqCst);
        gst::PadProbeReturn::Ok
    });
    count
}

pub(crate) fn pad_stats(pad: &gst::Pad) -> gst::Structure {
    pad.property("stats")
}

pub(crate) fn count(pad: &gst::Pad, name: &str) -> u64 {
    pad.property(name)
}

/// The pads' part of an element's `stats`.
pub(crate) fn consumers_of(stats: &gst::StructureRef) -> Vec<gst::Structure> {
    let consumers = stats.get::<gst::Array>("consumers").unwrap();
    consumers.iter().map(|one| one.get().unwrap()).collect()
}

/// One snapshot of the element balances, consumer by consumer and as a whole.
#[track_caller]
pub(crate) fn assert_element_balanced(tee: &gst::Element) {
    let stats = tee.property::<gst::Structure>("stats");
    let consumers = consumers_of(&stats);
    let mut dropped = 0;
    for one in &consumers {
        assert_balanced(one);
        assert!(one.get::<u64>("in").unwrap() <= stats.get::<u64>("published").unwrap());
        dropped += one.get::<u64>("dropped").unwrap();
    }
    assert!(dropped <= stats.get::<u64>("dropped").unwrap(), "{stats}");
}

/// Reads snapshots of the element and of all its pads until it is told to stop.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watcher {
    pub(crate) fn start(tee: &gst::Element) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, tee) = (stop.clone(), tee.clone());
        let thread = std::thread::spawn(move || {
            let mut snapshots = 0;
            while !stopped.load(Ordering::SeqCst) {
                assert_element_balanced(&tee);
                for pad in tee.src_pads() {
                    assert_balanced(&pad_stats(&pad));
                }
                snapshots += 1;
                std::thread::yield_now();
            }
            snapshots
        });
        Self { stop, thread }
    }

    /// How many snapshots balanced; panics if one did not.
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// All that was posted on the bus, kept in order.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<(Instant, gst::Message)>>>);

impl Said {
    /// From now on what the element posts is kept here, and does not wait on the bus.
    pub(crate) fn on(bus: &gst::Bus) -> Self {
        let said = Self::default();
        let kept = said.clone();
        bus.set_sync_handler(move |_, message| {
            kept.0
                .lock()
                .unwrap()
                .push((Instant::now(), message.clone()));
            gst::BusSyncReply::Drop
        });
        said
    }

    pub(crate) fn messages(&self) -> Vec<gst::Message> {
        let kept = self.0.lock().unwrap();
        kept.iter().map(|(_, message)| message.clone()).collect()
    }

    /// Element messages of that name, with when they came.
    pub(crate) fn timed(&self, name: &str) -> Vec<(Instant, gst::Structure)> {
        let kept = self.0.lock().unwrap();
        let named = kept.iter().filter_map(|(at, message)| {
            let structure = message.structure().filter(|s| s.name() == name)?;
            Some((*at, structure.to_owned()))
        });
        named.collect()
    }

    pub(crate) fn named(&self, name: &str) -> Vec<gst::Structure> {
        self.timed(name).into_iter().map(|(_, said)| said).collect()
    }

    /// The drop messages of a consumer and reason.
    pub(crate) fn drops(&self, consumer: &str, reason: &str) -> Vec<gst::Structure> {
        let mut drops = self.named("dronetee-drop");
        drops.retain(|drop| text(drop, "consumer") == consumer && text(drop, "reason") == reason);
        drops
    }

    /// What the drop messages of a consumer and reason add up to.
    pub(crate) fn told(&self, consumer: &str, reason: &str) -> u64 {
        let drops = self.drops(consumer, reason);
        drops.iter().map(|drop| number(drop, "count")).sum()
    }

    /// The states that a consumer was said to have come to, in order.
    pub(crate) fn states(&self, consumer: &str) -> Vec<String> {
        let mut said = self.named("dronetee-consumer");
        said.retain(|one| text(one, "consumer") == consumer);
        said.iter().map(|one| text(one, "state")).collect()
    }

    pub(crate) fn summaries(&self, consumer: &str) -> Vec<gst::Structure> {
        let mut said = self.named("dronetee-summary");
        said.retain(|one| text(one, "consumer") == consumer);
        said
    }
}

pub(crate) fn text(structure: &gst::StructureRef, field: &str) -> String {
    structure.get(field).unwrap()
}

pub(crate) fn number(structure: &gst::StructureRef, field: &str) -> u64 {
    structure.get(field).unwrap()
}
