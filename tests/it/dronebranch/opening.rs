// SPDX-License-Identifier: MPL-2.0
//! Content that does not come up: no file, no preroll, no state change.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use gst::prelude::*;

use super::{Flight, wait_more};
use crate::common::wait_for;

fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("dronebranch-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_file_that_can_not_be_opened_at_the_start_is_written_later() {
    let directory = scratch("later");
    let file = directory.join("frames");
    let flight = Flight::start(&format!(
        "t.src_record ! dronebranch.( name=branch restart-delay=1000000 restart-delay-max=5000000 \
         filesink location={} )",
        file.display()
    ));
    flight.wait_count("failures", 3);
    std::fs::create_dir_all(&directory).unwrap();
    flight.wait_state("running");
    let frames = flight.frames_at("good");
    wait_more("frames", &frames, 10);
    flight.land();
    let written = std::fs::metadata(&file).unwrap().len();
    assert!(
        written >= 5 * 256 && written.is_multiple_of(256),
        "{written}"
    );
    let code = flight.errors()[0].get::<String>("domain").unwrap();
    assert_eq!(code, "gst-resource-error-quark");
}

#[test]
fn content_that_refuses_its_state_is_a_failure_of_the_branch() {
    for change in ["null-to-ready", "ready-to-paused", "paused-to-playing"] {
        let flight = Flight::start(&format!(
            "t.src_bad ! dronebranch.( name=branch restart-delay=1000000 \
             fakesink sync=false state-error={change} )"
        ));
        flight.wait_count("failures", 2);
        flight.land();
    }
}

#[test]
fn a_description_that_can_not_be_built_is_a_failure_for_good() {
    let flight = Flight::ready("t.src_bad ! dronebranch name=branch");
    for description in [
        "nosuchelement ! fakesink",
        "fakesink fakesink",
        "videotestsrc",
    ] {
        flight.branch.set_property("description", description);
        flight.play();
        flight.wait_state("failed");
        flight.land();
        assert_eq!(flight.count("failures"), 1, "{description}");
        flight.messages.lock().unwrap().clear();
    }
}

#[test]
fn the_pipeline_does_not_wait_for_content_that_never_prerolls() {
    let flight = Flight::start(
        "t.src_bad ! dronebranch.( name=branch restart-delay-max=1000000 \
         valve drop=true ! fakesink )",
    );
    let frames = flight.frames_at("good");
    wait_more("frames", &frames, 10);
    assert_eq!(flight.state(), "running");
    // Content that takes frames for so long without one at a sink has failed.
    flight.wait_count("failures", 1);
    flight.land();
    let message = flight.errors()[0].get::<String>("message").unwrap();
    assert!(message.contains("preroll"), "{message}");
}

/// GstBin tells of the start once all its sinks have.
#[test]
fn the_start_of_the_stream_is_told_without_the_content() {
    let flight = Flight::start(
        "t.src_bad ! dronebranch.( name=branch restart=false filesink location=/nonexistent/file )",
    );
    wait_for("STREAM_START", || {
        !flight.messages(gst::MessageType::StreamStart).is_empty()
    });
    flight.wait_state("failed");
    flight.land();
}

#[test]
fn content_without_preroll_ends_with_the_stream() {
    // The queue keeps all until the end.
    let flight = Flight::ready(
        "t.src_bad ! dronebranch.( name=branch queue min-threshold-buffers=100000 \
         max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! fakesink name=inside sync=false )",
    );
    let inside = flight.frames_at("inside");
    flight.play();
    let frames = flight.frames_at("good");
    wait_more("frames", &frames, 10);
    flight.land();
    assert_eq!(flight.count("failures"), 0);
    let published: u64 = flight.element("t").property("published");
    assert_eq!(inside.load(Ordering::Relaxed), published);
}

#[test]
fn content_that_changes_its_state_asynchronously_comes_to_playing() {
    let flight = Flight::ready(
        "t.src_slow ! dronebranch.( name=branch queue ! fakesink name=inside async=true sync=true )",
    );
    let inside = flight.frames_at("inside");
    // READY to PAUSED and PLAYING is SUCCESS at once: there is nothing to wait for.
    flight.branch.set_locked_state(true);
    for state in [gst::State::Ready, gst::State::Paused, gst::State::Playing] {
        let changed = flight.branch.set_state(state);
        assert_eq!(changed, Ok(gst::StateChangeSuccess::Success));
        let (changed, current, pending) = flight.branch.state(gst::ClockTime::ZERO);
        assert_eq!(changed, Ok(gst::StateChangeSuccess::Success));
        assert_eq!((current, pending), (state, gst::State::VoidPending));
    }
    flight.branch.set_locked_state(false);
    flight.play();
    wait_more("frames", &inside, 10);
    let sink = flight.element("inside");
    wait_for("PLAYING", || {
        sink.state(gst::ClockTime::ZERO).1 == gst::State::Playing
    });
    flight.land();
    assert_eq!((flight.count("failures"), flight.count("dropped")), (0, 0));
}

#[test]
fn a_live_source_in_the_content_is_no_matter_of_the_pipeline() {
    let flight = Flight::start(
        "t.src_bad ! dronebranch.( name=branch fakesink name=inside sync=false \
         videotestsrc is-live=true ! fakesink sync=false )",
    );
    let inside = flight.frames_at("inside");
    wait_more("frames", &inside, 5);
    let (changed, ..) = flight.branch.state(gst::ClockTime::ZERO);
    assert_eq!(changed, Ok(gst::StateChangeSuccess::Success));
    flight.stop();
}

#[test]
fn the_content_follows_paused_and_playing() {
    let flight = Flight::start("t.src_a ! dronebranch.( name=branch fakesink name=inside )");
    let sink = flight.element("inside");
    // A live source makes no frame to preroll with: PAUSED is pending.
    let is_in = |state| {
        move |sink: &gst::Element| {
            let (_, current, pending) = sink.state(gst::ClockTime::ZERO);
            pending == state || current == state && pending == gst::State::VoidPending
        }
    };
    let inside = flight.frames_at("inside");
    for _ in 0..3 {
        wait_more("frames", &inside, 3);
        flight.pipeline.set_state(gst::State::Paused).unwrap();
        wait_for("PAUSED", || is_in(gst::State::Paused)(&sink));
        flight.play();
        wait_for("PLAYING", || is_in(gst::State::Playing)(&sink));
    }
    flight.end();
    flight.stop();
    wait_for("NULL", || is_in(gst::State::Null)(&sink));
    assert_eq!(flight.count("failures"), 0);
}
