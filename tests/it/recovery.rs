// SPDX-License-Identifier: MPL-2.0
//! What a branch says to an old frame is not for what comes after it recovered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Answer, Consumer, DEADLINE, Rig, caps, wait_for};
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

/// As a queue does that waits for its own stuck thread when it is flushed.
#[test]
fn a_branch_that_hangs_in_a_flush_is_no_trouble_for_the_next_one_on_its_pad() {
    let rig = Rig::started();
    let hung = rig.consumer("a");
    rig.push(0).unwrap();
    hung.wait_idle();
    let hangs = Arc::new(AtomicBool::new(true));
    let while_hanging = hangs.clone();
    hung.sink
        .add_probe(gst::PadProbeType::EVENT_FLUSH, move |_, info| {
            let begin = Instant::now();
            let starts = info.event().unwrap().type_() == gst::EventType::FlushStart;
            while starts && while_hanging.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
                assert!(begin.elapsed() < crate::common::DEADLINE);
            }
            gst::PadProbeReturn::Ok
        });
    rig.flush();
    rig.src.push_event(gst::event::CustomDownstreamOob::new(
        gst::Structure::new_empty("before"),
    ));
    hung.pad.unlink(&hung.sink).unwrap();
    let next = rig.link(hung.pad.clone(), None);
    rig.flush();
    rig.push_all(1..3);
    next.wait_idle();
    assert_eq!(next.offsets(), [1, 2]);
    hangs.store(false, Ordering::SeqCst);
}

/// The branch that is linked while another one is told of the stream once more has to learn all of it.
#[test]
fn a_link_during_repeated_events_is_told_from_the_beginning() {
    let rig = Rig::started();
    let first = rig.consumer("moves");
    first.stick();
    rig.push(0).unwrap();
    first.wait_in_flight();
    first.pad.unlink(&first.sink).unwrap();
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let channels = std::sync::Mutex::new((asked, may_go_on));
    let answer = move |query: &mut gst::QueryRef| {
        if query.type_() == gst::QueryType::AcceptCaps {
            let channels = channels.lock().unwrap();
            // The test ends when it knows enough.
            let _ = channels.0.send(());
            let _ = channels.1.recv();
        }
        None
    };
    let second = rig.link(first.pad.clone(), Some(Box::new(answer)));
    first.unstick();
    rig.push(1).unwrap();
    // In the middle of the caps.
    is_asked.recv_timeout(DEADLINE).unwrap();
    second.pad.unlink(&second.sink).unwrap();
    let third = rig.link(first.pad.clone(), None);
    drop(go_on);
    rig.push(2).unwrap();
    wait_for("a frame", || third.offsets().last() == Some(&2));
    let story = third.story();
    assert_eq!(story[..3], ["stream-start", "caps", "segment"], "{story:?}");
}
