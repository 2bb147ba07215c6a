// SPDX-License-Identifier: MPL-2.0
//! Content that hangs: in its push, in its EOS, in its teardown, in its start.

use gst::prelude::*;

use super::{Flight, rude, wait_more};
use crate::common::wait_for;

/// A branch with a sink that hangs in `mode`, with a description or with elements of its own.
fn flight(described: bool, options: &str, mode: &str, key: &str) -> Flight {
    let content = format!("queue ! rudesink name=rude mode={mode} key={key}");
    let options = format!("name=branch restart-delay=1000000 stop-timeout=50000000 {options}");
    Flight::start(&match described {
        true => format!("t.src_bad ! dronebranch {options} description=\"{content}\""),
        false => format!("t.src_bad ! dronebranch.( {options} {content} )"),
    })
}

fn good_frames(flight: &Flight) {
    let frames = flight.frames_at("good");
    wait_more("frames of the good one", &frames, 10);
}

#[test]
fn content_that_hangs_in_its_push_ends_with_the_pipeline() {
    for described in [true, false] {
        let key = format!("push-{described}");
        let flight = flight(described, "", "push", &key);
        good_frames(&flight);
        // The queue in it takes frames until it is full.
        flight.land();
        assert_eq!(flight.count("abandoned"), 1);
        rude::release(&key);
    }
}

#[test]
fn content_that_hangs_in_upstreams_frame_ends_with_the_pipeline() {
    let flight = Flight::start(
        "t.src_bad ! dronebranch.( name=branch stop-timeout=50000000 \
         rudesink mode=push key=direct )",
    );
    let bad = flight.element("t").static_pad("src_bad").unwrap();
    wait_for("a frame in flight", || {
        bad.property::<u64>("in-flight") == 1
    });
    good_frames(&flight);
    // EOS waits behind the frame, on the other side of dronetee.
    flight.land();
    wait_for("left behind", || flight.count("abandoned") == 1);
    let message = flight.errors()[0].get::<String>("message").unwrap();
    assert!(message.contains("ended"), "{message}");
    rude::release("direct");
}

#[test]
fn content_that_hangs_behind_a_pad_of_no_element_fails_like_any_other() {
    crate::common::init();
    rude::register();
    let line = "fakesink async=false dronebranch.( name=branch stop-timeout=1000000 restart-delay-max=1000000 \
         rudesink mode=push key=padonly )";
    let flight = Flight::of(line);
    // As an application or a harness makes one: nothing knows what is upstream of it.
    let source = gst::Pad::builder(gst::PadDirection::Src)
        .name("own")
        .build();
    source.set_active(true).unwrap();
    source
        .link(&flight.branch.request_pad_simple("sink").unwrap())
        .unwrap();
    flight.pipeline.set_state(gst::State::Playing).unwrap();
    source.push_event(gst::event::StreamStart::new("own"));
    source.push_event(gst::event::Segment::new(&gst::FormattedSegment::<
        gst::ClockTime,
    >::new()));
    let pushing = source.clone();
    let thread = std::thread::spawn(move || pushing.push(gst::Buffer::with_size(1).unwrap()));
    flight.wait_count("failures", 1);
    flight.pipeline.set_state(gst::State::Null).unwrap();
    rude::release("padonly");
    let _ = thread.join().unwrap();
}

#[test]
fn content_that_hangs_in_its_eos_does_not_hold_up_the_end() {
    for described in [true, false] {
        for content in ["rudesink", "queue ! rudesink", "identity ! rudesink"] {
            let key = format!("eos-{described}-{content}");
            let content = format!("{content} mode=eos key=\\\"{key}\\\"");
            let options = "name=branch restart-delay=1000000 stop-timeout=50000000";
            let flight = Flight::start(&match described {
                true => format!("t.src_bad ! dronebranch {options} description=\"{content}\""),
                false => {
                    format!("t.src_bad ! dronebranch.( {options} {content} )").replace('\\', "")
                }
            });
            good_frames(&flight);
            flight.end();
            wait_for("left behind", || flight.count("abandoned") == 1);
            let state = if described { "waiting" } else { "failed" };
            flight.wait_state(state);
            // After the end of the stream there is nothing to restart for.
            assert_eq!(flight.count("restarts"), 0);
            flight.assert_good();
            flight.stop();
            rude::release(&key);
        }
    }
}

#[test]
fn content_that_never_says_that_it_has_ended_does_not_hold_up_the_end() {
    let flight = flight(false, "", "silent", "silent");
    good_frames(&flight);
    flight.land();
    assert_eq!(
        (flight.count("failures"), flight.count("abandoned")),
        (1, 0)
    );
}

#[test]
fn content_may_take_its_time_to_end_while_frames_move() {
    let flight = Flight::start(
        "t.src_slow ! dronebranch.( name=branch stop-timeout=200000000 \
         queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 \
         ! identity sleep-time=40000 ! fakesink name=inside sync=false )",
    );
    let inside = flight.frames_at("inside");
    // Most of 60 frames wait when the stream ends.
    let published = || flight.element("t").property::<u64>("published");
    wait_for("frames", || published() >= 60);
    flight.land();
    assert_eq!(
        (flight.count("failures"), flight.count("abandoned")),
        (0, 0)
    );
    let frames = inside.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(frames, published());
}

#[test]
fn content_that_hangs_in_its_teardown_is_replaced() {
    let flight = flight(true, "", "error+teardown", "teardown");
    flight.wait_count("abandoned", 3);
    flight.wait_count("restarts", 3);
    assert_ne!(flight.state(), "failed");
    flight.land();
    rude::release("teardown");
}

#[test]
fn without_a_description_content_that_hangs_in_its_teardown_is_a_failure_for_good() {
    let flight = flight(false, "", "error+teardown", "lost");
    flight.wait_state("failed");
    assert_eq!(
        (flight.count("abandoned"), flight.count("failures")),
        (1, 2)
    );
    good_frames(&flight);
    flight.land();
    let message: String = flight.branch.property("last-error");
    assert!(message.contains("left behind"), "{message}");

    // Started anew, the branch has nothing to run.
    flight.messages.lock().unwrap().clear();
    flight.play();
    flight.wait_state("failed");
    flight.land();
    rude::release("lost");
}

#[test]
fn content_that_was_left_behind_is_freed_when_it_returns() {
    let flight = Flight::ready(
        "t.src_bad ! dronebranch name=branch restart-delay=1000000 stop-timeout=50000000 \
         description=\"queue ! rudesink name=rude mode=error+teardown key=freed\"",
    );
    let old = flight.element("rude").downgrade();
    flight.play();
    flight.wait_count("abandoned", 1);
    assert!(old.upgrade().is_some());
    rude::release("freed");
    flight.wait_count("restarts", 3);
    flight.messages.lock().unwrap().clear();
    wait_for("freed", || old.upgrade().is_none());
    flight.land();
}

#[test]
fn content_that_hangs_in_its_start_holds_up_nothing() {
    for described in [true, false] {
        let key = format!("start-{described}");
        let flight = flight(described, "", "start", &key);
        good_frames(&flight);
        assert_eq!(flight.state(), "running");
        flight.land();
        assert_eq!(flight.count("abandoned"), 1);
        rude::release(&key);
    }
}

#[test]
fn content_that_hangs_in_its_start_is_replaced_in_the_end() {
    let flight = flight(true, "restart-delay-max=1000000", "start", "starts");
    flight.wait_count("restarts", 1);
    rude::release("starts");
    flight.wait_state("running");
    flight.land();
    assert_eq!(flight.count("abandoned"), 1);
}

#[test]
fn content_that_hangs_in_a_frame_is_replaced_in_the_end() {
    let flight = Flight::start(
        "t.src_bad ! dronebranch name=branch restart-delay-max=1000000 stop-timeout=50000000 \
         description=\"rudesink mode=push key=pushes\"",
    );
    flight.wait_count("abandoned", 1);
    rude::release("pushes");
    flight.wait_state("running");
    flight.land();
    assert_eq!(flight.count("failures"), 1);
}

/// One after the other they would take longer than the test has.
#[test]
fn a_pipeline_with_many_branches_that_hang_stops_in_the_time_of_one() {
    let line = |n: u32| {
        format!(
            "t.src_{n} ! dronebranch.( name=branch{n} stop-timeout=5000000000 \
             rudesink mode=push key=many )"
        )
    };
    let lines: Vec<_> = (10..18).map(line).collect();
    let flight = Flight::start(&format!(
        "t.src_bad ! dronebranch.( name=branch fakesink ) {}",
        lines.join(" ")
    ));
    good_frames(&flight);
    for n in 10..18 {
        let pad = flight.element("t").static_pad(&format!("src_{n}")).unwrap();
        wait_for("a frame in flight", || {
            pad.property::<u64>("in-flight") == 1
        });
    }
    flight.stop();
    rude::release("many");
}

#[test]
fn queries_of_a_pipeline_do_not_hang_in_the_content() {
    let flight = flight(false, "", "push", "queries");
    good_frames(&flight);
    let mut query = gst::query::Latency::new();
    assert!(flight.pipeline.query(&mut query));
    assert!(flight.pipeline.recalculate_latency().is_ok());
    let _ = flight.pipeline.query_position::<gst::ClockTime>();
    flight.land();
    rude::release("queries");
}
