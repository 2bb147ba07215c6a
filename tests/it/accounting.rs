// SPDX-License-Identifier: MPL-2.0
//! The ledger: what came in is what went out, waits, is in flight or was dropped, to the frame.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::accounts::{
    Watcher, assert_element_balanced, attach, count, count_frames, pad_stats, random, work_for,
};
use crate::common::{REASONS, Rig, assert_balanced, frame, wait_for};
use gst::prelude::*;

#[test]
fn every_snapshot_balances_under_load_with_random_losses() {
    const FRAMES: u64 = 20_000;
    let rig = Rig::with(|tee| tee.set_property("drop-messages-interval", 1u32));
    rig.begin(&crate::common::caps(8));
    let sent = count_frames(&rig.src);
    let pads = [
        attach(&rig, "quick", |_| Ok(gst::FlowSuccess::Ok)),
        attach(&rig, "fitful", |_| {
            if random(20) == 0 {
                work_for(Duration::from_micros(random(2_000) as u64));
            }
            Ok(gst::FlowSuccess::Ok)
        }),
        attach(&rig, "refusing", |_| match random(3) {
            0 => Err(gst::FlowError::Flushing),
            _ => Ok(gst::FlowSuccess::Ok),
        }),
        attach(&rig, "ageing", |_| {
            work_for(Duration::from_micros(random(300) as u64));
            Ok(gst::FlowSuccess::Ok)
        }),
    ];
    pads[3].set_property("max-age", 200_000u64);
    pads[3].set_property("depth", 64u32);
    let pushed = pads.each_ref().map(count_frames);
    let watcher = Watcher::start(&rig.tee);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..FRAMES {
                rig.push(n).unwrap();
                if n % 8 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..200 {
                pads[1].set_property("depth", 1 + random(8) as u32);
                std::thread::yield_now();
            }
        });
    });
    for (pad, pushed) in pads.iter().zip(&pushed) {
        wait_for("an empty queue", || {
            count(pad, "out") + count(pad, "dropped") == FRAMES
        });
        let refused = count(pad, "dropped-flushing") + count(pad, "out");
        assert_eq!(refused, pushed.load(Ordering::SeqCst), "{pad:?}");
    }
    assert!(watcher.finish() >= 10);
    assert_eq!(sent.load(Ordering::SeqCst), FRAMES);
    assert_eq!(rig.tee.property::<u64>("published"), FRAMES);
    assert!(count(&pads[2], "dropped-flushing") > 0);
    let dropped: u64 = pads.iter().map(|pad| count(pad, "dropped")).sum();
    assert_eq!(rig.tee.property::<u64>("dropped"), dropped);
}

#[test]
fn real_elements_get_what_the_probes_counted() {
    const FRAMES: u64 = 300;
    crate::common::init();
    let line = format!(
        "videotestsrc num-buffers={FRAMES} ! video/x-raw,width=16,height=16 ! dronetee name=t \
         t.src_all ! fakesink sync=false \
         t.src_slow ! identity sleep-time=1000 ! fakesink sync=false \
         t.src_queued ! queue ! fakesink sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let tee = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("t");
    let tee = tee.unwrap();
    let arrived = count_frames(&tee.static_pad("sink").unwrap());
    let pads = tee.src_pads();
    let pushed: Vec<_> = pads.iter().map(count_frames).collect();
    let watcher = Watcher::start(&tee);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &ends);
    assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
    assert!(watcher.finish() > 0);
    assert_eq!(arrived.load(Ordering::SeqCst), FRAMES);
    assert_eq!(tee.property::<u64>("published"), FRAMES);
    for (pad, pushed) in pads.iter().zip(&pushed) {
        assert_eq!(count(pad, "in"), FRAMES);
        assert_eq!(count(pad, "out"), pushed.load(Ordering::SeqCst));
        assert_eq!(count(pad, "in"), count(pad, "out") + count(pad, "dropped"));
        assert_eq!(count(pad, "dropped"), count(pad, "dropped-slow"));
    }
    assert!(count(&tee.static_pad("src_slow").unwrap(), "dropped-slow") > 0);
    pipeline.set_state(gst::State::Null).unwrap();
    // Readable after the stop, and nothing was left to drop.
    assert_eq!(count(&pads[0], "in"), FRAMES);
    pipeline.set_state(gst::State::Ready).unwrap();
    assert_eq!(tee.property::<u64>("published"), FRAMES);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn depth_takes_effect_at_once() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    rig.push_all(1..10);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (4, 5));
    slow.pad.set_property("depth", 2u32);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (2, 7));
    slow.pad.set_property("depth", 6u32);
    rig.push_all(10..14);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (6, 7));
    slow.pad.set_property("depth", 0u32);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (4, 9));
    rig.tee.set_property("depth", 1u32);
    assert_eq!((slow.level(), slow.count("dropped-slow")), (1, 12));
    assert_balanced(&slow.stats());
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 13]);
}

#[test]
fn bytes_and_time_limit_what_waits() {
    let rig = Rig::started();
    let (bytes, time) = (rig.consumer("bytes"), rig.consumer("time"));
    for consumer in [&bytes, &time] {
        consumer.pad.set_property("depth", 100u32);
        consumer.stick();
    }
    // Frames of 16 bytes.
    bytes.pad.set_property("max-size-bytes", 40u32);
    time.pad.set_property("max-size-time", 100_000_000u64);
    rig.push(0).unwrap();
    bytes.wait_in_flight();
    time.wait_in_flight();
    rig.push_all(1..10);
    assert_eq!((bytes.level(), bytes.count("dropped-slow")), (2, 7));
    assert_eq!((time.level(), time.count("dropped-slow")), (3, 6));
    let level_bytes: u32 = time.pad.property("current-level-bytes");
    let level_time: u64 = time.pad.property("current-level-time");
    assert_eq!(level_bytes, 48);
    assert!((99_999_990..=100_000_000).contains(&level_time));
    // One may always wait.
    bytes.pad.set_property("max-size-bytes", 1u32);
    time.pad.set_property("max-size-time", 1u64);
    for consumer in [&bytes, &time] {
        assert_eq!((consumer.level(), consumer.count("dropped-slow")), (1, 8));
        consumer.unstick();
        consumer.wait_idle();
        assert_eq!(consumer.offsets(), [0, 9]);
    }
}

#[test]
fn frames_that_waited_too_long_are_stale() {
    const AGE: Duration = Duration::from_millis(20);
    let rig = Rig::started();
    let (aged, patient) = (rig.consumer("aged"), rig.consumer("patient"));
    for consumer in [&aged, &patient] {
        consumer.stick();
    }
    rig.push_all(0..1);
    aged.wait_in_flight();
    patient.wait_in_flight();
    aged.pad.set_property("max-age", AGE.as_nanos() as u64);
    patient.pad.set_property("max-age", 3_600_000_000_000u64);
    rig.push_all(1..4);
    let published = Instant::now();
    wait_for("their ageing", || published.elapsed() > 2 * AGE);
    aged.unstick();
    patient.unstick();
    aged.wait_idle();
    patient.wait_idle();
    assert_eq!(aged.offsets(), [0]);
    assert_eq!(aged.count("dropped-stale"), 3);
    assert_eq!(aged.count("dropped"), 3);
    assert_eq!(patient.offsets(), [0, 1, 2, 3]);
    // It is served on.
    aged.pad.set_property("max-age", 0u64);
    rig.push(4).unwrap();
    aged.wait_idle();
    assert_eq!(aged.offsets(), [0, 4]);
    assert!(aged.frames()[1].flags().contains(gst::BufferFlags::DISCONT));
}

#[test]
fn lists_are_counted_frame_by_frame() {
    let rig = Rig::started();
    let (slow, all) = (rig.consumer("slow"), rig.consumer("all"));
    let pushed = count_frames(&all.pad);
    all.pad.set_property("depth", 100u32);
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    let list: gst::BufferList = (1..11).map(frame).collect();
    rig.src.push_list(list).unwrap();
    all.wait_idle();
    assert_eq!(rig.tee.property::<u64>("published"), 11);
    assert_eq!(all.offsets(), (0..11).collect::<Vec<_>>());
    assert_eq!(pushed.load(Ordering::SeqCst), 11);
    assert_eq!((slow.count("in"), slow.level()), (11, 4));
    assert_eq!(slow.count("dropped-slow"), 6);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 7, 8, 9, 10]);
}

#[test]
fn in_counts_from_the_moment_of_joining() {
    let rig = Rig::started();
    let early = rig.consumer("early");
    rig.push_all(0..5);
    let late = rig.consumer("late");
    for n in 5..12 {
        rig.push(n).unwrap();
        late.wait_idle();
        early.wait_idle();
    }
    assert_eq!((late.count("in"), late.count("out")), (7, 7));
    assert_eq!(early.count("in"), 12);
    assert_eq!(rig.tee.property::<u64>("published"), 12);
    assert_eq!(rig.tee.property::<u64>("dropped"), early.count("dropped"));
}

#[test]
fn the_elements_drops_include_those_of_released_consumers() {
    let rig = Rig::started();
    let (gone, stays) = (rig.consumer("gone"), rig.consumer("stays"));
    gone.stick();
    stays.stick();
    rig.push(0).unwrap();
    gone.wait_in_flight();
    stays.wait_in_flight();
    rig.push_all(1..10);
    assert_eq!(rig.tee.property::<u64>("dropped"), 10);
    rig.tee.release_request_pad(&gone.pad);
    // What waited goes with the pad, and so does its frame in flight.
    assert_eq!(gone.count("dropped-flushing"), 5);
    assert_balanced(&gone.stats());
    assert_eq!(rig.tee.property::<u64>("dropped"), 15);
    assert_element_balanced(&rig.tee);
    rig.push_all(10..12);
    assert_eq!(rig.tee.property::<u64>("dropped"), 17);
    gone.unstick();
    stays.unstick();
    stays.wait_idle();
    assert_eq!(rig.tee.property::<u64>("dropped"), 17);
    assert_eq!(stays.count("dropped"), 7);
}

#[test]
fn each_drop_has_its_reason() {
    let rig = Rig::started();
    let (flushed, failed, ended) = (
        rig.consumer("flushed"),
        rig.consumer("failed"),
        rig.consumer("ended"),
    );
    let unlinked = rig.tee.request_pad_simple("src_unlinked").unwrap();
    flushed.stick();
    failed.answer(Some(gst::FlowError::Error));
    ended.answer(Some(gst::FlowError::Eos));
    rig.push(0).unwrap();
    flushed.wait_in_flight();
    wait_for("its end", || count(&unlinked, "dropped-not-linked") == 1);
    failed.wait_idle();
    ended.wait_idle();
    rig.push_all(1..4);
    assert_eq!(failed.count("dropped-error"), 4);
    assert_eq!(ended.count("dropped-eos"), 4);
    assert_eq!(count(&unlinked, "dropped-not-linked"), 4);
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    assert_eq!(flushed.count("dropped-flushing"), 3);
    assert_eq!(flushed.level(), 0);
    flushed.unstick();
    wait_for("its return", || flushed.count("in-flight") == 0);
    for (stats, reason) in [
        (flushed.stats(), "flushing"),
        (failed.stats(), "error"),
        (ended.stats(), "eos"),
        (pad_stats(&unlinked), "not-linked"),
    ] {
        assert_balanced(&stats);
        for other in REASONS.into_iter().filter(|other| *other != reason) {
            let name = format!("dropped-{other}");
            assert_eq!(stats.get::<u64>(&name).unwrap(), 0, "{name} of {reason}");
        }
    }
}

#[test]
fn counters_start_at_zero_and_stay_readable() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    for life in 0..3 {
        if life > 0 {
            rig.tee.set_state(gst::State::Playing).unwrap();
            assert_eq!(rig.tee.property::<u64>("published"), 0);
            assert_eq!(rig.tee.property::<u64>("dropped"), 0);
            assert_eq!((slow.count("in"), slow.count("dropped")), (0, 0));
            assert_eq!((slow.count("out"), slow.level()), (0, 0));
            rig.begin(&crate::common::caps(8));
        }
        slow.stick();
        rig.push(0).unwrap();
        slow.wait_in_flight();
        rig.push_all(1..10);
        std::thread::scope(|scope| {
            scope.spawn(|| rig.tee.set_state(gst::State::Ready).unwrap());
            wait_for("the stop", || slow.level() == 0);
            slow.unstick();
        });
        wait_for("its return", || slow.count("in-flight") == 0);
        assert_eq!(rig.tee.property::<u64>("published"), 10);
        assert_eq!((slow.count("in"), slow.level()), (10, 0));
        assert_eq!(slow.count("dropped-slow"), 5);
        assert!(slow.count("dropped-flushing") >= 4);
        assert_balanced(&slow.stats());
    }
}
