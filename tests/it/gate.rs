// SPDX-License-Identifier: MPL-2.0
//! `enabled`: a consumer's gate, on pads of the test's own and in real pipelines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gst::prelude::*;
use gstdronetee::{DropReason, FramePublisher, State};

use crate::accounts::{Said, Watcher, attach, count, count_frames, random};
use crate::common::{Consumer, DEADLINE, Rig, caps, frame, init, wait_for};
use crate::video::{H264, compare};

fn enable(pad: &gst::Pad, enabled: bool) {
    pad.set_property("enabled", enabled);
}

fn state(pad: &gst::Pad) -> String {
    let value = pad.property_value("state");
    let (_, value) = glib::EnumValue::from_value(&value).unwrap();
    value.nick().to_owned()
}

fn discont(consumer: &Consumer) -> Vec<bool> {
    let frames = consumer.frames();
    let flags = frames.iter().map(|frame| frame.flags());
    flags
        .map(|flags| flags.contains(gst::BufferFlags::DISCONT))
        .collect()
}

#[test]
fn a_closed_gate_holds_frames_back_and_events_pass() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let [gated, other] = ["gated", "other"].map(|name| rig.consumer(name));
    rig.push(0).unwrap();
    [&gated, &other].into_iter().for_each(Consumer::wait_idle);
    enable(&gated.pad, false);
    for n in 1..4 {
        rig.push(n).unwrap();
        other.wait_idle();
    }
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    rig.push(4).unwrap();
    wait_for("the format", || {
        gated.events(gst::EventType::Caps).len() == 2
    });
    assert_eq!(gated.story()[3..], ["0", "gap", "caps"]);
    assert_eq!(state(&gated.pad), "disabled");
    assert!(gated.pad.property::<bool>("is-healthy"));
    assert_eq!(gated.count("dropped-disabled"), 4);
    enable(&gated.pad, true);
    rig.push(5).unwrap();
    [&gated, &other].into_iter().for_each(Consumer::wait_idle);
    assert_eq!(gated.offsets(), [0, 5]);
    assert_eq!(discont(&gated)[1..], [true]);
    assert_eq!(
        other.offsets(),
        [0, 1, 2, 3, 4, 5],
        "the others notice nothing"
    );
    assert_eq!((gated.count("in"), gated.count("out")), (6, 2));
    wait_for("both states", || said.states("gated") == ["disabled", "ok"]);
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(said.told("gated", "disabled"), 4);
    let tags = said.drops("gated", "disabled");
    assert_eq!(tags[0].get::<&str>("tag").unwrap(), "gated_disabled");
}

#[test]
fn it_is_closed_from_the_start() {
    let rig = Rig::with(|tee| {
        let pad = tee.request_pad_simple("src_gated").unwrap();
        enable(&pad, false);
        assert_eq!(state(&pad), "disabled", "before it starts, too");
    });
    rig.begin(&caps(8));
    let pad = rig.tee.static_pad("src_gated").unwrap();
    let gated = rig.link(pad, None);
    rig.push_all(0..3);
    wait_for("an event for a sink that prerolls", || {
        gated.story() == ["stream-start", "caps", "segment", "gap"]
    });
    let gaps = gated.events(gst::EventType::Gap);
    let gst::EventView::Gap(gap) = gaps[0].view() else {
        unreachable!();
    };
    let (at, duration) = gap.get();
    assert_eq!((Some(at), duration), (frame(0).pts(), frame(0).duration()));
    assert_eq!(gated.count("dropped-disabled"), 3);
    assert_eq!(gated.count("in"), 3);
}

#[test]
fn what_hangs_in_the_branch_keeps_its_thread_and_nothing_else() {
    let rig = Rig::started();
    rig.tee.set_property("stall-timeout", 20_000_000u64);
    let gated = rig.full_consumer("gated");
    enable(&gated.pad, false);
    assert_eq!((gated.level(), gated.count("dropped-disabled")), (0, 4));
    assert_eq!(gated.count("in-flight"), 1);
    wait_for("stalled", || state(&gated.pad) == "stalled");
    rig.push(5).unwrap();
    gated.unstick();
    wait_for("disabled", || state(&gated.pad) == "disabled");
    gated.wait_idle();
    assert_eq!(gated.offsets(), [0]);
    assert_eq!(
        (gated.count("out"), gated.count("dropped-disabled")),
        (1, 5)
    );
}

#[test]
fn a_failure_shows_before_the_gate_and_is_kept() {
    let rig = Rig::started();
    let gated = rig.consumer("gated");
    gated.stick();
    rig.push(0).unwrap();
    gated.wait_in_flight();
    enable(&gated.pad, false);
    gated.answer(Some(gst::FlowError::Error));
    gated.unstick();
    wait_for("failed", || state(&gated.pad) == "failed");
    assert_eq!(rig.push(1), Err(gst::FlowError::Error), "no consumer lives");
    assert_eq!(gated.count("dropped-error"), 2);
    gated.answer(None);
    assert!(gated.sink.push_event(gst::event::Reconfigure::new()));
    wait_for("served again, behind its gate", || {
        state(&gated.pad) == "disabled"
    });
    assert!(rig.push(2).is_ok());
    assert_eq!(gated.count("dropped-disabled"), 1);
    enable(&gated.pad, true);
    rig.push(3).unwrap();
    gated.wait_idle();
    assert_eq!(gated.offsets(), [0, 3]);
}

#[test]
fn the_end_and_a_flush_pass_a_closed_gate() {
    let rig = Rig::started();
    let gated = rig.consumer("gated");
    enable(&gated.pad, false);
    rig.push(0).unwrap();
    rig.flush();
    rig.push(1).unwrap();
    assert!(rig.src.push_event(gst::event::Eos::new()));
    wait_for("the end", || !gated.events(gst::EventType::Eos).is_empty());
    let mut story = gated.story();
    // The stream's start and format come again with the segment.
    story.retain(|one| !["stream-start", "caps"].contains(&one.as_str()));
    let expected = ["flush-start", "flush-stop", "segment", "gap", "eos"];
    assert!(story.ends_with(&expected.map(String::from)), "{story:?}");
    assert_eq!(gated.count("dropped-disabled"), 2);
}

#[test]
fn upstream_is_answered_for_a_consumer_whose_gate_is_closed() {
    let rig = Rig::started();
    let gated = rig.consumer("gated");
    enable(&gated.pad, false);
    rig.push(0).unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps(8)), true);
    assert!(rig.src.peer_query(&mut query));
    let asked = gated.record.queries.lock().unwrap().clone();
    assert!(asked.contains(&"allocation".to_owned()), "{asked:?}");
    let mut drain = gst::query::Drain::new();
    rig.src.peer_query(&mut drain);
    let asked = gated.record.queries.lock().unwrap().clone();
    assert!(asked.contains(&"drain".to_owned()), "{asked:?}");
}

#[test]
fn a_receiver_has_a_gate_too() {
    let rig = Rig::started();
    let publisher = FramePublisher::new(&rig.tee).unwrap();
    let mut frames = publisher.subscribe("gated").unwrap();
    let pad = rig.tee.static_pad("src_gated").unwrap();
    enable(&pad, false);
    rig.push_all(0..3);
    assert!(frames.try_recv().is_err());
    let health = publisher.health();
    assert_eq!(health.consumers[0].state, State::Disabled);
    assert!(health.consumers[0].is_healthy());
    let ledger = health.consumers[0].ledger;
    assert_eq!(ledger.dropped.get(DropReason::Disabled), 3);
    let waits = std::thread::spawn(move || {
        let frame = frames.recv_timeout(DEADLINE).unwrap();
        (frame.seq(), frame.lost_before())
    });
    enable(&pad, true);
    rig.push(3).unwrap();
    assert_eq!(waits.join().unwrap(), (3, 3));
}

/// The stream's frames that came, by the memory that they share.
fn numbers(coded: &[gst::Buffer], frames: &[gst::Buffer]) -> Vec<usize> {
    let memory = |frame: &gst::Buffer| frame.peek_memory(0).as_ptr();
    let number = |frame: &gst::Buffer| {
        let same = |other: &gst::Buffer| memory(other) == memory(frame);
        coded.iter().position(same).unwrap()
    };
    frames.iter().map(number).collect()
}

/// Frames from one keyframe to the next.
const GROUP: usize = 15;

/// H.264 in groups of fifteen; the gate is closed from `close` to `open`. What came to the consumer.
fn coded(gop_cache: u32, close: usize, open: usize) -> (Vec<usize>, Rig) {
    init();
    let coded = H264.encode(3 * GROUP as u32);
    let rig = Rig::with(|tee| tee.set_property("gop-cache", gop_cache));
    rig.begin(&coded.caps);
    let gated = rig.consumer("gated");
    for (n, frame) in coded.frames.iter().enumerate() {
        if n == close || n == open {
            enable(&gated.pad, n == open);
            gated.wait_idle();
        }
        rig.src.push(frame.clone()).unwrap();
        gated.wait_idle();
    }
    let frames = gated.frames();
    let reference = H264.decode(&coded.caps, &coded.frames);
    let pictures = H264.decode(&coded.caps, &frames);
    assert_eq!(compare(&pictures, &reference), (frames.len(), 0));
    (numbers(&coded.frames, &frames), rig)
}

fn asked_for_a_keyframe(rig: &Rig) -> bool {
    let events = rig.upstream_events.lock().unwrap();
    events
        .iter()
        .any(|event| gst_video::ForceKeyUnitEvent::is(event))
}

#[test]
fn a_coded_consumer_goes_on_with_the_newest_keyframe_that_is_kept() {
    // Closed before the keyframe at 15, opened in the midst of its group: all of that group.
    let (came, rig) = coded(30, 10, 20);
    let expected: Vec<_> = (0..10).chain(15..45).collect();
    assert_eq!(came, expected);
    assert!(!asked_for_a_keyframe(&rig));
    // Both within the group: what was held back, and nothing twice.
    let (came, rig) = coded(30, 18, 21);
    assert_eq!(came, (0..45).collect::<Vec<_>>());
    assert!(!asked_for_a_keyframe(&rig));
}

#[test]
fn a_coded_consumer_waits_for_a_keyframe_where_none_is_kept() {
    let (came, rig) = coded(0, 10, 20);
    let expected: Vec<_> = (0..10).chain(30..45).collect();
    assert_eq!(came, expected);
    assert!(asked_for_a_keyframe(&rig));
    let pad = rig.tee.static_pad("src_gated").unwrap();
    assert_eq!(count(&pad, "dropped-disabled"), 10);
    assert_eq!(count(&pad, "dropped-waiting-keyframe"), 10);
}

#[test]
fn flips_under_load_lose_no_frame_from_the_accounts() {
    let rig = Rig::started();
    let newest = Arc::new(AtomicU64::new(0));
    let pads: Vec<_> = (0..3)
        .map(|index| {
            let last = AtomicU64::new(0);
            attach(&rig, &format!("c{index}"), move |buffer| {
                let offset = buffer.offset() + 1;
                assert!(last.swap(offset, Ordering::SeqCst) < offset, "in order");
                Ok(gst::FlowSuccess::Ok)
            })
        })
        .collect();
    let came: Vec<_> = pads
        .iter()
        .map(|pad| count_frames(&pad.peer().unwrap()))
        .collect();
    let watcher = Watcher::start(&rig.tee);
    let over = Arc::new(AtomicBool::new(false));
    let flips: Vec<_> = pads
        .iter()
        .map(|pad| {
            let (pad, over) = (pad.clone(), over.clone());
            std::thread::spawn(move || {
                let mut flips = 0u64;
                while !over.load(Ordering::SeqCst) {
                    enable(&pad, random(2) == 0);
                    flips += 1;
                    std::thread::park_timeout(Duration::from_micros(random(300) as u64));
                }
                enable(&pad, true);
                flips
            })
        })
        .collect();
    for n in 0..3_000 {
        newest.store(n, Ordering::SeqCst);
        rig.push(n).unwrap();
        if n % 16 == 0 {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
    over.store(true, Ordering::SeqCst);
    for flips in flips {
        assert!(flips.join().unwrap() > 10);
    }
    rig.push(3_000).unwrap();
    for (pad, came) in pads.iter().zip(&came) {
        wait_for("all done", || {
            count(pad, "out") + count(pad, "dropped") == 3_001
        });
        assert_eq!(came.load(Ordering::SeqCst), count(pad, "out"));
        assert!(count(pad, "dropped-disabled") > 0);
        assert_eq!(state(pad), "ok");
    }
    assert!(watcher.finish() > 0);
}

/// Runs a launch line until it plays, pauses and plays once more, and to its end.
fn plays(line: &str) -> gst::Pipeline {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let timeout = gst::ClockTime::from_seconds(30);
    for state in [
        gst::State::Paused,
        gst::State::Playing,
        gst::State::Paused,
        gst::State::Playing,
    ] {
        pipeline.set_state(state).unwrap();
        let (changed, reached, _) = pipeline.state(timeout);
        assert!(changed.is_ok(), "{changed:?}");
        assert_eq!(reached, state);
    }
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(timeout, &kinds).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline
}

#[test]
fn a_pipeline_with_a_closed_gate_starts_pauses_and_ends() {
    let pipeline = plays(
        "videotestsrc num-buffers=60 ! video/x-raw,width=32,height=32,framerate=30/1 ! clocksync \
         ! dronetee name=t src_shut::enabled=false \
         t.src_shut ! queue ! videoconvert ! fakesink name=shut sync=true \
         t.src_open ! fakesink name=open sync=true",
    );
    let pad = |name: &str| pipeline.by_name("t").unwrap().static_pad(name).unwrap();
    assert_eq!(count(&pad("src_shut"), "dropped-disabled"), 60);
    assert_eq!(count(&pad("src_shut"), "out"), 0);
    assert!(count(&pad("src_open"), "out") > 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

/// What people build for this: the same frames come through both.
#[test]
fn it_does_what_a_valve_does() {
    init();
    let rig = Rig::started();
    let gated = rig.consumer("gated");
    let valve = gst::ElementFactory::make("valve").build().unwrap();
    valve.set_state(gst::State::Playing).unwrap();
    let (sink, record) = Consumer::sink(None);
    let pad = rig.tee.request_pad_simple("src_valve").unwrap();
    pad.link(&valve.static_pad("sink").unwrap()).unwrap();
    valve.static_pad("src").unwrap().link(&sink).unwrap();
    let behind_valve = Consumer { pad, sink, record };
    for n in 0..40 {
        let closed = n / 7 % 2 == 1;
        valve.set_property("drop", closed);
        enable(&gated.pad, !closed);
        rig.push(n).unwrap();
        [&gated, &behind_valve]
            .into_iter()
            .for_each(Consumer::wait_idle);
    }
    assert_eq!(gated.offsets(), behind_valve.offsets());
    assert_eq!(discont(&gated), discont(&behind_valve));
    assert_eq!(gated.count("dropped-disabled"), 19);
    assert_eq!(behind_valve.count("dropped"), 0, "a valve counts nothing");
    valve.set_state(gst::State::Null).unwrap();
}
