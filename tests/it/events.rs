// SPDX-License-Identifier: MPL-2.0
//! Serialized events: none lost, each in its place among the frames that survive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::accounts::{number, random};
use crate::common::{Consumer, Rig, assert_balanced, caps, wait_for};
use gst::prelude::*;

fn custom(name: &str, n: u64) -> gst::Event {
    let structure = gst::Structure::builder(name).field("n", n).build();
    gst::event::CustomDownstream::new(structure)
}

fn tag(title: &str) -> gst::Event {
    let mut tags = gst::TagList::new();
    let own = tags.get_mut().unwrap();
    own.add::<gst::tags::Title>(&title, gst::TagMergeMode::Replace);
    gst::event::Tag::new(tags)
}

fn gap(n: u64) -> gst::Event {
    gst::event::Gap::builder(gst::ClockTime::from_mseconds(n)).build()
}

/// A consumer that takes any caps at any time.
fn consumer(rig: &Rig, name: &str) -> Consumer {
    rig.consumer_with(
        name,
        Some(Box::new(|query| {
            match query.view_mut() {
                gst::QueryViewMut::Caps(caps) => {
                    let all = caps.filter_owned().unwrap_or_else(gst::Caps::new_any);
                    caps.set_result(&all);
                }
                gst::QueryViewMut::AcceptCaps(accept) => accept.set_result(true),
                _ => return None,
            }
            Some(true)
        })),
    )
}

/// A consumer that is stuck with frame 0, and of what came so far nothing is kept but that.
fn stuck_consumer(rig: &Rig) -> Consumer {
    let consumer = consumer(rig, "stuck");
    consumer.stick();
    rig.push(0).unwrap();
    consumer.wait_in_flight();
    wait_for("frame 0", || consumer.offsets() == [0]);
    consumer.forget();
    consumer
}

/// The numbers that the custom events of that name carried.
fn customs(consumer: &Consumer, name: &str) -> Vec<u64> {
    let events = consumer.events(gst::EventType::CustomDownstream);
    let named = events.iter().filter_map(|event| {
        let structure = event.structure().filter(|s| s.name() == name)?;
        structure.get("n").ok()
    });
    named.collect()
}

fn titles(consumer: &Consumer) -> Vec<String> {
    let events = consumer.events(gst::EventType::Tag);
    let told = events.iter().map(|event| match event.view() {
        gst::EventView::Tag(tag) => {
            let title = tag.tag().get::<gst::tags::Title>().unwrap();
            title.get().to_owned()
        }
        _ => unreachable!(),
    });
    told.collect()
}

#[test]
fn events_keep_their_place_among_the_frames_that_survive() {
    let rig = Rig::started();
    let (stuck, fast) = (stuck_consumer(&rig), consumer(&rig, "fast"));
    let pushes: [&dyn Fn(); 15] = [
        &|| assert!(rig.src.push_event(tag("one"))),
        &|| rig.push_all(1..2),
        &|| assert!(rig.src.push_event(custom("x", 1))),
        &|| rig.push_all(2..3),
        &|| assert!(rig.src.push_event(gap(1))),
        &|| rig.push_all(3..4),
        &|| assert!(rig.src.push_event(gst::event::Caps::new(&caps(16)))),
        &|| rig.push_all(4..5),
        &|| rig.segment(),
        &|| rig.push_all(5..6),
        &|| assert!(rig.src.push_event(custom("y", 2))),
        &|| assert!(rig.src.push_event(gap(2))),
        &|| rig.push_all(6..8),
        &|| assert!(rig.src.push_event(tag("two"))),
        &|| assert!(rig.src.push_event(gst::event::Eos::new())),
    ];
    for push in pushes {
        push();
        // Nothing is lost for the fast one.
        fast.wait_idle();
    }
    wait_for("the end of the fast one", || {
        fast.story().last().is_some_and(|last| last == "eos")
    });
    assert_eq!(stuck.story(), [""; 0]);
    stuck.unstick();
    wait_for("the end", || !stuck.events(gst::EventType::Eos).is_empty());
    assert_eq!(
        stuck.story(),
        [
            "tag",
            "custom-downstream",
            "gap",
            "caps",
            "4",
            "segment",
            "5",
            "custom-downstream",
            "gap",
            "6",
            "7",
            "tag",
            "eos"
        ]
    );
    assert_eq!(
        fast.story(),
        [
            "stream-start",
            "caps",
            "segment",
            "tag",
            "1",
            "custom-downstream",
            "2",
            "gap",
            "3",
            "caps",
            "4",
            "segment",
            "5",
            "custom-downstream",
            "gap",
            "6",
            "7",
            "tag",
            "eos"
        ]
    );
    assert_eq!(titles(&stuck), ["one", "two"]);
    assert_eq!(number(&stuck.stats(), "events-dropped"), 0);
}

#[test]
fn eos_comes_last_and_is_never_lost() {
    let rig = Rig::with(|tee| tee.set_property("depth", 1u32));
    rig.begin(&caps(8));
    let stuck = stuck_consumer(&rig);
    rig.push_all(1..100);
    for n in 0..1000 {
        assert!(rig.src.push_event(custom("x", n)));
    }
    assert!(rig.src.push_event(gst::event::Eos::new()));
    assert!(stuck.events(gst::EventType::Eos).is_empty());
    stuck.unstick();
    wait_for("the end", || !stuck.events(gst::EventType::Eos).is_empty());
    let story = stuck.story();
    assert_eq!(story.first().unwrap(), "99");
    assert_eq!(story.last().unwrap(), "eos");
    assert_eq!(story.iter().filter(|told| *told == "eos").count(), 1);
}

#[test]
fn each_frame_comes_after_the_caps_of_its_format() {
    let width = |n: u64| 8 + 2 * (n / 3) as i32;
    let rig = Rig::new();
    assert!(rig.src.push_event(gst::event::StreamStart::new("stream")));
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(width(0)))));
    rig.segment();
    rig.tee.set_property("depth", 2u32);
    let consumers = [consumer(&rig, "a"), consumer(&rig, "b")];
    let wrong = Arc::<AtomicU64>::default();
    for consumer in &consumers {
        let wrong = wrong.clone();
        consumer
            .sink
            .add_probe(gst::PadProbeType::BUFFER, move |sink, info| {
                let Some(gst::PadProbeData::Buffer(frame)) = &info.data else {
                    unreachable!()
                };
                let known = sink.current_caps();
                let right = known.is_some_and(|known| known == caps(width(frame.offset())));
                wrong.fetch_add(u64::from(!right), Ordering::SeqCst);
                gst::PadProbeReturn::Ok
            });
    }
    for n in 0..600 {
        if n > 0 && width(n) != width(n - 1) {
            assert!(rig.src.push_event(gst::event::Caps::new(&caps(width(n)))));
        }
        rig.push(n).unwrap();
        for consumer in &consumers {
            match random(6) {
                0 => consumer.stick(),
                1 => consumer.unstick(),
                2 => std::thread::yield_now(),
                _ => {}
            }
        }
    }
    for consumer in &consumers {
        consumer.unstick();
        consumer.wait_idle();
        assert!(consumer.count("dropped-slow") > 0);
        assert_eq!(*consumer.offsets().last().unwrap(), 599);
    }
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
}

#[test]
fn the_oldest_gaps_and_custom_events_go_when_too_many_wait() {
    let rig = Rig::started();
    let (stuck, fast) = (stuck_consumer(&rig), consumer(&rig, "fast"));
    for n in 0..1000 {
        let event = if n % 2 == 0 { custom("x", n) } else { gap(n) };
        assert!(rig.src.push_event(event));
        if n % 100 == 0 {
            wait_for("the fast one", || customs(&fast, "x").last() == Some(&n));
        }
    }
    rig.push(1).unwrap();
    wait_for("the fast one", || fast.offsets() == [1]);
    assert_eq!(number(&fast.stats(), "events-dropped"), 0);
    let dropped = number(&stuck.stats(), "events-dropped");
    assert_eq!(dropped, 1000 - 256);
    stuck.unstick();
    wait_for("frame 1", || stuck.offsets() == [1]);
    let story = stuck.story();
    assert_eq!(story.len(), 257);
    assert_eq!(story.last().unwrap(), "1");
    let kept: Vec<u64> = (1000 - 256..1000).filter(|n| n % 2 == 0).collect();
    assert_eq!(customs(&stuck, "x"), kept);
    assert_eq!(stuck.events(gst::EventType::Gap).len(), 128);
    // What a real element tells of them is a figure of the element's too.
    let stats = rig.tee.property::<gst::Structure>("stats");
    let told = crate::accounts::consumers_of(&stats);
    let sum: u64 = told.iter().map(|one| number(one, "events-dropped")).sum();
    assert_eq!(sum, dropped);
}

#[test]
fn sticky_events_with_no_frame_between_are_merged() {
    let rig = Rig::started();
    let stuck = stuck_consumer(&rig);
    for n in 0..1000 {
        assert!(rig.src.push_event(tag(&format!("before {n}"))));
        assert!(rig.src.push_event(gst::event::Caps::new(&caps(8 + n))));
    }
    assert!(rig.src.push_event(custom("x", 7)));
    rig.push(1).unwrap();
    for n in 0..1000 {
        assert!(rig.src.push_event(tag(&format!("after {n}"))));
    }
    rig.push(2).unwrap();
    stuck.unstick();
    wait_for("frame 2", || stuck.offsets() == [1, 2]);
    assert_eq!(number(&stuck.stats(), "events-dropped"), 0);
    let story = stuck.story();
    let frame = story.iter().position(|told| told == "1").unwrap();
    // Of 3001 at most 256 and one were there at a time.
    assert!(story.len() <= 2 + 257, "{}", story.len());
    assert_eq!(customs(&stuck, "x"), [7]);
    let titles = titles(&stuck);
    assert!(titles.contains(&"before 999".to_owned()));
    assert_eq!(titles.last().unwrap(), "after 999");
    let formats = stuck.events(gst::EventType::Caps);
    let gst::EventView::Caps(last) = formats.last().unwrap().view() else {
        unreachable!()
    };
    assert_eq!(last.caps_owned(), caps(8 + 999));
    assert!(!story[frame..].contains(&"caps".to_owned()));
}

#[test]
fn a_flush_empties_the_queue_and_the_stream_goes_on() {
    let rig = Rig::started();
    let stuck = stuck_consumer(&rig);
    rig.push_all(1..4);
    assert!(rig.src.push_event(custom("void", 1)));
    assert!(rig.src.push_event(tag("kept")));
    rig.push(4).unwrap();
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    assert_eq!((stuck.level(), stuck.count("dropped-flushing")), (0, 4));
    assert_balanced(&stuck.stats());
    wait_for("flush-start", || stuck.story() == ["flush-start"]);
    // The sink pad refuses frames during the flush.
    assert_eq!(rig.push(5), Err(gst::FlowError::Flushing));
    assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
    rig.segment();
    rig.push_all(6..8);
    stuck.unstick();
    wait_for("the frames after it", || stuck.offsets() == [6, 7]);
    let story = stuck.story();
    let at = |name: &str| story.iter().position(|told| told == name);
    assert_eq!(at("flush-start"), Some(0), "{story:?}");
    assert!(at("flush-stop") < at("segment") && at("segment") < at("6"));
    assert_eq!(at("custom-downstream"), None);
    assert_eq!(story.iter().filter(|told| *told == "flush-stop").count(), 1);
    // Sticky events are no matter of position: they outlive it.
    wait_for("the tag", || titles(&stuck) == ["kept"]);
    stuck.wait_idle();
    assert_eq!(stuck.count("dropped-flushing"), 4);
    assert!(
        stuck.frames()[0]
            .flags()
            .contains(gst::BufferFlags::DISCONT)
    );
}

#[test]
fn flush_stop_always_comes_after_flush_start() {
    let rig = Rig::started();
    let consumers = [rig.consumer("a"), rig.consumer("b"), rig.consumer("c")];
    let mut n = 0;
    for _ in 0..50 {
        consumers[random(3) as usize].stick();
        for _ in 0..random(8) {
            rig.push(n).unwrap();
            n += 1;
        }
        assert!(rig.src.push_event(gst::event::FlushStart::new()));
        if random(2) == 0 {
            consumers.iter().for_each(Consumer::unstick);
        }
        assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
        consumers.iter().for_each(Consumer::unstick);
        rig.segment();
        rig.push(n).unwrap();
        n += 1;
        for consumer in &consumers {
            wait_for("the frame after it", || {
                consumer.offsets().last() == Some(&(n - 1))
            });
        }
    }
    for consumer in &consumers {
        consumer.wait_idle();
        let story = consumer.story();
        let flushes: Vec<_> = story
            .iter()
            .filter(|told| told.starts_with("flush"))
            .collect();
        assert_eq!(flushes.len(), 100);
        for pair in flushes.chunks(2) {
            assert_eq!(pair, ["flush-start", "flush-stop"]);
        }
    }
}

#[test]
fn out_of_band_events_do_not_wait_behind_frames() {
    let rig = Rig::started();
    let (stuck, fast) = (stuck_consumer(&rig), consumer(&rig, "fast"));
    rig.push_all(1..3);
    for n in 0..10 {
        let structure = gst::Structure::builder("now").field("n", n).build();
        assert!(
            rig.src
                .push_event(gst::event::CustomDownstreamOob::new(structure))
        );
    }
    for consumer in [&stuck, &fast] {
        wait_for("the events", || {
            consumer.events(gst::EventType::CustomDownstreamOob).len() == 10
        });
        let events = consumer.events(gst::EventType::CustomDownstreamOob);
        let order: Vec<i32> = events
            .iter()
            .map(|event| event.structure().unwrap().get("n").unwrap())
            .collect();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }
    assert_eq!(stuck.story(), ["custom-downstream-oob"; 10]);
}

#[test]
fn a_harness_sees_the_stream_as_it_was() {
    crate::common::init();
    let mut harness = gst_check::Harness::with_padnames("dronetee", Some("sink"), Some("src_%u"));
    harness.set_src_caps(caps(8));
    for n in 0..3 {
        assert!(harness.push_event(custom("x", n)));
        harness.push(crate::common::frame(n)).unwrap();
        let frame = harness.pull().unwrap();
        assert_eq!(frame.offset(), n);
        assert_eq!(frame.pts(), crate::common::frame(n).pts());
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let mut story = Vec::new();
    while story.last() != Some(&gst::EventType::Eos) {
        story.push(harness.pull_event().unwrap().type_());
    }
    use gst::EventType::{Caps, CustomDownstream, Eos, Segment, StreamStart};
    assert_eq!(
        story,
        [
            StreamStart,
            Caps,
            Segment,
            CustomDownstream,
            CustomDownstream,
            CustomDownstream,
            Eos
        ]
    );
}
