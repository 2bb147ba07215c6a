// SPDX-License-Identifier: MPL-2.0
//! Whether the machine itself stood still during a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Half of what the default depth bridges at 30 frames a second: the watch sees only a part of
/// what the machine withholds from the threads of the test.
const STALL: Duration = Duration::from_millis(4 * 1000 / 30 / 2);
const TICK: Duration = Duration::from_millis(5);
/// As many as the test has threads that must not be late: a source and three consumers.
const THREADS: usize = 4;
const ATTEMPTS: usize = 4;

/// Threads that have nothing to do with what is tested and note how late they wake.
struct Watch {
    stop: Arc<AtomicBool>,
    worst: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    fn start() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let worst = Arc::<AtomicU64>::default();
        let tick = |(stop, worst): (Arc<AtomicBool>, Arc<AtomicU64>)| {
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(TICK);
                let late = begin.elapsed().saturating_sub(TICK);
                worst.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
            }
        };
        let threads = (0..THREADS).map(|_| {
            let shared = (stop.clone(), worst.clone());
            std::thread::spawn(move || tick(shared))
        });
        Self {
            threads: threads.collect(),
            stop,
            worst,
        }
    }

    fn worst(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }
}

/// Passes once `run` does. One that fails is repeated only if the machine was measured to have
/// stood still meanwhile, so long that a consumer could not have been in time.
#[track_caller]
pub(crate) fn unless_stalled(run: impl Fn() -> Result<(), String>) {
    for attempt in 1..=ATTEMPTS {
        let watch = Watch::start();
        let result = run();
        let worst = watch.worst();
        let Err(error) = result else { return };
        assert!(
            worst >= STALL && attempt < ATTEMPTS,
            "{error}; the machine was late by {worst:?} at most"
        );
        eprintln!("{error}, but the machine was late by {worst:?}: once more");
    }
}
