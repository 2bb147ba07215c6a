// SPDX-License-Identifier: MPL-2.0
//! Pixels are never copied, and live no longer than somebody needs them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Rig;
use gst::prelude::*;

/// Pixels that know how many of them are alive.
struct Pixels(Arc<AtomicUsize>);

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        &[0; 16]
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn pixels(alive: &Arc<AtomicUsize>, n: u64) -> gst::Buffer {
    alive.fetch_add(1, Ordering::SeqCst);
    let mut buffer = gst::Buffer::from_slice(Pixels(alive.clone()));
    buffer.get_mut().unwrap().set_offset(n);
    buffer
}

fn memory(buffer: &gst::Buffer) -> usize {
    buffer.peek_memory(0).as_ptr() as usize
}

#[test]
fn all_consumers_get_the_same_memory_also_after_a_loss() {
    let rig = Rig::started();
    let consumers = ["a", "b", "c"].map(|name| rig.consumer(name));
    consumers[0].stick();
    let mut upstream = Vec::new();
    for n in 0..50 {
        let buffer = common::frame(n);
        upstream.push(memory(&buffer));
        rig.src.push(buffer).unwrap();
        consumers[1].wait_idle();
        consumers[2].wait_idle();
    }
    consumers[0].unstick();
    consumers[0].wait_idle();
    for consumer in &consumers {
        for frame in consumer.frames() {
            assert_eq!(memory(&frame), upstream[frame.offset() as usize]);
        }
    }
    let slow = consumers[0].frames();
    let discont: Vec<_> = slow
        .iter()
        .filter(|frame| frame.flags().contains(gst::BufferFlags::DISCONT))
        .map(|frame| frame.offset())
        .collect();
    assert_eq!(discont, [46], "the first after the loss, and only that");
    assert!(
        consumers[1]
            .frames()
            .iter()
            .all(|f| !f.flags().contains(gst::BufferFlags::DISCONT))
    );
}

#[test]
fn memory_that_can_not_be_shared_is_passed_on_unflagged() {
    let rig = Rig::started();
    let (slow, other) = (rig.consumer("slow"), rig.consumer("other"));
    slow.stick();
    let mut upstream = Vec::new();
    for n in 0..10 {
        let params = gst::AllocationParams::new(gst::MemoryFlags::NO_SHARE, 0, 0, 0);
        let allocator = gst::Allocator::find(None).unwrap();
        let memory = allocator.alloc(16, Some(&params)).unwrap();
        upstream.push(memory.as_ptr() as usize);
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        buffer.get_mut().unwrap().set_offset(n);
        rig.src.push(buffer).unwrap();
        if n == 0 {
            slow.wait_in_flight();
        }
        other.wait_idle();
    }
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 6, 7, 8, 9]);
    for frame in slow.frames() {
        assert_eq!(memory(&frame), upstream[frame.offset() as usize]);
        assert!(!frame.flags().contains(gst::BufferFlags::DISCONT));
    }
}

#[test]
fn no_more_frames_live_than_the_deepest_queue_and_one_a_branch() {
    for branches in [1, 3, 8, 16] {
        let rig = Rig::started();
        let alive = Arc::new(AtomicUsize::new(0));
        let consumers: Vec<_> = (0..branches)
            .map(|n| rig.consumer(&format!("c{n}")))
            .collect();
        let mut n = 0;
        let mut publish = || {
            rig.src.push(pixels(&alive, n)).unwrap();
            n += 1;
            alive.load(Ordering::SeqCst)
        };
        let mut most = 0;
        for consumer in &consumers {
            consumer.record.forgetful.store(true, Ordering::Relaxed);
        }
        for consumer in &consumers {
            consumer.stick();
            publish();
            consumer.wait_in_flight();
            for _ in 0..10 {
                most = most.max(publish());
            }
        }
        assert!(most <= 4 + branches + 1, "{most} alive with {branches}");
        for consumer in &consumers {
            consumer.unstick();
        }
        for consumer in &consumers {
            consumer.wait_idle();
        }
        common::wait_for("all to be freed", || alive.load(Ordering::SeqCst) == 0);
    }
}
