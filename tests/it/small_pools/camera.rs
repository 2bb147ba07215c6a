// SPDX-License-Identifier: MPL-2.0
//! A source that measures for how long it waits for its buffers.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::accounts::{count, pad_stats, work_for};
use crate::common::{DEADLINE, Rig, wait_for};

pub(super) const FRAME: Duration = Duration::from_millis(33);

/// Buffers that nothing tells of: only that one is freed lets the source go on.
#[derive(Clone, Default)]
pub(super) struct Free(Arc<(Mutex<u64>, Condvar)>);

/// The memory of such a buffer.
pub(super) struct Guarded(Free);

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        &[0; 16]
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        *self.0.0.0.lock().unwrap() += 1;
        self.0.0.1.notify_all();
    }
}

pub(super) enum Buffers {
    Pool(gst::BufferPool),
    /// Parts of a pool's buffers, which are freed with them.
    Parts(gst::BufferPool),
    /// The same, without a word on where they come from.
    Shared(gst::BufferPool),
    Secret(Free),
}

impl Buffers {
    pub(super) fn secret(count: u64) -> Self {
        let free = Free::default();
        *free.0.0.lock().unwrap() = count;
        Self::Secret(free)
    }

    /// The next buffer, as soon as there is one.
    #[track_caller]
    fn next(&self) -> gst::Buffer {
        match self {
            Self::Pool(pool) => acquire(pool),
            Self::Parts(pool) => {
                let whole = acquire(pool);
                let mut part = part_of(&whole);
                gst::ParentBufferMeta::add(part.get_mut().unwrap(), &whole);
                part
            }
            Self::Shared(pool) => part_of(&acquire(pool)),
            Self::Secret(free) => {
                let (count, changed) = &*free.0;
                let count = count.lock().unwrap();
                let none = |count: &mut u64| *count == 0;
                let (mut count, timeout) =
                    changed.wait_timeout_while(count, DEADLINE, none).unwrap();
                assert!(!timeout.timed_out(), "no buffer");
                *count -= 1;
                gst::Buffer::from_slice(Guarded(free.clone()))
            }
        }
    }
}

#[track_caller]
fn acquire(pool: &gst::BufferPool) -> gst::Buffer {
    let mut buffer = None;
    let flags = gst::BufferPoolAcquireFlags::DONTWAIT;
    let params = gst::BufferPoolAcquireParams::with_flags(flags);
    wait_for("a buffer", || {
        buffer = pool.acquire_buffer(Some(&params)).ok();
        buffer.is_some()
    });
    buffer.unwrap()
}

fn part_of(whole: &gst::Buffer) -> gst::Buffer {
    whole
        .copy_region(gst::BufferCopyFlags::MEMORY, 0..8)
        .unwrap()
}

pub(super) fn pool(buffers: u32) -> gst::BufferPool {
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(None, 16, buffers.min(4), buffers);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    pool
}

/// A source of 30 frames a second that measures for how long it waits for its buffers.
pub(super) struct Camera<'a> {
    rig: &'a Rig,
    pub(super) buffers: Buffers,
    next: u64,
    pub(super) waits: Vec<Duration>,
    pub(super) delta: bool,
}

impl<'a> Camera<'a> {
    pub(super) fn new(rig: &'a Rig, buffers: Buffers) -> Self {
        Self {
            rig,
            buffers,
            next: 0,
            waits: Vec::new(),
            delta: false,
        }
    }

    /// Pushes a frame as soon as there is a buffer for it.
    #[track_caller]
    pub(super) fn push(&mut self) {
        let begin = Instant::now();
        let mut buffer = self.buffers.next();
        self.waits.push(begin.elapsed());
        let own = buffer.get_mut().unwrap();
        own.set_pts(gst::ClockTime::SECOND.mul_div_floor(self.next, 30).unwrap());
        own.set_offset(self.next);
        if self.delta {
            own.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        self.next += 1;
        self.rig.src.push(buffer).unwrap();
    }

    /// Pushes frames that `FRAME` lies between, no sooner than those that keep up have the one before.
    #[track_caller]
    pub(super) fn run(&mut self, frames: u64, keep_up: &[&gst::Pad]) {
        for _ in 0..frames {
            let next = Instant::now() + FRAME;
            self.push();
            work_for(next.saturating_duration_since(Instant::now()));
            for pad in keep_up {
                let is_done = || count(pad, "out") + count(pad, "dropped") == count(pad, "in");
                wait_for("who keeps up", is_done);
                assert_eq!(count(pad, "dropped"), 0, "{}", pad_stats(pad));
            }
        }
    }

    /// No stop was long, and all together were not.
    #[track_caller]
    pub(super) fn assert_short_stops(&self) {
        let stops = self.stops();
        println!("stops: {stops:?}");
        assert!(self.longest() < Duration::from_millis(500), "{stops:?}");
        assert!(stops.iter().sum::<Duration>() < Duration::from_secs(1));
    }

    pub(super) fn longest(&self) -> Duration {
        self.waits.iter().copied().max().unwrap_or_default()
    }

    /// How often it had to wait, which it does not for the time that a lock takes.
    pub(super) fn stops(&self) -> Vec<Duration> {
        let mut waits = self.waits.clone();
        waits.retain(|wait| *wait > Duration::from_millis(30));
        waits
    }
}
