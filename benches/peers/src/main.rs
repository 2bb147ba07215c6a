// SPDX-License-Identifier: MPL-2.0
//! From just before the publish until a receiver in this process has the frame: dronetee's
//! `FrameReceiver` beside what an application would otherwise use.
//!
//! Three receivers wait, each in a thread of its own (or as a task on a tokio runtime of two
//! workers, where the peer can do that), with the same payload. All contenders take turns in one
//! run. `peers [rate frames rounds] [name…]` measures another rate than the usual
//! two, or only some contenders.

mod contenders;
#[path = "../../../tests/it/common/ends.rs"]
mod ends;

use std::time::{Duration, Instant};

use contenders::{ALL, Contender, Histogram};
use ends::nanos;

/// What the others are compared with: the goal is half of it.
const STREAM_PRODUCER: &str = "StreamProducer";

/// The first frames find cold caches; their stamps are their numbers, and no consumer notes them.
const WARM_UP: u64 = 10;

fn main() {
    gst::init().expect("GStreamer");
    gstdronetee::plugin_register_static().expect("dronetee");
    let args: Vec<_> = std::env::args().skip(1).collect();
    let numbers: Vec<u32> = args.iter().map_while(|arg| arg.parse().ok()).collect();
    let names = &args[numbers.len()..];
    let named = |c: &Contender| names.is_empty() || names.iter().any(|n| c.name.contains(n));
    let contenders: Vec<_> = ALL.iter().filter(|c| named(c)).collect();
    match numbers[..] {
        [] => {
            measure(&contenders, 1000, 500, 21);
            measure(&contenders, 30, 60, 9);
        }
        [rate, frames, rounds] => measure(&contenders, rate, frames, rounds),
        _ => panic!("rate frames rounds"),
    }
}

/// p50 and p99 of each round, µs.
#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure(contenders: &[&Contender], rate: u32, frames: u32, rounds: u32) {
    let mut figures: Vec<_> = contenders.iter().map(|_| Figures::default()).collect();
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            // No contender always comes after a certain other one.
            let index = (round as usize + turn) % contenders.len();
            let histogram = one(contenders[index], rate, frames);
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            figures[index].p50.push(at(0.5));
            figures[index].p99.push(at(0.99));
        }
    }
    print(contenders, rate, rounds, figures);
}

fn one(contender: &Contender, rate: u32, frames: u32) -> Histogram {
    let (publish, finish) = (contender.start)();
    // The receivers wait, not merely start.
    std::thread::sleep(Duration::from_millis(50));
    let period = Duration::from_secs(1) / rate;
    let begin = Instant::now();
    for n in 0..WARM_UP as u32 + frames {
        let due = begin + period * n;
        if rate < 1000 {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        // Awake, as a decoder at work: a core that slept would be what is measured.
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let warm = u64::from(n) >= WARM_UP;
        publish(if warm { nanos() } else { u64::from(n) + 1 });
    }
    std::thread::sleep(Duration::from_millis(50));
    drop(publish);
    let histogram = finish();
    let expected = u64::from(frames) * contenders::RECEIVERS as u64;
    if histogram.len() != expected {
        eprintln!(
            "{}: {} of {expected} frames were received",
            contender.name,
            histogram.len()
        );
    }
    histogram
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(contenders: &[&Contender], rate: u32, rounds: u32, figures: Vec<Figures>) {
    let rows: Vec<_> = contenders
        .iter()
        .zip(figures)
        .map(|(contender, mut f)| (contender, [median(&mut f.p50), median(&mut f.p99)]))
        .collect();
    let peers = || rows.iter().filter(|(contender, _)| !contender.own);
    let best = [0, 1].map(|i| peers().map(|(_, f)| f[i]).fold(f64::MAX, f64::min));
    let producer = rows.iter().find(|(c, _)| c.name == STREAM_PRODUCER);
    let producer = producer.map_or([f64::NAN; 2], |(_, f)| *f);
    println!("publish to receiver, {rate} frames/s, µs (median of {rounds} rounds)");
    println!(
        "{:<34} {:>8} {:>8}  {:>13}  {:>13}",
        "", "p50", "p99", "of best peer", "of Str.Prod."
    );
    for (contender, figures) in rows {
        let ratio = |to: [f64; 2]| format!("{:.2} {:.2}", figures[0] / to[0], figures[1] / to[1]);
        println!(
            "{:<34} {:>8.1} {:>8.1}  {:>13}  {:>13}",
            format!("{}, {}", contender.name, contender.how),
            figures[0],
            figures[1],
            ratio(best),
            ratio(producer)
        );
    }
}
