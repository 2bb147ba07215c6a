// SPDX-License-Identifier: MPL-2.0
//! Pixels are never copied, and frames do not pile up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::accounts::{attach, count, random};
use crate::common::{Consumer, Rig, frame, wait_for};
use gst::prelude::*;

/// Where the pixels of a frame lie.
fn address(buffer: &gst::BufferRef) -> Vec<usize> {
    let memories = buffer.iter_memories();
    memories.map(|memory| memory.as_ptr() as usize).collect()
}

fn is_discont(frame: &gst::Buffer) -> bool {
    frame.flags().contains(gst::BufferFlags::DISCONT)
}

/// The numbers of the frames that carry DISCONT.
fn disconts(consumer: &Consumer) -> Vec<u64> {
    let frames = consumer.frames();
    let flagged = frames.iter().filter(|frame| is_discont(frame));
    flagged.map(|frame| frame.offset()).collect()
}

/// The numbers of the frames before which something is missing, from the first one on.
fn after_gaps(consumer: &Consumer) -> Vec<u64> {
    let offsets = consumer.offsets();
    let mut expected = 0;
    let mut found = Vec::new();
    for offset in offsets {
        if offset != expected {
            found.push(offset);
        }
        expected = offset + 1;
    }
    found
}

#[test]
fn all_consumers_get_upstreams_memory_also_after_losses() {
    let rig = Rig::started();
    let consumers = ["a", "b", "c"].map(|name| rig.consumer(name));
    consumers[2].pad.set_property("depth", 64u32);
    let mut sent = HashMap::new();
    // Upstream keeps some frames itself.
    let mut kept = Vec::new();
    for n in 0..400 {
        let buffer = if n % 3 == 0 {
            // Of several memories.
            let mut buffer = frame(n);
            let own = buffer.get_mut().unwrap();
            own.append_memory(gst::Memory::from_slice([n as u8; 8]));
            buffer
        } else {
            frame(n)
        };
        sent.insert(n, (address(&buffer), buffer.pts()));
        if n % 5 == 0 {
            kept.push(buffer.clone());
        }
        rig.src.push(buffer).unwrap();
        for consumer in &consumers[..2] {
            match random(12) {
                0 => consumer.stick(),
                1 => consumer.unstick(),
                2 => std::thread::yield_now(),
                _ => {}
            }
        }
        wait_for("room", || consumers[2].level() < 64);
    }
    for consumer in &consumers {
        consumer.unstick();
        consumer.wait_idle();
        for frame in consumer.frames() {
            let (memory, pts) = &sent[&frame.offset()];
            assert_eq!((&address(&frame), &frame.pts()), (memory, pts));
        }
        assert_eq!(disconts(consumer), after_gaps(consumer));
    }
    assert!(!disconts(&consumers[0]).is_empty());
    assert_eq!(consumers[2].offsets(), (0..400).collect::<Vec<_>>());
    // What upstream kept is as it was.
    assert!(!kept.iter().any(is_discont));
}

#[test]
fn discont_comes_after_a_loss_and_only_then() {
    let rig = Rig::started();
    let (slow, fast) = (rig.consumer("slow"), rig.consumer("fast"));
    fast.pad.set_property("depth", 100u32);
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    rig.push_all(1..10);
    slow.unstick();
    slow.wait_idle();
    rig.push_all(10..12);
    slow.wait_idle();
    fast.wait_idle();
    assert_eq!(slow.offsets(), [0, 6, 7, 8, 9, 10, 11]);
    assert_eq!(disconts(&slow), [6]);
    assert_eq!(disconts(&fast), [0; 0]);
    // A push that failed is a loss too.
    slow.answer(Some(gst::FlowError::Flushing));
    rig.push(12).unwrap();
    slow.wait_idle();
    slow.answer(None);
    rig.push_all(13..15);
    slow.wait_idle();
    fast.wait_idle();
    assert_eq!(disconts(&slow), [6, 13]);
    // Upstream's own is for everybody.
    let mut buffer = frame(15);
    buffer
        .get_mut()
        .unwrap()
        .set_flags(gst::BufferFlags::DISCONT);
    rig.src.push(buffer).unwrap();
    slow.wait_idle();
    fast.wait_idle();
    assert_eq!(disconts(&slow), [6, 13, 15]);
    assert_eq!(disconts(&fast), [15]);
}

#[test]
fn memory_that_can_not_be_shared_is_passed_on_unflagged() {
    let rig = Rig::started();
    let consumers = [rig.consumer("a"), rig.consumer("b")];
    for consumer in &consumers {
        consumer.stick();
    }
    let params = gst::AllocationParams::new(gst::MemoryFlags::NO_SHARE, 0, 0, 0);
    let mut sent = Vec::new();
    for n in 0..10 {
        let memory = gst::Allocator::find(None).unwrap();
        let memory = memory.alloc(16, Some(&params)).unwrap();
        assert!(memory.flags().contains(gst::MemoryFlags::NO_SHARE));
        let mut buffer = gst::Buffer::new();
        let own = buffer.get_mut().unwrap();
        own.set_offset(n);
        own.append_memory(memory);
        sent.push(buffer.clone());
        rig.src.push(buffer).unwrap();
        for consumer in &consumers {
            consumer.wait_in_flight();
        }
    }
    for consumer in &consumers {
        consumer.unstick();
        consumer.wait_idle();
        assert_eq!(consumer.offsets(), [0, 6, 7, 8, 9]);
        for frame in consumer.frames() {
            // The very buffer.
            assert_eq!(frame.as_ptr(), sent[frame.offset() as usize].as_ptr());
        }
        assert_eq!(disconts(consumer), [0; 0]);
    }
}

/// Pixels that count how many of them are alive.
struct Pixels(Arc<AtomicI64>, [u8; 16]);

impl Pixels {
    fn buffer(alive: &Arc<AtomicI64>, n: u64) -> gst::Buffer {
        alive.fetch_add(1, Ordering::SeqCst);
        let mut buffer = gst::Buffer::from_slice(Self(alive.clone(), [0; 16]));
        buffer.get_mut().unwrap().set_offset(n);
        buffer
    }
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Branches that hold the frame that they have while the gate is shut, and keep nothing.
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn attach(&self, rig: &Rig, name: &str) -> gst::Pad {
        let shut = self.0.clone();
        attach(rig, name, move |buffer| {
            while shut.load(Ordering::SeqCst) {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
            drop(buffer);
            Ok(gst::FlowSuccess::Ok)
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn no_more_frames_live_than_the_deepest_queue_and_one_a_branch() {
    let rig = Rig::started();
    let gate = Gate(Arc::new(AtomicBool::new(true)));
    let alive = Arc::<AtomicI64>::default();
    let pads: Vec<_> = (0..16)
        .map(|n| gate.attach(&rig, &format!("b{n}")))
        .collect();
    pads[3].set_property("depth", 7u32);
    pads[5].set_property("depth", 1u32);
    let most = 7 + 16 + 1;
    for n in 0..500 {
        rig.src.push(Pixels::buffer(&alive, n)).unwrap();
        assert!(alive.load(Ordering::SeqCst) <= most);
        if n % 10 == 0 {
            // A branch that got none yet gets one: all hold another frame in the end.
            let next = &pads[(n / 10) as usize % 16];
            wait_for("a frame in flight", || count(next, "in-flight") == 1);
        }
    }
    // All stuck, all queues full.
    assert!(alive.load(Ordering::SeqCst) >= 8);
    // And with branches that come and go.
    gate.0.store(false, Ordering::SeqCst);
    for n in 500..3_000 {
        rig.src.push(Pixels::buffer(&alive, n)).unwrap();
        gate.0.store(random(4) == 0, Ordering::SeqCst);
        assert!(alive.load(Ordering::SeqCst) <= most);
    }
    gate.0.store(false, Ordering::SeqCst);
    wait_for("all of them to be freed", || {
        alive.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn frames_of_a_released_or_stopped_consumer_are_freed() {
    let rig = Rig::started();
    let gate = Gate(Arc::new(AtomicBool::new(true)));
    let alive = Arc::<AtomicI64>::default();
    let (one, other) = (gate.attach(&rig, "one"), gate.attach(&rig, "other"));
    other.set_property("depth", 64u32);
    for n in 0..40 {
        rig.src.push(Pixels::buffer(&alive, n)).unwrap();
        for pad in [&one, &other] {
            wait_for("a frame in flight", || count(pad, "in-flight") == 1);
        }
    }
    assert_eq!(alive.load(Ordering::SeqCst), 40);
    rig.tee.release_request_pad(&other);
    // Four wait for the one, and both have the first.
    assert_eq!(alive.load(Ordering::SeqCst), 5);
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    gate.0.store(false, Ordering::SeqCst);
    wait_for("the last", || alive.load(Ordering::SeqCst) == 0);
}

#[test]
fn buffers_return_to_their_pool() {
    const MAX: u32 = 4 + 3 + 1;
    let rig = Rig::started();
    let gates: Vec<_> = (0..3).map(|_| Gate(Arc::default())).collect();
    let addresses = Arc::<Mutex<HashMap<u64, Vec<usize>>>>::default();
    let wrong = Arc::<AtomicI64>::default();
    let mut pads = Vec::new();
    for (n, gate) in gates.iter().enumerate() {
        let pad = gate.attach(&rig, &format!("b{n}"));
        let (addresses, wrong) = (addresses.clone(), wrong.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data
                && addresses.lock().unwrap()[&buffer.offset()] != address(buffer)
            {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
            gst::PadProbeReturn::Ok
        });
        pads.push(pad);
    }
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&crate::common::caps(8)), 16, 0, MAX);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    let at_once = gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
    for n in 0..2_000 {
        for gate in &gates {
            gate.0.store(random(3) > 0, Ordering::SeqCst);
        }
        // The pool never runs dry, however many consumers are stuck with full queues.
        let mut buffer = pool.acquire_buffer(Some(&at_once)).unwrap();
        addresses.lock().unwrap().insert(n, address(&buffer));
        buffer.get_mut().unwrap().set_offset(n);
        rig.src.push(buffer).unwrap();
    }
    for gate in &gates {
        gate.0.store(false, Ordering::SeqCst);
    }
    for pad in &pads {
        wait_for("an empty queue", || {
            count(pad, "out") + count(pad, "dropped") == 2_000
        });
        assert!(count(pad, "dropped-slow") > 0);
    }
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
    let mut back = Vec::new();
    wait_for("all of them to be back", || {
        back.extend(pool.acquire_buffer(Some(&at_once)));
        back.len() == MAX as usize
    });
    drop(back);
    pool.set_active(false).unwrap();
}
