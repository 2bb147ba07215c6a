// SPDX-License-Identifier: MPL-2.0
//! The core and the reporter, the files of the plugin itself, in many orders of their threads' steps.
//!
//! `cargo run -- [--seconds N] [--seed N] [--replay SCHEDULE] [SCENE]…`
//!
//! Each scene runs for its share of the time, half of it with threads drawn at random and half with
//! priorities that change at a few moments (PCT). A fault prints a schedule that repeats it. A scheduler
//! that finds all threads waiting calls it a deadlock: that is how a lost wake-up shows.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/facts/mod.rs"]
mod facts;
#[path = "../../../src/fanout/mod.rs"]
mod fanout;
#[path = "../../../src/park.rs"]
mod park;
mod sync;
mod tee;

use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use tee::scenes::{SCENES, Scene};

/// Schedules of one seed.
const BATCH: usize = 500;

struct Options {
    time: Duration,
    seed: u64,
    schedule: Option<String>,
    scenes: Vec<&'static Scene>,
}

fn options() -> Options {
    let mut options = Options {
        time: Duration::from_secs(60),
        seed: 1,
        schedule: None,
        scenes: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let next = arguments.next();
            next.unwrap_or_else(|| panic!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--seconds" => options.time = Duration::from_secs(value().parse().expect("seconds")),
            "--seed" => options.seed = value().parse().expect("a number"),
            "--replay" => options.schedule = Some(value()),
            name => {
                let scene = SCENES.iter().find(|scene| scene.name == name);
                options
                    .scenes
                    .push(scene.unwrap_or_else(|| panic!("there is no scene '{name}'")));
            }
        }
    }
    if options.scenes.is_empty() {
        options.scenes = SCENES.iter().collect();
    }
    options
}

fn main() {
    let options = options();
    #[cfg(feature = "threads")]
    return run_threads(&options);
    #[cfg(not(feature = "threads"))]
    search(options);
}

fn search(options: Options) {
    if let Some(schedule) = &options.schedule {
        shuttle::replay(options.scenes[0].run, schedule);
        return;
    }
    let share = options.time / options.scenes.len() as u32;
    for scene in options.scenes {
        let end = Instant::now() + share;
        let (mut seed, mut drawn, mut ordered) = (options.seed, 0, 0);
        while Instant::now() < end {
            drawn += run(RandomScheduler::new_from_seed(seed, BATCH), scene);
            ordered += run(PctScheduler::new_from_seed(seed, 4, BATCH), scene);
            seed += 1;
        }
        println!(
            "interleavings: {}, seeds {} to {}: {drawn} schedules at random, {ordered} by priority, no fault",
            scene.name,
            options.seed,
            seed - 1
        );
    }
}

/// With threads of the system, for tools that watch those.
#[cfg(feature = "threads")]
fn run_threads(options: &Options) {
    let share = options.time / options.scenes.len() as u32;
    for scene in &options.scenes {
        let (end, mut runs) = (Instant::now() + share, 0);
        while Instant::now() < end {
            (scene.run)();
            runs += 1;
        }
        println!(
            "interleavings: {}: {runs} runs with threads, no fault",
            scene.name
        );
    }
}

fn run(scheduler: impl Scheduler + 'static, scene: &Scene) -> usize {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(200_000);
    Runner::new(scheduler, config).run(scene.run)
}
