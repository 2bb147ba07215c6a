// SPDX-License-Identifier: MPL-2.0
//! Measurements of plain frames: what a publish costs, how long a frame takes, what a pool allows, and
//! how many frames are kept.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use hdrhistogram::Histogram;

use crate::ends::{Gate, counted, nanos, stamped};
use crate::fan::{ALL, Fan, Kind, Stream};
use crate::section::{Plot, Section, head, rounded};

/// Of a contender whose consumers may never be stuck.
const PATIENCE: Duration = Duration::from_secs(2);
const CONSUMERS: [usize; 4] = [1, 3, 16, 64];

fn numbers(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(ToString::to_string).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A fan whose consumers get stuck as the gate says.
fn gated(kind: Kind, consumers: usize, gate: &Arc<Gate>) -> Fan {
    let mut fan = Fan::start(kind, &Stream::raw());
    for index in 0..consumers {
        let gate = gate.clone();
        fan.add(move |frame| {
            gate.pass(index);
            drop(frame);
        });
    }
    fan
}

/// Time of a publish when each consumer loses a frame by it, µs.
fn stuck(kind: Kind, consumers: usize) -> Option<f64> {
    let gate = Arc::new(Gate::default());
    gate.stick(usize::MAX);
    let fan = gated(kind, consumers, &gate);
    for _ in 0..8 {
        fan.publish(stamped(nanos()));
    }
    let waits = kind != Kind::Append;
    let are_stuck = !waits || gate.wait_stuck(consumers, PATIENCE);
    for _ in 0..64 {
        fan.publish(stamped(nanos()));
    }
    let frames = 20_000 / (8 + consumers as u32) + 200;
    let mut times = Vec::new();
    for _ in 0..7 {
        let begin = Instant::now();
        for stamp in 0..frames {
            fan.publish(stamped(u64::from(stamp)));
        }
        times.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(frames));
    }
    gate.stick(0);
    fan.stop();
    are_stuck.then(|| median(&mut times))
}

pub(crate) fn publish() -> Section {
    let kinds: Vec<_> = ALL.into_iter().chain([Kind::Append]).collect();
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for kind in kinds {
        let values: Vec<_> = CONSUMERS.iter().map(|count| stuck(kind, *count)).collect();
        let cells = values.iter().map(|value| value.map_or("–".into(), rounded));
        rows.push(head(kind.name(), cells));
        lines.push((kind.name().to_owned(), values));
    }
    Section {
        title: "What a publish costs".into(),
        text: "Every consumer is stuck with a frame and has a full queue of four, so that each loses a \
               frame by each publish. µs a publish, the median of seven rounds."
            .into(),
        head: head("stuck consumers", numbers(&CONSUMERS)),
        rows,
        plot: Some(Plot {
            file: "publish.svg",
            title: "A publish past stuck consumers",
            across: "stuck consumers",
            up: "µs",
            places: numbers(&CONSUMERS),
            lines,
        }),
    }
}

/// Both cores are at work.
struct Burning(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Burning {
    fn start() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let burn = |_| {
            let ends = ends.clone();
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..cores).map(burn).collect();
        Self(ends, threads)
    }

    fn stop(self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1 {
            let _ = thread.join();
        }
    }
}

/// From just before the publish to three waiting consumers, ns.
fn latency(kind: Kind, rate: u32, frames: u32) -> Histogram<u64> {
    const WARM_UP: u32 = 10;
    let histogram = || Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds");
    let noted: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(histogram()))).collect();
    let mut fan = Fan::start(kind, &Stream::raw());
    for noted in &noted {
        let noted = noted.clone();
        let mut seen = 0;
        fan.add(move |frame| {
            let took = nanos() - frame.offset();
            seen += 1;
            if seen > WARM_UP {
                noted.lock().expect("figures").saturating_record(took);
            }
        });
    }
    // They wait, and do not merely start.
    std::thread::sleep(Duration::from_millis(50));
    let (period, begin) = (Duration::from_secs(1) / rate, Instant::now());
    for number in 0..WARM_UP + frames {
        let due = begin + period * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        fan.publish(stamped(nanos()));
    }
    std::thread::sleep(Duration::from_millis(50));
    fan.stop();
    let mut all = histogram();
    for noted in noted {
        all.add(&*noted.lock().expect("figures")).expect("bounds");
    }
    all
}

pub(crate) fn latencies() -> Vec<Section> {
    let mut sections = Vec::new();
    for (burns, load) in [(false, "idle"), (true, "both cores burning")] {
        for (rate, frames) in [(30, 120), (1000, 2000)] {
            let burning = burns.then(Burning::start);
            sections.push(one_latency(rate, frames, load));
            if let Some(burning) = burning {
                burning.stop();
            }
        }
    }
    sections
}

fn one_latency(rate: u32, frames: u32, load: &str) -> Section {
    const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let kinds = ALL.into_iter().chain([Kind::WakeUps]);
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for kind in kinds {
        let took = latency(kind, rate, frames);
        let at = QUANTILES.map(|(_, quantile)| took.value_at_quantile(quantile) as f64 / 1e3);
        let mut row = head(kind.name(), at.map(rounded));
        row.push(format!(
            "{}",
            u64::from(3 * frames).saturating_sub(took.len())
        ));
        rows.push(row);
        lines.push((kind.name().to_owned(), at.map(Some).to_vec()));
    }
    let names = QUANTILES.map(|(name, _)| name.to_owned());
    let mut heads = head("", names.clone());
    heads.push("frames lost".into());
    let plot = (rate == 1000).then(|| Plot {
        file: match load {
            "idle" => "latency-idle.svg",
            _ => "latency-burning.svg",
        },
        title: match load {
            "idle" => "Publish to consumer, 1,000 frames/s, idle",
            _ => "Publish to consumer, 1,000 frames/s, both cores burning",
        },
        across: "quantile",
        up: "µs",
        places: names.to_vec(),
        lines,
    });
    Section {
        title: format!("Latency, {rate} frames/s, {load}"),
        text: format!(
            "From just before the publish until each of three waiting consumers has the frame, µs, over {} \
             frames. The publisher sleeps between two.",
            3 * frames
        ),
        head: heads,
        rows,
        plot,
    }
}

/// How many of 120 frames a source sends that has four buffers.
fn from_pool(kind: Kind) -> (u32, usize) {
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(None, 4096, 0, 4);
    pool.set_config(config).expect("a pool of four");
    pool.set_active(true).expect("active");
    let gate = Arc::new(Gate::default());
    gate.stick(1);
    let mut fan = Fan::start(kind, &Stream::raw());
    let fast = Arc::new(AtomicUsize::new(0));
    let (own, counts) = (gate.clone(), fast.clone());
    fan.add(move |_frame| own.pass(0));
    fan.add(move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
    });
    let params = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
    let mut sent = 0;
    'sending: while sent < 120 {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut buffer = loop {
            if let Ok(buffer) = pool.acquire_buffer(Some(&params)) {
                break buffer;
            }
            if Instant::now() > deadline {
                break 'sending;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let own = buffer.get_mut().expect("new");
        own.set_pts(gst::ClockTime::from_mseconds(33 * u64::from(sent)));
        fan.publish(buffer);
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    let fast = fast.load(Ordering::SeqCst);
    gate.stick(0);
    fan.stop();
    let _ = pool.set_active(false);
    (sent, fast)
}

pub(crate) fn pool() -> Section {
    let rows = ALL.into_iter().map(|kind| {
        let (sent, fast) = from_pool(kind);
        head(kind.name(), [sent.to_string(), fast.to_string()])
    });
    Section {
        title: "A source with a pool of four".into(),
        text: "One consumer is stuck, another one takes at once. Of 120 frames, so many could the source send \
               before it was without a buffer for two seconds; depth 4 everywhere."
            .into(),
        head: ["", "sent", "the fast consumer got"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
        plot: None,
    }
}

/// The most distinct frames that are alive while the consumers get stuck one after the other.
fn alive(kind: Kind, consumers: usize) -> Option<f64> {
    let alive = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Gate::default());
    let fan = gated(kind, consumers, &gate);
    let mut most = 0;
    let mut all_stuck = true;
    for step in 1..=consumers {
        gate.stick(step);
        for number in 0..24 {
            let mut buffer = counted(&alive, vec![0; 16]);
            let own = buffer.get_mut().expect("new");
            own.set_pts(gst::ClockTime::from_mseconds((step * 24 + number) as u64));
            fan.publish(buffer);
            all_stuck &= number < 8 || gate.wait_stuck(step, PATIENCE);
            most = most.max(alive.load(Ordering::SeqCst));
        }
    }
    gate.stick(0);
    fan.stop();
    all_stuck.then_some(most as f64)
}

pub(crate) fn memory() -> Section {
    const COUNTS: [usize; 5] = [1, 3, 8, 16, 32];
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for kind in ALL {
        let values: Vec<_> = COUNTS.iter().map(|count| alive(kind, *count)).collect();
        let cells = values
            .iter()
            .map(|value| value.map_or("–".into(), |value| format!("{value:.0}")));
        rows.push(head(kind.name(), cells));
        lines.push((kind.name().to_owned(), values));
    }
    Section {
        title: "Memory over consumers".into(),
        text: "Distinct frames alive at once, at most, while the consumers get stuck one after the other, each \
               with another frame, and all queues are full. Times the size of a frame, 1.4 MB at 720p, that \
               is the memory."
            .into(),
        head: head("stuck consumers", numbers(&COUNTS)),
        rows,
        plot: Some(Plot {
            file: "memory.svg",
            title: "Frames alive over stuck consumers",
            across: "stuck consumers",
            up: "frames",
            places: numbers(&COUNTS),
            lines,
        }),
    }
}
