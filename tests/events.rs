// SPDX-License-Identifier: MPL-2.0
//! Events keep their place among the frames that survive, and are not lost.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Rig, caps, wait_for};
use gst::prelude::*;

fn custom(rig: &Rig, n: u32) {
    let structure = gst::Structure::builder("custom").field("n", n).build();
    assert!(
        rig.src
            .push_event(gst::event::CustomDownstream::new(structure))
    );
}

fn gap(rig: &Rig, n: u64) {
    let at = gst::ClockTime::from_mseconds(n);
    assert!(rig.src.push_event(gst::event::Gap::builder(at).build()));
}

#[test]
fn events_stay_between_the_frames_that_survive() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    custom(&rig, 0);
    rig.push(1).unwrap();
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    rig.push(2).unwrap();
    gap(&rig, 1);
    rig.push_all(3..5);
    custom(&rig, 1);
    rig.push_all(5..8);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    slow.unstick();
    wait_for("EOS", || slow.story().ends_with(&["eos".into()]));
    let start = ["stream-start", "caps", "segment", "0"];
    let rest = [
        "custom-downstream",
        "caps",
        "gap",
        "4",
        "custom-downstream",
        "5",
        "6",
        "7",
        "eos",
    ];
    assert_eq!(slow.story(), [&start[..], &rest[..]].concat());
    assert_eq!(slow.events(gst::EventType::Caps).len(), 2);
}

#[test]
fn a_stuck_consumer_does_not_gather_events_without_end() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    for n in 0..400 {
        rig.segment();
        gap(&rig, n);
        custom(&rig, n as u32);
    }
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    rig.push(1).unwrap();
    assert!(rig.src.push_event(gst::event::Eos::new()));
    let shed = slow.stats().get::<u64>("events-dropped").unwrap();
    assert!(shed > 0);
    slow.unstick();
    wait_for("EOS", || slow.story().ends_with(&["eos".into()]));
    let story = slow.story();
    // The newest segment, the caps before it, the newest of the rest; then the frame.
    let place = |name: &str| story.iter().rposition(|other| other == name).unwrap();
    assert!(story.len() <= 4 + 256 + 3, "{}", story.len());
    assert!(place("caps") < place("1") && place("segment") < place("1"));
    assert_eq!(slow.events(gst::EventType::Caps).len(), 2);
    let gaps = slow.events(gst::EventType::Gap).len()
        + slow.events(gst::EventType::CustomDownstream).len();
    assert_eq!(gaps as u64, 800 - shed);
    let last = slow.events(gst::EventType::CustomDownstream).pop().unwrap();
    assert_eq!(last.structure().unwrap().get::<u32>("n").unwrap(), 399);
}

#[test]
fn a_flush_empties_the_queue() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    gap(&rig, 0);
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(16))));
    rig.push_all(1..4);
    slow.unstick_on_flush(&rig);
    rig.segment();
    rig.push(9).unwrap();
    wait_for("a frame after the flush", || slow.offsets() == [0, 9]);
    // The gap is void, the caps are not; they may come while the pad is flushing, or after.
    let mut after = slow.story().split_off(4);
    after.retain(|name| name != "flush-start" && name != "caps");
    assert_eq!(after, ["flush-stop", "segment", "9"]);
    assert_eq!(slow.events(gst::EventType::Caps).len(), 2);
    slow.wait_idle();
    assert_eq!(slow.count("dropped-flushing"), 3);
}

#[test]
fn out_of_band_events_reach_all_and_wait_for_none() {
    let rig = Rig::started();
    let (stuck, other) = (rig.consumer("stuck"), rig.consumer("other"));
    stuck.stick();
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    for n in 0..3u32 {
        let structure = gst::Structure::builder("oob").field("n", n).build();
        assert!(
            rig.src
                .push_event(gst::event::CustomDownstreamOob::new(structure))
        );
    }
    for consumer in [&stuck, &other] {
        let events = || consumer.events(gst::EventType::CustomDownstreamOob);
        wait_for("the events", || events().len() == 3);
        let order: Vec<u32> = events()
            .iter()
            .map(|e| e.structure().unwrap().get("n").unwrap())
            .collect();
        assert_eq!(order, [0, 1, 2]);
    }
    assert_eq!(stuck.count("in-flight"), 1);
}

impl common::Consumer {
    /// As a sink does that a flush wakes up.
    fn unstick_on_flush(&self, rig: &Rig) {
        assert!(rig.src.push_event(gst::event::FlushStart::new()));
        self.unstick();
        assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
    }
}
