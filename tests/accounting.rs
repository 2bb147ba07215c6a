// SPDX-License-Identifier: MPL-2.0
//! The accounts: to the frame, at any moment, with a reason for each drop.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Rig, assert_balanced, wait_for};
use gst::prelude::*;

#[test]
fn every_snapshot_balances_while_frames_flow() {
    let rig = Rig::started();
    let consumers: Vec<_> = (0..4).map(|n| rig.consumer(&format!("c{n}"))).collect();
    consumers[1].pad.set_property("depth", 1u32);
    consumers[2].pad.set_property("max-age", 200_000u64);
    for consumer in &consumers {
        consumer.record.forgetful.store(true, Ordering::Relaxed);
    }
    // What probes count is what the accounts must say.
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    consumers[1]
        .pad
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    let done = Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    let src = rig.src.clone();
    let upstream = std::thread::spawn(move || {
        for n in 0..50_000 {
            src.push(common::frame(n)).unwrap();
        }
        finished.store(true, Ordering::Relaxed);
    });
    let mut last = 0;
    while !done.load(Ordering::Relaxed) {
        let stats = rig.tee.property::<gst::Structure>("stats");
        let published = stats.get::<u64>("published").unwrap();
        assert!(published >= last);
        last = published;
        let mut dropped = 0;
        for consumer in stats.get::<gst::Array>("consumers").unwrap().as_slice() {
            let consumer = consumer.get::<gst::Structure>().unwrap();
            assert_balanced(&consumer);
            assert_eq!(consumer.get::<u64>("in").unwrap(), published);
            dropped += consumer.get::<u64>("dropped").unwrap();
        }
        assert_eq!(stats.get::<u64>("dropped").unwrap(), dropped);
    }
    upstream.join().unwrap();
    for consumer in &consumers {
        consumer.wait_idle();
        assert_eq!(consumer.count("in"), 50_000);
    }
    assert_eq!(consumers[1].count("out"), taken.load(Ordering::Relaxed));
    assert!(
        rig.tee.property::<u64>("dropped") > 0,
        "nothing was dropped: a weak test"
    );
}

#[test]
fn the_oldest_waiting_frame_gives_way() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    rig.push_all(1..10);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (4, 5));
    // A smaller depth takes effect at once, a larger one too.
    slow.pad.set_property("depth", 2u32);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (2, 7));
    rig.tee.set_property("depth", 6u32);
    slow.pad.set_property("depth", 0u32);
    rig.push_all(10..15);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (6, 8));
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 9, 10, 11, 12, 13, 14]);
    assert_eq!(slow.count("dropped"), 8);
}

#[test]
fn bytes_and_time_are_limits_too() {
    let rig = Rig::started();
    let [bytes, time] = ["bytes", "time"].map(|name| rig.consumer(name));
    for consumer in [&bytes, &time] {
        consumer.pad.set_property("depth", 100u32);
        consumer.stick();
    }
    bytes.pad.set_property("max-size-bytes", 16u32 * 3);
    time.pad.set_property("max-size-time", 100_000_000u64);
    rig.push(0).unwrap();
    bytes.wait_in_flight();
    time.wait_in_flight();
    rig.push_all(1..11);
    assert_eq!((bytes.level(), bytes.count("dropped-slow")), (3, 7));
    assert_eq!(bytes.pad.property::<u32>("current-level-bytes"), 48);
    // 100 ms hold three frames of 33.3 ms.
    assert_eq!((time.level(), time.count("dropped-slow")), (3, 7));
    let waits: u64 = time.pad.property("current-level-time");
    assert!((99_999_990..=100_000_000).contains(&waits), "{waits}");
    // One frame may always wait, whatever its size.
    bytes.pad.set_property("max-size-bytes", 1u32);
    assert_eq!(bytes.level(), 1);
}

#[test]
fn frames_that_waited_too_long_are_stale() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.pad.set_property("max-age", 1_000_000u64);
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    rig.push_all(1..4);
    wait_for("the wait", || {
        slow.stats().get::<u64>("in-flight-for").unwrap() > 10_000_000
    });
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.count("dropped-stale"), 3);
    assert_eq!(slow.offsets(), [0]);
    rig.push(4).unwrap();
    wait_for("a fresh frame", || slow.offsets() == [0, 4]);
    assert!(slow.frames()[1].flags().contains(gst::BufferFlags::DISCONT));
}

#[test]
fn lists_are_counted_frame_by_frame() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    let mut list = gst::BufferList::new();
    for n in 1..8 {
        list.get_mut().unwrap().add(common::frame(n));
    }
    rig.src.push_list(list).unwrap();
    assert_eq!(
        (slow.count("in"), slow.level(), slow.count("dropped-slow")),
        (8, 4, 3)
    );
    assert_eq!(rig.tee.property::<u64>("published"), 8);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 4, 5, 6, 7]);
}

#[test]
fn a_coded_stream_waits_for_the_next_keyframe() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.pad.set_property("depth", 3u32);
    rig.upstream_events.lock().unwrap().clear();
    let push = |n: u64, key: bool| {
        let mut buffer = common::frame(n);
        if !key {
            buffer
                .get_mut()
                .unwrap()
                .set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        rig.src.push(buffer).unwrap();
    };
    slow.stick();
    push(0, true);
    slow.wait_in_flight();
    (1..5).for_each(|n| push(n, false));
    // The first that had to go took the ones that need it along.
    assert_eq!(slow.count("dropped-slow"), 1);
    assert_eq!(
        (slow.count("dropped-waiting-keyframe"), slow.level()),
        (3, 0)
    );
    push(5, false);
    push(6, true);
    push(7, false);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 6, 7]);
    assert_eq!(slow.count("dropped-waiting-keyframe"), 4);
    let requests = rig.upstream_events.lock().unwrap();
    let requests = requests
        .iter()
        .filter(|event| gst_video::ForceKeyUnitEvent::is(event));
    assert_eq!(requests.count(), 1);
    assert_eq!(slow.stats().get::<u64>("requested-keyframes").unwrap(), 1);
}
