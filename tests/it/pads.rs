// SPDX-License-Identifier: MPL-2.0
//! Pads: names, properties, coming and going while frames flow, states.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{Consumer, Rig, assert_balanced, caps, wait_for};
use gst::prelude::*;

#[test]
fn names_are_given_taken_or_refused() {
    let rig = Rig::started();
    let request = |name: &str| rig.tee.request_pad_simple(name);
    assert_eq!(request("src_%u").unwrap().name(), "src_0");
    assert_eq!(request("src_3").unwrap().name(), "src_3");
    let named = request("src_detection_client").unwrap();
    assert_eq!(named.property::<String>("consumer"), "detection_client");
    for _ in 0..3 {
        request("src_%u").unwrap();
    }
    assert_eq!(rig.tee.property::<i32>("num-src-pads"), 6);
    assert!(request("src_").is_none());
    assert!(request("src_a b").is_none());
    assert!(request("src_detection_client").is_none(), "taken");
    assert_eq!(rig.tee.property::<i32>("num-src-pads"), 6);
    named.set_property("consumer", "other");
    assert_eq!(
        named
            .property::<gst::Structure>("stats")
            .get::<String>("consumer")
            .unwrap(),
        "other"
    );
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(rig.messages("dronetee-summary").len(), 6, "of no other pad");
}

#[test]
fn a_launch_line_sets_properties_of_pads_that_do_not_exist_yet() {
    crate::common::init();
    let line = "fakesrc ! video/x-raw ! dronetee name=t src_a::depth=2 src_a::max-age=5 \
        t.src_a ! fakesink t. ! fakesink";
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let pad = tee.static_pad("src_a").unwrap();
    assert_eq!(pad.property::<u32>("depth"), 2);
    assert_eq!(pad.property::<u64>("max-age"), 5);
    let proxy = tee.dynamic_cast_ref::<gst::ChildProxy>().unwrap();
    assert_eq!(proxy.children_count(), 2);
    assert_eq!(
        proxy.child_by_name("src_a").unwrap(),
        pad.upcast::<glib::Object>()
    );
    assert!(proxy.child_by_name("sink").is_none());
    proxy.set_child_property("src_a::depth", 3u32);
    assert_eq!(proxy.child_property::<u32>("src_a::depth"), 3);
}

#[test]
fn sound_can_not_be_linked() {
    crate::common::init();
    let line = "audiotestsrc ! dronetee ! fakesink";
    assert!(gst::parse::launch(line).is_err());
    for format in [
        "x-h264",
        "x-h265",
        "x-vp8",
        "x-av1",
        "x-bayer",
        "x-raw(memory:DMABuf)",
    ] {
        let line = format!("fakesrc ! video/{format} ! dronetee ! fakesink");
        assert!(gst::parse::launch(&line).is_ok(), "{format}");
    }
    assert!(gst::parse::launch("fakesrc ! image/jpeg ! dronetee ! fakesink").is_ok());
}

#[test]
fn late_pads_get_what_they_need() {
    let rig = Rig::started();
    let mut tags = gst::TagList::new();
    tags.get_mut()
        .unwrap()
        .add::<gst::tags::Title>(&"flight", gst::TagMergeMode::Append);
    assert!(rig.src.push_event(gst::event::Tag::new(tags)));
    rig.push_all(0..10);
    let late = rig.consumer("late");
    rig.push(10).unwrap();
    late.wait_idle();
    assert_eq!(
        late.story(),
        ["stream-start", "caps", "segment", "tag", "10"]
    );
    assert_eq!(late.count("in"), 1);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    wait_for("EOS", || late.story().ends_with(&["eos".into()]));
    let later = rig.consumer("later");
    wait_for("EOS of the latest", || {
        later.story() == ["stream-start", "caps", "segment", "tag", "eos"]
    });
    // Its thread may be through with all of it before the application links the pad.
    let pad = rig.tee.request_pad_simple("src_last").unwrap();
    wait_for("what is known of a pad that is not linked", || {
        pad.sticky_event::<gst::event::Tag>(0).is_some()
    });
    let last = rig.link(pad, None);
    wait_for("EOS of the last", || {
        last.story() == ["stream-start", "caps", "segment", "tag", "eos"]
    });
}

/// As a pad forgets it.
#[test]
fn late_pads_do_not_get_the_tags_of_the_stream_before() {
    let rig = Rig::started();
    let tags = |title: &str| {
        let mut tags = gst::TagList::new();
        tags.get_mut()
            .unwrap()
            .add::<gst::tags::Title>(&title, gst::TagMergeMode::Append);
        assert!(rig.src.push_event(gst::event::Tag::new(tags)));
    };
    tags("old");
    rig.begin(&caps(8));
    let late = rig.consumer("late");
    rig.push(0).unwrap();
    late.wait_idle();
    assert_eq!(late.story(), ["stream-start", "caps", "segment", "0"]);
}

/// Pushes 500 frames a second until told to stop; the longest push, and how many.
fn upstream(rig: &Rig, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<(Duration, u64)> {
    let src = rig.src.clone();
    std::thread::spawn(move || {
        let (mut longest, mut n) = (Duration::ZERO, 0);
        while !stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            src.push(crate::common::frame(n)).unwrap();
            longest = longest.max(begin.elapsed());
            n += 1;
            std::thread::park_timeout(Duration::from_millis(2));
        }
        (longest, n)
    })
}

#[test]
fn pads_come_and_go_while_frames_flow() {
    let rig = Rig::started();
    let steady = rig.consumer("steady");
    steady.pad.set_property("depth", 4096u32);
    let stop = Arc::new(AtomicBool::new(false));
    let frames = upstream(&rig, stop.clone());
    let mut random = 1u64;
    let mut there: Vec<Consumer> = Vec::new();
    for n in 0..300 {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if there.len() < 2 || (random >> 33).is_multiple_of(2) && there.len() < 12 {
            let consumer = rig.consumer(&format!("c{n}"));
            if (random >> 40).is_multiple_of(3) {
                consumer.stick();
            }
            there.push(consumer);
        } else {
            let consumer = there.swap_remove((random >> 35) as usize % there.len());
            if (random >> 41).is_multiple_of(2) {
                consumer.pad.unlink(&consumer.sink).unwrap();
            }
            rig.tee.release_request_pad(&consumer.pad);
            assert_balanced(&consumer.stats());
            consumer.unstick();
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (longest, published) = frames.join().unwrap();
    assert!(longest < Duration::from_secs(1), "a push took {longest:?}");
    steady.wait_idle();
    assert_eq!(steady.offsets(), (0..published).collect::<Vec<_>>());
    assert_eq!(rig.tee.property::<u64>("published"), published);
}

#[test]
fn a_pad_is_released_while_its_push_hangs() {
    let rig = Rig::started();
    let (stuck, other) = (rig.consumer("stuck"), rig.consumer("other"));
    stuck.stick();
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    rig.push_all(1..20);
    rig.tee.release_request_pad(&stuck.pad);
    let stats = stuck.stats();
    assert_balanced(&stats);
    assert_eq!(stats.get::<u64>("dropped-flushing").unwrap(), 5);
    assert_eq!(rig.tee.property::<i32>("num-src-pads"), 1);
    let dropped: u64 = rig.tee.property("dropped");
    assert_eq!(
        dropped,
        stats.get::<u64>("dropped").unwrap() + other.count("dropped")
    );
    // The name is free again, although the old one has not returned.
    let again = rig.consumer("stuck");
    rig.push(20).unwrap();
    again.wait_idle();
    assert_eq!(again.offsets(), [20]);
    stuck.unstick();
}

#[test]
fn fifty_state_cycles_with_a_slow_consumer() {
    crate::common::init();
    let line = "videotestsrc ! video/x-raw,width=32,height=32 ! dronetee name=t \
        t.src_slow ! identity sleep-time=20000 ! fakesink name=slow sync=false async=false \
        t.src_fast ! fakesink sync=false async=false";
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let fast = tee.static_pad("src_fast").unwrap();
    for _ in 0..50 {
        pipeline.set_state(gst::State::Playing).unwrap();
        wait_for("frames", || fast.property::<u64>("out") > 5);
        pipeline.set_state(gst::State::Null).unwrap();
        for pad in tee.src_pads() {
            // Readable after the stop, and nothing is in there any more.
            let stats = pad.property::<gst::Structure>("stats");
            assert_balanced(&stats);
            assert!(stats.get::<u64>("in").unwrap() > 5, "{stats}");
            assert_eq!(stats.get::<u32>("current-level-buffers").unwrap(), 0);
        }
        pipeline.set_state(gst::State::Ready).unwrap();
    }
    // They start at zero with the next life.
    let sink = tee.static_pad("sink").unwrap();
    let frames = Arc::new(AtomicU64::new(0));
    let count = frames.clone();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("frames", || fast.property::<u64>("out") > 5);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(
        tee.property::<u64>("published"),
        frames.load(Ordering::Relaxed)
    );
}

#[test]
fn threads_are_named_after_their_consumers() {
    let rig = Rig::started();
    let pad = rig.tee.request_pad_simple("src_telemetry").unwrap();
    let (name, named) = std::sync::mpsc::channel();
    let (sink, _record) = Consumer::sink(None);
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let own = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        name.send(own.trim().to_owned()).unwrap();
        gst::PadProbeReturn::Ok
    });
    pad.link(&sink).unwrap();
    rig.push(0).unwrap();
    assert_eq!(
        named.recv_timeout(crate::common::DEADLINE).unwrap(),
        "telemetry"
    );
}

#[test]
fn a_link_that_asks_for_no_reconfiguration_is_served() {
    let rig = Rig::started();
    let pad = rig.tee.request_pad_simple("src_quiet").unwrap();
    rig.push(0).unwrap();
    wait_for("the drop", || {
        pad.property::<u64>("dropped-not-linked") == 1
    });
    let (sink, record) = Consumer::sink(None);
    let check = gst::PadLinkCheck::DEFAULT | gst::PadLinkCheck::NO_RECONFIGURE;
    pad.link_full(&sink, check).unwrap();
    rig.push(1).unwrap();
    let consumer = Consumer { pad, sink, record };
    consumer.wait_idle();
    assert_eq!(consumer.offsets(), [1]);
}

/// Requested, put behind a ghost pad, and linked to an element at last.
#[test]
fn a_consumer_outside_the_bin_is_served_from_its_link_on() {
    let rig = Rig::with(|tee| tee.set_property("gop-cache", 1u32));
    rig.begin(&caps(8));
    rig.push_all(0..3);
    let pad = rig.tee.request_pad_simple("src_outside").unwrap();
    let ghost = gst::GhostPad::new(gst::PadDirection::Src);
    ghost.set_active(true).unwrap();
    ghost.set_target(Some(&pad)).unwrap();
    wait_for("the drop", || pad.property::<u64>("dropped-not-linked") > 0);
    let (sink, record) = Consumer::sink(None);
    ghost.link(&sink).unwrap();
    let consumer = Consumer { pad, sink, record };
    rig.push(3).unwrap();
    wait_for("the frame", || consumer.offsets().ends_with(&[3]));
    consumer.wait_idle();
    // The one that was kept comes first, unless the link was made in the middle of a push.
    let offsets = consumer.offsets();
    assert!(offsets == [2, 3] || offsets == [3], "{offsets:?}");
    let story = consumer.story();
    assert_eq!(story[..3], ["stream-start", "caps", "segment"], "{story:?}");
}

/// A reader finds the accounts in the stream or with the pad.
#[test]
fn the_accounts_of_a_pad_can_be_read_while_it_is_released() {
    let rig = Rig::started();
    let current = Mutex::new(rig.tee.request_pad_simple("src_x"));
    let read = || {
        let mut last = None;
        loop {
            let Some(pad) = current.lock().unwrap().clone() else {
                return;
            };
            let stats: Option<gst::Structure> = pad.property("stats");
            assert_balanced(&stats.expect("accounts"));
            let frames: u64 = pad.property("in");
            if let Some((same, before)) = last.replace((pad.clone(), frames)) {
                assert!(same != pad || before <= frames, "{frames} after {before}");
            }
        }
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        for n in 0..4000 {
            if reader.is_finished() {
                break;
            }
            let pad = current.lock().unwrap().clone().unwrap();
            rig.push(n).unwrap();
            rig.tee.release_request_pad(&pad);
            *current.lock().unwrap() = rig.tee.request_pad_simple("src_x");
        }
        *current.lock().unwrap() = None;
    });
}
