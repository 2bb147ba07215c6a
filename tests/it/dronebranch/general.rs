// SPDX-License-Identifier: MPL-2.0
//! Behind elements that end on an error: `tee`, `queue`, a decoder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;

use super::{CAMERA, Flight, rude, wait_more};
use crate::common::{DEADLINE, init, wait_for};

/// `tee` with a good branch, and frames that came to it.
fn flight(rest: &str) -> (Flight, Arc<AtomicU64>) {
    init();
    rude::register();
    let flight = Flight::of(&format!(
        "{CAMERA} ! tee name=t  t. ! queue ! fakesink name=good sync=false  t. ! {rest}"
    ));
    let made = Arc::<AtomicU64>::default();
    let count = made.clone();
    let tee = flight.element("t").static_pad("sink").unwrap();
    tee.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    (flight, made)
}

/// Plays until `done`, then ends and stops; the good branch has all frames.
#[track_caller]
fn fly(rest: &str, done: impl Fn(&Flight)) -> (Flight, u64) {
    let (flight, made) = flight(rest);
    let good = flight.frames_at("good");
    flight.play();
    done(&flight);
    wait_more("frames of the good one", &good, 10);
    flight.end();
    let [made, good] = [made, good].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(made, good);
    flight.stop();
    (flight, made)
}

#[test]
fn tee_goes_on_while_a_branch_fails() {
    let inside = Arc::new(AtomicU64::new(0));
    let (flight, made) = fly(
        "queue ! dronebranch.( name=branch restart-delay=20000000 restart-delay-max=20000000 \
         identity error-after=4 ! fakesink name=inside sync=false )",
        |flight| {
            let count = inside.clone();
            let pad = flight.element("inside").static_pad("sink").unwrap();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
            flight.wait_count("failures", 4);
        },
    );
    // Every frame went in or was counted.
    assert!(flight.count("dropped") >= 4);
    assert!(flight.count("dropped") + inside.load(Ordering::Relaxed) <= made);
}

#[test]
fn every_frame_was_taken_or_dropped() {
    let (flight, made) = fly(
        "queue ! dronebranch.( name=branch restart-delay=20000000 restart-delay-max=20000000 \
         rudesink mode=error )",
        |flight| flight.wait_count("failures", 3),
    );
    assert_eq!(flight.count("dropped"), made);
}

#[test]
fn tee_goes_on_whatever_the_content_answers() {
    for content in [
        "rudesink mode=flow",
        "identity eos-after=3 ! fakesink sync=false",
        "rudesink mode=flow name=direct",
    ] {
        let queue = if content.contains("direct") {
            ""
        } else {
            "queue !"
        };
        let (flight, _) = fly(
            &format!("{queue} dronebranch.( name=branch restart-delay=1000000 {content} )"),
            |flight| {
                wait_for("a drop", || flight.count("dropped") > 0);
            },
        );
        let ends_by_itself = content.contains("eos-after");
        assert_eq!(flight.count("failures") == 0, ends_by_itself, "{content}");
    }
}

#[test]
fn caps_that_change_to_what_the_content_refuses_do_not_end_tee() {
    let (flight, _) = fly(
        "queue ! dronebranch.( name=branch restart-delay=1000000 \
         capsfilter name=filter ! fakesink sync=false )",
        |flight| {
            wait_for("frames", || {
                let filter = flight.element("filter").static_pad("src").unwrap();
                filter.current_caps().is_some()
            });
            let caps = gst::Caps::builder("video/x-raw").field("width", 5).build();
            flight.element("filter").set_property("caps", &caps);
            let camera = flight.element("camera").static_pad("src").unwrap();
            let size = camera.peer().unwrap().parent_element().unwrap();
            let caps = "video/x-raw,format=GRAY8,width=32,height=16,framerate=100/1";
            size.set_property("caps", caps.parse::<gst::Caps>().unwrap());
            flight.wait_count("failures", 1);
        },
    );
    assert!(flight.count("dropped") > 0);
}

#[test]
fn content_that_hangs_behind_a_leaky_queue_ends_and_stops() {
    for mode in ["push", "eos", "error+teardown", "start"] {
        let key = format!("tee-{mode}");
        let _ = fly(
            &format!(
                "queue leaky=downstream max-size-buffers=4 ! \
                 dronebranch.( name=branch stop-timeout=50000000 rudesink mode={mode} key={key} )"
            ),
            |_| {},
        );
        rude::release(&key);
    }
}

#[test]
fn a_decoder_goes_on_while_the_branch_behind_it_fails() {
    init();
    let flight = Flight::of(
        "videotestsrc num-buffers=120 ! video/x-raw,format=I420,width=64,height=48,framerate=100/1 \
         ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=10 ! h264parse ! tee name=t \
         t. ! queue ! fakesink name=good \
         t. ! queue ! avdec_h264 ! dronebranch.( name=branch restart-delay=1000000 \
         identity error-after=10 ! fakesink sync=true )",
    );
    let good = flight.frames_at("good");
    flight.play();
    flight.wait_end();
    assert_eq!(good.load(Ordering::Relaxed), 120);
    assert!(flight.count("failures") > 0);
    flight.stop();
}

#[test]
fn the_only_branch_of_a_pipeline_may_fail() {
    init();
    for tee in [
        "",
        "dronetee name=t ! ",
        "dronetee name=t ! bin.( identity ! ",
    ] {
        only_branch_fails(tee);
    }
}

fn only_branch_fails(tee: &str) {
    let end = if tee.contains('(') { ")" } else { "" };
    let flight = Flight::of(&format!(
        "{CAMERA} ! {tee} dronebranch.( name=branch restart-delay=50000000 \
         restart-delay-max=50000000 identity error-after=3 ! fakesink sync=false ) {end}"
    ));
    flight.play();
    flight.wait_count("restarts", 3);
    flight.end();
    flight.stop();
}

#[test]
fn an_end_in_paused_or_before_a_pause_is_told_in_playing() {
    let (flight, _) =
        flight("queue ! dronebranch.( name=branch restart=false rudesink mode=error )");
    flight.play();
    flight.wait_state("failed");
    // The good one ends later.
    let good = flight.element("good").static_pad("sink").unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    good.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if info
            .event()
            .is_some_and(|event| event.type_() == gst::EventType::Eos)
        {
            let _ = wait.lock().unwrap().recv();
        }
        gst::PadProbeReturn::Ok
    });
    flight.pipeline.send_event(gst::event::Eos::new());
    let gate = flight
        .branch
        .static_pad("sink")
        .unwrap_or_else(|| flight.branch.sink_pads().into_iter().next().unwrap());
    wait_for("EOS at the branch", || {
        gate.sticky_event::<gst::event::Eos>(0).is_some()
    });
    flight.pipeline.set_state(gst::State::Paused).unwrap();
    flight.pipeline.set_state(gst::State::Playing).unwrap();
    drop(release);
    flight.wait_end();
    flight.stop();
}

/// A flush frees a sink that waits for its clock.
#[test]
fn a_flush_reaches_content_that_waits_in_a_frame() {
    init();
    let flight = Flight::of(
        "appsrc name=in is-live=true format=time \
         ! identity name=before ! dronebranch.( name=branch stop-timeout=30000000000 \
         fakesink name=inside sync=true async=false )",
    );
    let inside = flight.frames_at("inside");
    flight.play();
    let source = flight.element("in").downcast::<gst_app::AppSrc>().unwrap();
    let push = |seconds| {
        let mut frame = gst::Buffer::with_size(256).unwrap();
        let pts = gst::ClockTime::from_seconds(seconds);
        frame.get_mut().unwrap().set_pts(pts);
        source.push_buffer(frame).unwrap();
    };
    push(10_000);
    wait_for("a frame", || inside.load(Ordering::Relaxed) == 1);
    let pad = flight.element("before").static_pad("src").unwrap();
    assert!(pad.push_event(gst::event::FlushStart::new()));
    assert!(pad.push_event(gst::event::FlushStop::new(false)));
    // The source's thread has left with FLUSHING.
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(pad.push_event(gst::event::Segment::new(&segment)));
    let sink = flight.element("inside");
    assert!(
        sink.static_pad("sink")
            .unwrap()
            .sticky_event::<gst::event::Segment>(0)
            .is_some()
    );
    assert_eq!(flight.count("failures"), 0);
    flight.stop();
}

#[test]
fn a_flush_that_does_not_pass_is_a_failure_of_the_branch() {
    init();
    rude::register();
    let flight = Flight::of(
        "appsrc name=in is-live=true format=time ! identity name=before ! dronebranch.( name=branch \
         stop-timeout=50000000 restart-delay-max=1000000000000 \
         rudesink name=rude mode=push key=flush )",
    );
    flight.play();
    let source = flight.element("in").downcast::<gst_app::AppSrc>().unwrap();
    source
        .push_buffer(gst::Buffer::with_size(256).unwrap())
        .unwrap();
    let pad = flight.element("before").static_pad("src").unwrap();
    let rude = flight.element("rude");
    wait_for("a frame", || rude.property::<bool>("hung"));
    let (passed, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        pad.push_event(gst::event::FlushStart::new());
        let _ = passed.send(pad.push_event(gst::event::FlushStop::new(false)));
    });
    assert_eq!(wait.recv_timeout(DEADLINE), Ok(true));
    flight.wait_count("failures", 1);
    flight.stop();
    rude::release("flush");
}

#[test]
fn a_flush_passes_and_frames_come_after_it() {
    init();
    rude::register();
    for mode in ["", "queue !"] {
        let flight = Flight::of(&format!(
            "appsrc name=in is-live=true format=time caps=video/x-raw,format=GRAY8,width=16,height=16,framerate=100/1 \
             ! dronebranch.( name=branch {mode} fakesink name=inside sync=false async=false )"
        ));
        let inside = flight.frames_at("inside");
        flight.play();
        let source = flight.element("in").downcast::<gst_app::AppSrc>().unwrap();
        let push = || {
            source
                .push_buffer(gst::Buffer::with_size(256).unwrap())
                .unwrap()
        };
        push();
        wait_for("a frame", || inside.load(Ordering::Relaxed) == 1);
        assert!(source.send_event(gst::event::FlushStart::new()));
        assert!(source.send_event(gst::event::FlushStop::new(false)));
        push();
        wait_for("a frame", || inside.load(Ordering::Relaxed) == 2);
        source.end_of_stream().unwrap();
        flight.wait_end();
        flight.stop();
        assert_eq!(flight.count("failures"), 0);
    }
}
