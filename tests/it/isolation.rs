// SPDX-License-Identifier: MPL-2.0
//! What a branch can not do to upstream and to the other branches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Rig, caps, wait_for};
use gst::prelude::*;

#[test]
fn a_consumer_that_never_returns_costs_the_others_nothing() {
    let rig = Rig::started();
    let (stuck, fast) = (rig.consumer("stuck"), rig.consumer("fast"));
    stuck.stick();
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    for n in 1..100 {
        rig.push(n).unwrap();
        wait_for("the fast one", || fast.offsets().len() as u64 == n + 1);
    }
    wait_for("its accounts", || fast.count("out") == 100);
    assert_eq!(fast.count("dropped"), 0);
    assert_eq!((stuck.count("in-flight"), stuck.level()), (1, 4));
    assert_eq!(stuck.count("dropped-slow"), 95);
    crate::common::assert_balanced(&stuck.stats());
    // Teardown with it still in there, which it notices when it comes back.
    rig.tee.set_state(gst::State::Null).unwrap();
    assert_eq!(stuck.count("dropped-flushing"), 4);
    crate::common::assert_balanced(&stuck.stats());
    stuck.unstick();
    wait_for("its return", || stuck.count("in-flight") == 0);
    crate::common::assert_balanced(&stuck.stats());
}

#[test]
fn one_branch_fails_alone() {
    for (flow, state, reason) in [
        (gst::FlowError::Error, "failed", "dropped-error"),
        (gst::FlowError::NotNegotiated, "failed", "dropped-error"),
        (gst::FlowError::Eos, "eos", "dropped-eos"),
        (
            gst::FlowError::NotLinked,
            "not-linked",
            "dropped-not-linked",
        ),
        (gst::FlowError::Flushing, "ok", "dropped-flushing"),
    ] {
        let rig = Rig::started();
        let (bad, good) = (rig.consumer("bad"), rig.consumer("good"));
        // It shall lose frames for its answer only.
        bad.pad.set_property("depth", 100u32);
        bad.answer(Some(flow));
        for n in 0..50 {
            rig.push(n).unwrap();
            good.wait_idle();
        }
        bad.wait_idle();
        assert_eq!(good.offsets(), (0..50).collect::<Vec<_>>());
        assert_eq!(bad.state(), state);
        assert_eq!(bad.count(reason), 50, "{flow:?}");
        assert_eq!(
            bad.pad.property::<gst::FlowReturn>("last-flow"),
            gst::FlowReturn::from(Err(flow))
        );
        assert_eq!(bad.pad.property::<bool>("is-healthy"), state != "failed");
    }
}

#[test]
fn upstream_hears_the_end_when_nobody_is_left() {
    for (first, second, heard) in [
        (
            gst::FlowError::Eos,
            gst::FlowError::Eos,
            gst::FlowError::Eos,
        ),
        (
            gst::FlowError::Error,
            gst::FlowError::Error,
            gst::FlowError::Error,
        ),
        (
            gst::FlowError::NotNegotiated,
            gst::FlowError::NotNegotiated,
            gst::FlowError::NotNegotiated,
        ),
        (
            gst::FlowError::Eos,
            gst::FlowError::NotLinked,
            gst::FlowError::Eos,
        ),
    ] {
        let rig = Rig::started();
        let (a, b) = (rig.consumer("a"), rig.consumer("b"));
        a.answer(Some(first));
        rig.push(0).unwrap();
        a.wait_idle();
        b.wait_idle();
        rig.push(1).unwrap();
        b.wait_idle();
        b.answer(Some(second));
        rig.push(2).unwrap();
        b.wait_idle();
        assert_eq!(rig.push(3), Err(heard));
    }
}

#[test]
fn nobody_linked_is_as_allow_not_linked_says() {
    let rig = Rig::started();
    rig.push(0).unwrap();
    rig.tee.set_property("allow-not-linked", false);
    assert_eq!(rig.push(1), Err(gst::FlowError::NotLinked));
    let pad = rig.tee.request_pad_simple("src_%u").unwrap();
    wait_for("the unlinked pad's word", || {
        let _ = rig.push(2);
        pad.property::<u64>("dropped-not-linked") > 0
    });
    wait_for("upstream's answer", || {
        rig.push(3) == Err(gst::FlowError::NotLinked)
    });
    rig.tee.set_property("allow-not-linked", true);
    rig.push(4).unwrap();
}

#[test]
fn qos_of_a_branch_stops_at_its_pad() {
    let rig = Rig::started();
    let late = rig.consumer("late");
    rig.upstream_events.lock().unwrap().clear();
    let qos = gst::event::Qos::new(gst::QOSType::Underflow, 2.5, 7, gst::ClockTime::SECOND);
    assert!(late.sink.push_event(qos));
    assert!(rig.upstream_events.lock().unwrap().is_empty());
    let stats = late.stats();
    assert_eq!(stats.get::<u64>("qos-events").unwrap(), 1);
    assert_eq!(stats.get::<f64>("qos-proportion").unwrap(), 2.5);
    assert_eq!(stats.get::<i64>("qos-jitter").unwrap(), 7);
}

#[test]
fn a_branch_that_recovers_is_served_again() {
    // By RECONFIGURE.
    let rig = Rig::started();
    let (bad, _good) = (rig.consumer("bad"), rig.consumer("good"));
    bad.answer(Some(gst::FlowError::Error));
    rig.push(0).unwrap();
    bad.wait_idle();
    bad.answer(None);
    rig.push(1).unwrap();
    assert_eq!(bad.offsets(), [0]);
    assert!(bad.sink.push_event(gst::event::Reconfigure::new()));
    rig.push(2).unwrap();
    wait_for("a frame after RECONFIGURE", || bad.offsets() == [0, 2]);
    assert!(bad.frames()[1].flags().contains(gst::BufferFlags::DISCONT));
    bad.wait_idle();

    // By relinking.
    bad.pad.unlink(&bad.sink).unwrap();
    rig.push(3).unwrap();
    wait_for("no link", || bad.state() == "not-linked");
    bad.pad.link(&bad.sink).unwrap();
    bad.forget();
    rig.push(4).unwrap();
    wait_for("a frame after relinking", || bad.offsets() == [4]);
    bad.wait_idle();

    // By a new segment after EOS.
    bad.answer(Some(gst::FlowError::Eos));
    rig.push(5).unwrap();
    bad.wait_idle();
    bad.answer(None);
    rig.push(6).unwrap();
    assert_eq!(bad.state(), "eos");
    rig.segment();
    rig.push(7).unwrap();
    wait_for("a frame after the segment", || {
        bad.offsets().ends_with(&[7])
    });
    bad.wait_idle();

    // By a flush.
    bad.answer(Some(gst::FlowError::Error));
    rig.push(8).unwrap();
    bad.wait_idle();
    bad.answer(None);
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
    rig.segment();
    rig.push(9).unwrap();
    wait_for("a frame after the flush", || bad.offsets().ends_with(&[9]));
    bad.wait_idle();
}

#[test]
fn a_flush_does_not_wait_for_a_branch_that_blocks() {
    let rig = Rig::started();
    let (stuck, fast) = (rig.consumer("stuck"), rig.consumer("fast"));
    stuck.stick();
    rig.push_all(0..3);
    stuck.wait_in_flight();
    fast.wait_idle();
    for round in 0..5u64 {
        fast.forget();
        assert!(rig.src.push_event(gst::event::FlushStart::new()));
        assert!(rig.src.push_event(gst::event::FlushStop::new(true)));
        rig.segment();
        let n = 10 + round;
        rig.push(n).unwrap();
        wait_for("the fast one after the flush", || fast.offsets() == [n]);
        let story = fast.story();
        assert_eq!(
            story,
            ["flush-start", "flush-stop", "segment", &n.to_string()]
        );
        fast.wait_idle();
    }
    assert_eq!(stuck.count("dropped-flushing"), 2 + 4);
    stuck.unstick();
    wait_for("the stuck one", || stuck.offsets().last() == Some(&14));
    stuck.wait_idle();
    // GStreamer takes no second one while the first holds.
    assert!(!stuck.events(gst::EventType::FlushStart).is_empty());
}

#[test]
fn caps_that_one_branch_refuses_are_its_own_trouble() {
    let rig = Rig::new();
    let only = |width: i32| -> crate::common::Answer {
        let taken = caps(width);
        Box::new(move |query| match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                caps.set_result(&taken);
                Some(true)
            }
            gst::QueryViewMut::AcceptCaps(accept) => {
                let accepted = accept.caps().is_subset(&taken);
                accept.set_result(accepted);
                Some(true)
            }
            _ => None,
        })
    };
    let a = rig.consumer_with("a", Some(only(8)));
    let odd = rig.consumer_with("odd", Some(only(16)));
    let b = rig.consumer_with("b", Some(only(8)));
    assert_eq!(rig.src.peer_query_caps(None), caps(8));
    rig.begin(&caps(8));
    for n in 0..20 {
        rig.push(n).unwrap();
        a.wait_idle();
        b.wait_idle();
    }
    odd.wait_idle();
    assert_eq!(
        (odd.state().as_str(), odd.count("dropped-error")),
        ("failed", 20)
    );
    assert_eq!(
        odd.pad.property::<gst::FlowReturn>("last-flow"),
        gst::FlowReturn::NotNegotiated
    );
    assert_eq!((a.count("out"), b.count("out")), (20, 20));

    // Caps that no branch takes are refused, and the stream goes on with the old ones.
    rig.src.push_event(gst::event::Caps::new(&caps(32)));
    assert_eq!(rig.push(20), Err(gst::FlowError::NotNegotiated));
    assert_eq!((a.count("in"), a.state().as_str()), (20, "ok"));
    // Caps that it does take bring the odd one back, and are the others' trouble.
    rig.src.push_event(gst::event::Caps::new(&caps(16)));
    rig.push(20).unwrap();
    wait_for("the odd one", || odd.offsets() == [20]);
}

#[test]
fn who_joins_late_does_not_change_the_format() {
    let rig = Rig::new();
    let any = rig.consumer("any");
    rig.begin(&caps(8));
    rig.push(0).unwrap();
    any.wait_idle();
    rig.upstream_events.lock().unwrap().clear();
    let wants = caps(16);
    let linked = Arc::new(AtomicBool::new(false));
    let picky = linked.clone();
    let odd = rig.consumer_with(
        "odd",
        Some(Box::new(move |query| match query.view_mut() {
            gst::QueryViewMut::Caps(caps) if picky.load(Ordering::Relaxed) => {
                caps.set_result(&wants);
                Some(true)
            }
            gst::QueryViewMut::AcceptCaps(accept) => {
                let accepted = accept.caps().is_subset(&wants);
                accept.set_result(accepted);
                Some(true)
            }
            _ => None,
        })),
    );
    linked.store(true, Ordering::Relaxed);
    let asked = rig.src.peer_query_caps(None);
    assert_eq!(asked.structure(0), caps(8).structure(0));
    let reconfigured = |events: &[gst::Event]| {
        events
            .iter()
            .any(|event| event.type_() == gst::EventType::Reconfigure)
    };
    assert!(!reconfigured(&rig.upstream_events.lock().unwrap()));
    rig.push(1).unwrap();
    odd.wait_idle();
    any.wait_idle();
    assert_eq!((odd.state().as_str(), any.count("out")), ("failed", 2));
}

#[test]
fn three_consumers_in_real_branches_lose_nothing() {
    crate::common::init();
    let line = "videotestsrc is-live=true num-buffers=90 ! video/x-raw,framerate=30/1 \
        ! dronetee name=t \
        t.src_a ! videoconvert ! fakesink sync=false async=false \
        t.src_b ! identity eos-after=30 ! fakesink sync=false async=false \
        t.src_c ! fakesink sync=false async=false \
        t.src_d ! identity error-after=20 ! fakesink sync=false async=false";
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let pads: Vec<_> = ["a", "c"]
        .map(|name| tee.static_pad(&format!("src_{name}")).unwrap())
        .into();
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("all frames", || {
        let count = |pad: &gst::Pad, name| pad.property::<u64>(name);
        let done = |pad| count(pad, "out") + count(pad, "dropped") == 90;
        pads.iter().all(done)
    });
    for pad in pads {
        let stats = pad.property::<gst::Structure>("stats");
        assert_eq!(stats.get::<u64>("dropped").unwrap(), 0, "{stats}");
    }
    let pad = tee.static_pad("src_b").unwrap();
    assert_eq!(
        pad.property::<u64>("dropped-eos") + pad.property::<u64>("out"),
        90
    );
    let pad = tee.static_pad("src_d").unwrap();
    assert!(pad.property::<u64>("dropped-error") > 60);
    pipeline.set_state(gst::State::Null).unwrap();
}
