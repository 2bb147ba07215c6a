// SPDX-License-Identifier: MPL-2.0
//! Content and surroundings that an adversary would choose.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use gst::prelude::*;

use super::{CAMERA, Flight, GOOD, wait_more};
use crate::common::{init, wait_for};

const CODED: &str = "videotestsrc name=camera is-live=true \
     ! video/x-raw,format=I420,width=64,height=48,framerate=60/1 \
     ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse \
     ! dronetee name=t depth=100";
const QUICK: &str = "name=branch restart-delay=1000000";

fn fault(flight: &Flight, element: &str) {
    let element = flight.element(element);
    gst::element_error!(element, gst::StreamError::Failed, ["A fault"]);
}

/// Hangs until it is told not to.
#[derive(Default, Clone)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn hang(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// `decodebin` makes new pads in each life, and a launch line links only the first ones.
#[test]
fn pads_that_come_and_go_are_linked_in_each_life() {
    init();
    for branch in [
        format!(
            "dronebranch.( {QUICK} decodebin ! identity name=i ! fakesink name=inside sync=false )"
        ),
        format!(
            "dronebranch {QUICK} description=\"decodebin ! identity name=i ! fakesink name=inside sync=false\""
        ),
        format!(
            "dronebranch {QUICK} description=\"identity ! parsebin ! decodebin ! identity name=i \
             ! fakesink name=inside sync=false\""
        ),
    ] {
        let flight = Flight::of(&format!("{CODED} {GOOD} t.src_bad ! {branch}"));
        let inside = flight.frames_at("inside");
        flight.play();
        for life in 1..4 {
            wait_more("frames of this life", &inside, 5);
            assert_eq!(flight.count("failures"), life - 1);
            fault(&flight, "i");
            flight.wait_count("restarts", life);
        }
        wait_more("frames of the last life", &inside, 5);
        flight.land();
        assert_eq!(flight.count("failures"), 3);
    }
}

/// An application that links pads by itself does so in each life, and is not got in the way of.
#[test]
fn pads_that_the_application_links_are_left_to_it() {
    init();
    let flight = Flight::of(&format!(
        "{CODED} {GOOD} t.src_bad ! dronebranch.( {QUICK} decodebin name=d \
         identity name=i ! fakesink name=inside sync=false )"
    ));
    let links = Arc::<AtomicU64>::default();
    let (linked, sink) = (links.clone(), flight.element("i").downgrade());
    flight.element("d").connect_pad_added(move |_, pad| {
        let sink = sink.upgrade().unwrap().static_pad("sink").unwrap();
        pad.link(&sink).unwrap();
        linked.fetch_add(1, Ordering::Relaxed);
    });
    let inside = flight.frames_at("inside");
    flight.play();
    wait_more("frames", &inside, 5);
    fault(&flight, "i");
    flight.wait_count("restarts", 1);
    wait_more("frames", &inside, 5);
    assert_eq!(links.load(Ordering::Relaxed), 2);
    flight.land();
}

/// A compositor waits for all its inputs, of which one never ends by itself.
#[test]
fn sources_in_the_content_end_with_the_stream() {
    let flight = Flight::start(&format!(
        "t.src_bad ! dronebranch.( {QUICK} queue ! compositor name=mix ! fakesink name=inside sync=false \
         videotestsrc is-live=true ! video/x-raw,framerate=100/1 ! mix. )"
    ));
    let inside = flight.frames_at("inside");
    wait_more("frames", &inside, 5);
    flight.land();
    assert_eq!(flight.count("failures"), 0);
}

#[test]
fn content_without_a_sink_ends_with_the_stream() {
    for content in ["identity drop-probability=1 ! identity", "identity"] {
        let flight = Flight::start(&format!("t.src_bad ! dronebranch.( {QUICK} {content} )"));
        let good = flight.frames_at("good");
        wait_more("frames of the good one", &good, 5);
        flight.land();
        assert_eq!(
            flight.count("failures"),
            0,
            "{content}: {:?}",
            flight.errors()
        );
    }
}

fn nested(inner: &str) -> (Flight, gst::Element, Gate) {
    let times = "stop-timeout=300000000 restart-delay=1000000";
    let flight = Flight::ready(&format!(
        "t.src_bad ! dronebranch.( name=branch {times} \
         dronebranch.( name=inner {times} {inner} identity name=i ! fakesink sync=false ) )"
    ));
    let (gate, hung) = (Gate::default(), Arc::<AtomicBool>::default());
    let (hangs, begun) = (gate.clone(), hung.clone());
    let pad = flight.element("i").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        begun.store(true, Ordering::Relaxed);
        hangs.hang();
        gst::PadProbeReturn::Ok
    });
    let inner = flight.element("inner");
    flight.play();
    wait_for("a frame that hangs", || hung.load(Ordering::Relaxed));
    (flight, inner, gate)
}

/// The inner branch finds out what hangs in it, and the outer one has nothing to keep.
#[test]
fn a_branch_in_a_branch_keeps_what_hangs_to_itself() {
    for inner in ["", "queue !"] {
        let (flight, branch, gate) = nested(inner);
        flight.land();
        assert_eq!(branch.property::<u64>("abandoned"), 1);
        let outer = (flight.count("failures"), flight.count("abandoned"));
        assert_eq!(outer, (0, 0), "{:?}", flight.errors());
        gate.open();

        let (flight, branch, gate) = nested(inner);
        flight.stop();
        assert_eq!(branch.property::<u64>("abandoned"), 1);
        assert_eq!(flight.count("abandoned"), 0);
        gate.open();
    }
}

#[test]
fn a_branch_in_a_branch_fails_alone() {
    let flight = Flight::start(&format!(
        "t.src_bad ! dronebranch.( {QUICK} queue ! dronebranch.( name=inner restart-delay=1000000 \
         identity error-after=3 ! fakesink sync=false ) )"
    ));
    let inner = flight.element("inner");
    wait_for("failures of the inner one", || {
        inner.property::<u64>("failures") >= 3
    });
    flight.land();
    assert_eq!(flight.count("failures"), 0);
}

/// Behind an element that delivers it in the application's thread.
#[test]
fn an_event_out_of_band_does_not_hang_in_the_content() {
    init();
    let flight = Flight::of(&format!(
        "{CAMERA} ! tee name=t t. ! queue ! fakesink name=good sync=false \
         t. ! dronebranch.( {QUICK} stop-timeout=50000000 identity name=i ! fakesink sync=false )"
    ));
    let gate = Gate::default();
    let hangs = gate.clone();
    let pad = flight.element("i").static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let event = info.event().unwrap();
        if event.type_() == gst::EventType::CustomDownstreamOob {
            hangs.hang();
        }
        gst::PadProbeReturn::Ok
    });
    let good = flight.frames_at("good");
    flight.play();
    wait_more("frames", &good, 5);
    let (sent, wait) = std::sync::mpsc::channel();
    let camera = flight.element("camera");
    std::thread::spawn(move || {
        let event = gst::event::CustomDownstreamOob::new(gst::Structure::new_empty("test"));
        let _ = sent.send(camera.send_event(event));
    });
    assert!(wait.recv_timeout(crate::common::DEADLINE).is_ok());
    wait_more("frames", &good, 5);
    flight.end();
    flight.stop();
    gate.open();
}

#[test]
fn the_longest_times_are_no_times_of_gstreamer_s() {
    let longest = u64::MAX;
    let flight = Flight::start(&format!(
        "t.src_bad ! dronebranch.( name=branch restart-delay={longest} restart-delay-max={longest} \
         stop-timeout={longest} identity error-after=2 ! fakesink sync=false )"
    ));
    wait_for("the message", || flight.errors().len() == 1);
    assert_eq!(flight.state(), "waiting");
    flight.land();
}

/// A pipeline that stops stops its branches, but for those that the application keeps out of it.
#[test]
fn a_branch_with_a_locked_state_goes_on() {
    let flight = Flight::start(&format!(
        "t.src_bad ! dronebranch.( {QUICK} fakesink )  t.src_2 ! dronebranch.( fakesink )"
    ));
    flight.branch.set_locked_state(true);
    flight.pipeline.set_state(gst::State::Ready).unwrap();
    assert_eq!(flight.state(), "running");
    flight.branch.set_locked_state(false);
    flight.stop();
}

/// Seeks of elements in the content come upstream in the thread that has the frame.
#[test]
fn the_content_may_seek_in_the_middle_of_a_frame() {
    init();
    let flight = Flight::of(&format!(
        "videotestsrc num-buffers=50 ! video/x-raw,format=GRAY8,width=16,height=16 \
         ! dronebranch.( {QUICK} identity name=i ! fakesink name=inside sync=false )"
    ));
    let sought = AtomicBool::new(false);
    let pad = flight.element("i").static_pad("src").unwrap();
    let entry = flight.element("i").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if !sought.swap(true, Ordering::Relaxed) {
            let flags = gst::SeekFlags::FLUSH;
            let start = gst::ClockTime::from_mseconds(500);
            let seek = gst::event::Seek::new(
                1.0,
                flags,
                gst::SeekType::Set,
                start,
                gst::SeekType::None,
                gst::ClockTime::NONE,
            );
            assert!(entry.push_event(seek));
            // It is of the time before.
            return gst::PadProbeReturn::Drop;
        }
        gst::PadProbeReturn::Ok
    });
    flight.play();
    flight.wait_end();
    assert_eq!(flight.count("failures"), 0, "{:?}", flight.errors());
    flight.stop();
}

/// A handler of a message that comes from the content's state change, in the thread of that.
#[test]
fn a_message_of_the_content_s_own_thread_may_stop_the_branch() {
    let flight = Flight::ready(&format!(
        "t.src_bad ! dronebranch.( {QUICK} stop-timeout=5000000000 fakesink name=inside sync=false )"
    ));
    let (stopped, begin) = (Arc::<AtomicU64>::default(), std::time::Instant::now());
    let (branch, inside) = (flight.branch.downgrade(), flight.element("inside"));
    let bus = flight.pipeline.bus().unwrap();
    let took = stopped.clone();
    bus.unset_sync_handler();
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::StateChanged(change) = message.view()
            && change.current() == gst::State::Playing
            && message.src() == Some(inside.upcast_ref())
            && took.load(Ordering::Relaxed) == 0
        {
            let branch = branch.upgrade().unwrap();
            // The pipeline would start it again while it starts itself.
            branch.set_locked_state(true);
            branch.set_state(gst::State::Null).unwrap();
            let elapsed = begin.elapsed().as_nanos();
            took.store(u64::try_from(elapsed).unwrap(), Ordering::Relaxed);
        }
        gst::BusSyncReply::Drop
    });
    let frames = flight.frames_at("inside");
    flight.play();
    wait_for("the stop", || stopped.load(Ordering::Relaxed) > 0);
    assert_eq!(flight.state(), "stopped");
    flight.branch.set_state(gst::State::Playing).unwrap();
    wait_more("frames", &frames, 5);
    assert_eq!(
        (flight.count("abandoned"), flight.count("failures")),
        (0, 0)
    );
    flight.branch.set_locked_state(false);
    flight.stop();
    bus.unset_sync_handler();
}
