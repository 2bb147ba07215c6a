// SPDX-License-Identifier: MPL-2.0
//! What a branch says to an old frame is not for what comes after it recovered.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{Answer, Consumer, Rig, caps, wait_for};
use gst::prelude::*;

/// A slow consumer, stuck with frame 0, that will answer it with `flow` and the next ones with OK.
fn answering(rig: &Rig, flow: gst::FlowError) -> Consumer {
    let slow = rig.consumer("slow");
    slow.pad.set_property("depth", 10u32);
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    slow.answer(Some(flow));
    let record = slow.record.clone();
    slow.sink
        .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, _| {
            record.answer(None);
            gst::PadProbeReturn::Ok
        });
    slow
}

#[test]
fn eos_is_said_to_one_segment() {
    let rig = Rig::started();
    let other = rig.consumer("other");
    let slow = answering(&rig, gst::FlowError::Eos);
    rig.push(1).unwrap();
    rig.segment();
    rig.push_all(2..4);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 2, 3]);
    assert_eq!(
        (slow.count("dropped-eos"), slow.state().as_str()),
        (2, "ok")
    );
    other.wait_idle();
    assert_eq!(other.count("dropped"), 0);
}

#[test]
fn what_is_said_before_a_flush_is_over_after_it() {
    for flow in [gst::FlowError::Eos, gst::FlowError::Error] {
        let rig = Rig::started();
        let slow = answering(&rig, flow);
        rig.flush();
        slow.unstick();
        wait_for("its answer", || slow.count("in-flight") == 0);
        rig.push_all(1..4);
        slow.wait_idle();
        assert_eq!(slow.offsets(), [0, 1, 2, 3], "{flow:?}");
    }
}

#[test]
fn refused_caps_are_refused_and_the_next_are_not() {
    let rig = Rig::new();
    let small: Answer = Box::new(|query| match query.view_mut() {
        gst::QueryViewMut::AcceptCaps(query) => {
            query.set_result(query.caps().is_subset(&caps(8)));
            Some(true)
        }
        _ => None,
    });
    let slow = rig.consumer_with("slow", Some(small));
    let _other = rig.consumer("other");
    slow.pad.set_property("depth", 10u32);
    rig.begin(&caps(8));
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    for (width, n) in [(16, 1), (8, 2)] {
        assert!(rig.src.push_event(gst::event::Caps::new(&caps(width))));
        rig.push(n).unwrap();
    }
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 2]);
    assert_eq!(slow.count("dropped-error"), 1);
}
