// SPDX-License-Identifier: MPL-2.0
//! Random pipelines around `dronetee`, and random operations on them.
//!
//! `cargo test --test stress -- [--seed N] [--seconds N] [--rounds N] [--verbose]`
//!
//! Each round has a seed of its own, the next number: the seed that a fault prints is repeated by
//! `--seed N --rounds 1`. One thread draws and does all operations; the threads of the streams are free,
//! so a fault of timing may take more than one try.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod branches;
mod checks;
mod fault;
mod handler;
mod ledger;
mod ops;
mod receiver;
mod rng;
mod sink;
mod source;
mod stream;
mod witness;
mod world;

use std::time::{Duration, Instant};

use gst::prelude::*;

use fault::{begin, note, note_step, wait_until, watch};
use world::{Feed, World};

struct Options {
    seed: u64,
    time: Duration,
    rounds: u64,
}

/// None if another test is asked for.
fn options() -> Option<Options> {
    let mut options = Options {
        seed: 1,
        time: Duration::from_secs(20),
        rounds: u64::MAX,
    };
    let mut arguments = std::env::args().skip(1);
    let mut is_asked_for = true;
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let next = arguments.next();
            next.and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--seed" => options.seed = number(),
            "--seconds" => options.time = Duration::from_secs(number()),
            "--rounds" => {
                options.rounds = number();
                options.time = Duration::MAX;
            }
            "--verbose" => fault::set_verbose(true),
            "--list" => return None,
            // What cargo passes on to every test.
            flag if flag.starts_with('-') => {}
            name => is_asked_for = "stress".contains(name),
        }
    }
    is_asked_for.then_some(options)
}

fn main() {
    let Some(options) = options() else { return };
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    fault::catch_log();
    fault::start_watchdog();
    let (start, mut steps) = (Instant::now(), 0);
    let mut rounds = 0;
    while rounds < options.rounds && start.elapsed() < options.time {
        steps += round(options.seed + rounds);
        rounds += 1;
    }
    // There is none without a splitmuxsink.
    let _ = std::fs::remove_dir_all(sink::recordings());
    println!(
        "stress: seed {}, {rounds} rounds, {steps} operations, {} frames checked in {:.1} s, no fault",
        options.seed,
        witness::ARRIVED.load(std::sync::atomic::Ordering::Relaxed),
        start.elapsed().as_secs_f64()
    );
}

/// One pipeline's life; returns how many operations it had.
fn round(seed: u64) -> u64 {
    begin(seed);
    note(format!("round of seed {seed}"));
    let mut world = World::new(seed);
    let steps = 40 + world.rng.below(160) as u64;
    for step in 1..=steps {
        note_step(step);
        ops::step(&mut world);
    }
    finish(world);
    steps
}

/// Stops all; nothing may be left.
fn finish(mut world: World) {
    note("the end");
    world.unblock();
    world.unstick(true);
    world.join_calls();
    for receiver in std::mem::take(&mut world.receivers) {
        let tee = world.tees[receiver.tee].element.clone();
        receiver.stop(&tee);
    }
    for tee in &world.tees {
        tee.handler.errands.lock().unwrap().clear();
    }
    watch("stop the pipeline", || {
        world.pipeline.set_state(gst::State::Null)
    })
    .ok();
    let weak: Vec<_> = world
        .tees
        .iter()
        .map(|tee| tee.element.downgrade())
        .collect();
    let pads: Vec<_> = world
        .consumers
        .iter()
        .map(|one| one.pad.downgrade())
        .collect();
    let linked = world
        .consumers
        .iter_mut()
        .filter_map(|one| one.branch.take());
    let linked: Vec<_> = linked.collect();
    world.consumers.clear();
    let leaving = world.leaving.drain(..).map(|(_, branch)| branch);
    let branches: Vec<_> = linked.into_iter().chain(leaving).collect();
    for branch in branches.into_iter().chain(world.orphans.drain(..)) {
        branch.dispose(&world.pipeline);
    }
    for tee in world.tees.drain(..) {
        if let Feed::Own(source) = tee.feed {
            source.stop();
        }
    }
    world.pipeline.bus().unwrap().unset_sync_handler();
    drop(world);
    let what = || {
        let kept = weak.iter().filter_map(|tee| tee.upgrade());
        let kept = kept.map(|tee| format!("{} ({})", tee.name(), tee.ref_count()));
        let pads = pads.iter().filter_map(|pad| pad.upgrade());
        let pads = pads.map(|pad| format!("{} ({})", pad.name(), pad.ref_count()));
        format!("nothing kept: {:?}", kept.chain(pads).collect::<Vec<_>>())
    };
    wait_until(what, || {
        weak.iter().all(|tee| tee.upgrade().is_none())
            && pads.iter().all(|pad| pad.upgrade().is_none())
    });
    wait_until(
        || format!("threads ended: {:?}", threads()),
        || threads().is_empty(),
    );
}

/// The threads that are `dronetee`'s own.
fn threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let names = tasks.flatten().filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some(name.trim().to_owned())
    });
    names.filter(|name| name.starts_with("dronetee")).collect()
}
