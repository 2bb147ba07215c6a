// SPDX-License-Identifier: MPL-2.0
//! `dronetee` beside `tee ! queue leaky=downstream`, with the same frames in the same run.
//!
//! `cargo bench --bench fanout -- [stuck|latency|receivers|alive|coded]` measures times;
//! `-- count <tee|dronetee|harness> <consumers> <frames>` only pushes frames past stuck consumers,
//! to be run under callgrind, see `scripts/bench.sh`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod coded;
#[path = "../tests/it/common/ends.rs"]
mod ends;
mod setup;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ends::{counted, nanos, stamped};
use gst::prelude::*;
use hdrhistogram::Histogram;
use setup::{Behaviour, Figures, Kind, Setup, WakeUps};

const KINDS: [Kind; 2] = [Kind::Tee, Kind::DroneTee];
const ROUNDS: usize = 7;

fn main() {
    setup::init();
    let args: Vec<_> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["count", kind, consumers, frames] => count(kind, consumers, frames),
        ["stuck"] => stuck(),
        ["latency"] => latency(),
        ["receivers"] => receivers(),
        ["alive"] => alive(),
        ["coded"] => coded::coded(),
        [] => {
            stuck();
            latency();
            receivers();
            alive();
            coded::coded();
        }
        _ => {
            eprintln!(
                "stuck, latency, receivers, alive, coded, or \
                 count <tee|dronetee|harness> <consumers> <frames>"
            );
            std::process::exit(2);
        }
    }
}

/// Every consumer is stuck with a frame and has a full queue.
fn all_stuck(kind: Kind, consumers: usize) -> Setup {
    let setup = Setup::new(kind, consumers, Behaviour::Stuck);
    for _ in 0..8 {
        setup.publish(stamped(0));
        setup.wait_all_stuck();
    }
    setup
}

fn count(kind: &str, consumers: &str, frames: &str) {
    let kind = match kind {
        "tee" => Kind::Tee,
        "dronetee" => Kind::DroneTee,
        _ => Kind::Harness,
    };
    let setup = all_stuck(kind, consumers.parse().unwrap());
    setup.settle();
    publish_counted(&setup, frames.parse().unwrap());
    // Taking the pipeline down is not measured, and differs.
    std::process::exit(0);
}

/// Its instructions are counted, and no others.
#[inline(never)]
fn publish_counted(setup: &Setup, frames: u64) {
    for _ in 0..frames {
        setup.publish(stamped(0));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Time of a publish when each consumer loses a frame by it.
fn stuck() {
    println!("publish with every consumer stuck, µs (median of {ROUNDS} rounds)");
    println!(
        "{:>10} {:>10} {:>10} {:>8} {:>8}",
        "consumers", "tee", "dronetee", "ratio", "goal"
    );
    for (consumers, goal) in [(3, "0.5"), (16, "0.2"), (64, "")] {
        let setups = KINDS.map(|kind| all_stuck(kind, consumers));
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (setup, times) in setups.iter().zip(&mut times) {
                let frames = 5_000;
                let begin = Instant::now();
                for _ in 0..frames {
                    setup.publish(stamped(0));
                }
                times.push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(frames));
            }
        }
        let [tee, own] = times.map(|mut times| median(&mut times));
        println!(
            "{consumers:>10} {tee:>10.3} {own:>10.3} {:>8.2} {goal:>8}",
            own / tee
        );
    }
}

/// From just before the publish to the consumer's chain function.
fn latency() {
    for (rate, frames, rounds) in [(1000u32, 500, 21), (30, 60, 5)] {
        println!(
            "publish to consumer, three waiting, {rate} frames/s, µs (median of {rounds} rounds)"
        );
        println!(
            "{:>10} {:>10} {:>10} {:>8} {:>8} {:>10} {:>8}",
            "", "tee", "dronetee", "ratio", "goal", "wake-ups", "ratio"
        );
        let mut figures: [Vec<[f64; 2]>; 3] = Default::default();
        for _ in 0..rounds {
            for (contender, figures) in figures.iter_mut().enumerate() {
                let histogram = match KINDS.get(contender) {
                    Some(kind) => one_latency(*kind, rate, frames),
                    None => wake_ups(rate, frames),
                };
                figures.push([0.5, 0.99].map(|q| histogram.value_at_quantile(q) as f64 / 1e3));
            }
        }
        for (index, (name, goal)) in [("p50", "0.6"), ("p99", "1.0")].into_iter().enumerate() {
            let [tee, own, floor] = figures.each_ref().map(|rounds| {
                let mut values: Vec<_> = rounds.iter().map(|round| round[index]).collect();
                median(&mut values)
            });
            println!(
                "{name:>10} {tee:>10.1} {own:>10.1} {:>8.2} {goal:>8} {floor:>10.1} {:>8.2}",
                own / tee,
                floor / tee
            );
        }
    }
}

fn one_latency(kind: Kind, rate: u32, frames: u32) -> Histogram<u64> {
    let figures: Vec<Figures> = (0..3).map(|_| setup::figures()).collect();
    let setup = Setup::new(kind, 3, Behaviour::Measure(figures.clone()));
    publish_paced(rate, frames, |stamp| setup.publish(stamped(stamp)));
    setup.wait_measured(u64::from(frames), &figures);
    drop(setup);
    let mut all = setup::histogram();
    for figures in &figures {
        all.add(&*figures.lock().unwrap()).unwrap();
    }
    all
}

/// What waking three threads takes, with nothing around it.
fn wake_ups(rate: u32, frames: u32) -> Histogram<u64> {
    let wake_ups = WakeUps::new(3);
    publish_paced(rate, frames, |stamp| wake_ups.publish(stamp));
    wake_ups.finish()
}

/// Calls `publish` `frames` times, `rate` a second, each with the time.
fn publish_paced(rate: u32, frames: u32, publish: impl Fn(u64)) {
    let period = Duration::from_secs(1) / rate;
    let begin = Instant::now();
    for n in 0..frames {
        let due = begin + period * n;
        if rate < 1000 {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        // Awake, as a decoder at work: a core that slept would be what is measured.
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        publish(nanos());
    }
}

/// From just before the publish until a `FrameReceiver` has the frame.
fn receivers() {
    const RATE: u32 = 30;
    const FRAMES: u32 = 300;
    let (tee, receivers) = setup::with_receivers(3);
    let threads = receivers.into_iter().map(|mut frames| {
        std::thread::spawn(move || {
            let mut took = Vec::new();
            while let Some(frame) = frames.recv() {
                took.push(nanos() - frame.buffer().offset());
            }
            took
        })
    });
    let threads: Vec<_> = threads.collect();
    let sink = tee.static_pad("sink").unwrap();
    publish_paced(RATE, FRAMES, |stamp| {
        sink.chain(stamped(stamp)).unwrap();
    });
    assert!(sink.send_event(gst::event::Eos::new()));
    let mut histogram = setup::histogram();
    for thread in threads {
        for took in thread.join().unwrap() {
            histogram.saturating_record(took);
        }
    }
    tee.set_state(gst::State::Null).unwrap();
    println!(
        "publish to receiver, three waiting, {RATE} frames/s, µs ({} of {} frames)",
        histogram.len(),
        FRAMES * 3
    );
    println!("{:>10} {:>10} {:>8}", "", "dronetee", "goal");
    for (name, quantile, goal) in [("p50", 0.5, ""), ("p99", 0.99, "5000")] {
        let took = histogram.value_at_quantile(quantile) as f64 / 1e3;
        println!("{name:>10} {took:>10.1} {goal:>8}");
    }
}

/// Distinct frames alive, each branch stuck with another one and all queues full.
fn alive() {
    println!("distinct frames alive, all stuck with different ones");
    println!(
        "{:>10} {:>10} {:>10} {:>8}",
        "consumers", "tee", "dronetee", "goal"
    );
    for consumers in [1, 3, 8, 16] {
        let most = KINDS.map(|kind| {
            let alive = Arc::new(AtomicUsize::new(0));
            let setup = Setup::new(kind, consumers, Behaviour::Staggered);
            let mut most = 0;
            for step in 1..=consumers {
                setup.stick(step);
                for _ in 0..20 {
                    setup.publish(counted(&alive, vec![0; 16]));
                    setup.wait_stuck(step);
                    most = most.max(alive.load(Ordering::SeqCst));
                }
            }
            most
        });
        println!(
            "{consumers:>10} {:>10} {:>10} {:>8}",
            most[0],
            most[1],
            4 + consumers + 1
        );
    }
}
