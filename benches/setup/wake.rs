// SPDX-License-Identifier: MPL-2.0
//! The floor: a time in an atomic and three threads unparked, which is what the kernel takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};

use hdrhistogram::Histogram;

const END: u64 = u64::MAX;

pub(crate) struct WakeUps {
    latest: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Histogram<u64>>>,
}

impl WakeUps {
    pub(crate) fn new(threads: usize) -> Self {
        let latest = Arc::new(AtomicU64::new(0));
        let threads = (0..threads).map(|_| {
            let latest = latest.clone();
            std::thread::spawn(move || wait(&latest))
        });
        let threads = threads.collect();
        Self { latest, threads }
    }

    pub(crate) fn publish(&self, stamp: u64) {
        self.latest.store(stamp, Ordering::Release);
        self.threads
            .iter()
            .map(JoinHandle::thread)
            .for_each(Thread::unpark);
    }

    pub(crate) fn finish(self) -> Histogram<u64> {
        self.publish(END);
        let mut all = super::histogram();
        for thread in self.threads {
            all.add(thread.join().unwrap()).unwrap();
        }
        all
    }
}

fn wait(latest: &AtomicU64) -> Histogram<u64> {
    let mut took = super::histogram();
    let mut seen = 0;
    loop {
        match latest.load(Ordering::Acquire) {
            END => return took,
            stamp if stamp == seen => std::thread::park(),
            stamp => {
                took.saturating_record(crate::ends::nanos() - stamp);
                seen = stamp;
            }
        }
    }
}
