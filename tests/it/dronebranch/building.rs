// SPDX-License-Identifier: MPL-2.0
//! How a branch is put together: by launch lines, in code, from Python.

use gst::prelude::*;

use super::{Flight, wait_more};
use crate::common::{init, wait_for};
use crate::pipelines::tool;

fn make(factory: &str) -> gst::Element {
    gst::ElementFactory::make(factory).build().unwrap()
}

/// A pipeline with `dronetee`, the good branch and an empty `dronebranch` that is not linked.
fn empty() -> Flight {
    Flight::ready("dronebranch name=branch restart-delay=1000000")
}

fn fill(branch: &gst::Element) -> [gst::Element; 2] {
    let bin = branch.downcast_ref::<gst::Bin>().unwrap();
    let identity = make("identity");
    let sink = gst::ElementFactory::make("fakesink")
        .name("inside")
        .property("sync", false);
    let sink = sink.build().unwrap();
    bin.add_many([&identity, &sink]).unwrap();
    identity.link(&sink).unwrap();
    [identity, sink]
}

fn flies(flight: &Flight, identity: &gst::Element) {
    let inside = flight.frames_at("inside");
    flight.play();
    wait_more("frames", &inside, 5);
    gst::element_error!(identity, gst::StreamError::Failed, ["A fault"]);
    flight.wait_count("failures", 1);
    flight.land();
    let errors = flight.errors();
    let source: String = errors[0].get("source").unwrap();
    assert_eq!(source, identity.path_string());
}

#[test]
fn a_bin_built_in_code_with_a_ghost_pad() {
    let flight = empty();
    let [identity, _] = fill(&flight.branch);
    let ghost = gst::GhostPad::with_target(&identity.static_pad("sink").unwrap()).unwrap();
    assert_eq!(ghost.name(), "sink");
    flight.branch.add_pad(&ghost).unwrap();
    let tee = flight.element("t");
    tee.link_pads(Some("src_bad"), &flight.branch, Some("sink"))
        .unwrap();
    flies(&flight, &identity);
}

#[test]
fn a_bin_built_in_code_whose_pad_is_found() {
    // Linked before it is filled, after it, and by a request.
    let flight = empty();
    let tee = flight.element("t");
    let pad = tee.request_pad_simple("src_bad").unwrap();
    pad.link(&flight.branch.static_pad("sink").unwrap())
        .unwrap();
    let [identity, _] = fill(&flight.branch);
    flies(&flight, &identity);

    let flight = empty();
    let [identity, _] = fill(&flight.branch);
    let tee = flight.element("t");
    tee.link_pads(Some("src_bad"), &flight.branch, None)
        .unwrap();
    flies(&flight, &identity);

    let flight = empty();
    let [identity, _] = fill(&flight.branch);
    let sink = flight.branch.request_pad_simple("sink").unwrap();
    let pad = flight.element("t").request_pad_simple("src_bad").unwrap();
    pad.link(&sink).unwrap();
    flies(&flight, &identity);
}

#[test]
fn elements_can_be_found_and_taken_out() {
    let flight = empty();
    let [identity, sink] = fill(&flight.branch);
    let bin = flight.branch.downcast_ref::<gst::Bin>().unwrap();
    assert_eq!(bin.by_name("inside").as_ref(), Some(&sink));
    bin.remove(&sink).unwrap();
    assert_eq!(bin.by_name("inside"), None);
    assert_eq!(sink.parent(), None);
    bin.remove(&identity).unwrap();
    // Now it takes a description.
    flight
        .branch
        .set_property("description", "fakesink name=inside sync=false");
    flight.element("t").link(&flight.branch).unwrap();
    let inside = flight.frames_at("inside");
    flight.play();
    wait_more("frames", &inside, 5);
    flight.land();
}

#[test]
fn a_launch_line_in_parentheses_or_as_a_description() {
    for branch in [
        "t.src_bad ! dronebranch.( name=branch identity name=i ! fakesink name=inside sync=false )",
        "t.src_bad ! dronebranch name=branch description=\"identity name=i ! fakesink name=inside sync=false\"",
        "t.src_bad ! branch.  dronebranch name=branch description=\"identity name=i ! fakesink name=inside sync=false\"",
        "t.src_bad ! i.  dronebranch.( name=branch identity name=i ! fakesink name=inside sync=false )",
        "t.src_bad ! queue ! dronebranch.( name=branch queue ! identity name=i ! tee name=t2 \
         t2. ! queue ! fakesink name=inside sync=false t2. ! queue ! fakesink sync=false )",
        "t.src_bad ! bin.( queue ! dronebranch.( name=branch identity name=i ! fakesink name=inside sync=false ) )",
    ] {
        let flight = Flight::ready(branch);
        let identity = flight.element("i");
        flies(&flight, &identity);
    }
}

#[test]
fn a_description_is_for_null_and_ready_and_may_change_there() {
    let flight =
        Flight::ready("t.src_bad ! dronebranch name=branch description=\"fakesink name=one\"");
    flight.play();
    flight
        .branch
        .set_property("description", "fakesink name=two");
    let description: String = flight.branch.property("description");
    assert_eq!(description, "fakesink name=one");
    flight.land();
    flight.messages.lock().unwrap().clear();
    flight
        .branch
        .set_property("description", "fakesink name=two sync=false");
    assert!(flight.pipeline.by_name("one").is_none());
    let two = flight.frames_at("two");
    flight.play();
    wait_more("frames", &two, 3);
    flight.land();

    let filled = empty();
    let [identity, _] = fill(&filled.branch);
    filled.branch.set_property("description", "fakesink");
    assert_eq!(
        filled.branch.property::<Option<String>>("description"),
        None
    );
    assert!(identity.parent().is_some());
}

#[test]
fn counters_begin_anew_at_ready() {
    let flight =
        Flight::start("t.src_bad ! dronebranch.( name=branch restart=false rudesink mode=error )");
    flight.wait_state("failed");
    flight.wait_count("dropped", 1);
    flight.stop();
    assert_eq!((flight.count("failures"), flight.count("dropped")), (1, 1));
    flight.branch.set_state(gst::State::Ready).unwrap();
    assert_eq!((flight.count("failures"), flight.count("dropped")), (0, 0));
    assert_eq!(flight.branch.property::<Option<String>>("last-error"), None);
}

#[test]
fn the_clock_and_the_contexts_of_the_pipeline_reach_the_content() {
    let flight =
        Flight::ready("t.src_bad ! dronebranch.( name=branch fakesink name=inside sync=true )");
    let context = gst::Context::new("dronetee.test", true);
    flight.branch.set_context(&context);
    let inside = flight.frames_at("inside");
    flight.play();
    wait_more("frames", &inside, 10);
    let sink = flight.element("inside");
    assert_eq!(sink.clock(), flight.pipeline.clock());
    assert_eq!(sink.base_time(), flight.pipeline.base_time());
    assert!(sink.context("dronetee.test").is_some());
    assert!(flight.branch.provide_clock().is_none());
    flight.land();
}

/// The clock of a sink that comes and goes is not for the pipeline.
#[test]
fn the_content_is_no_clock() {
    let flight =
        Flight::ready("t.src_bad ! dronebranch.( name=branch rudesink name=rude clock=true )");
    assert!(flight.element("rude").provide_clock().is_some());
    flight.play();
    let clock = flight.pipeline.clock().unwrap();
    assert_eq!(clock.type_().name(), "GstSystemClock");
    flight.land();
    assert!(flight.messages(gst::MessageType::ClockLost).is_empty());
}

/// An application that does not care for LATENCY messages: content that comes back gets what the
/// other sinks have.
#[test]
fn the_latency_of_the_pipeline_reaches_each_life() {
    let flight = Flight::ready(
        "t.src_bad ! dronebranch.( name=branch restart-delay=1000000 \
         identity name=i ! fakesink name=inside sync=true )",
    );
    let inside = flight.frames_at("inside");
    let (told, latencies) = std::sync::mpsc::channel();
    let upstream = flight.element("inside").static_pad("sink").unwrap();
    upstream.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        if let Some(gst::EventView::Latency(latency)) = info.event().map(|event| event.view()) {
            let _ = told.send(latency.latency());
        }
        gst::PadProbeReturn::Ok
    });
    flight.play();
    wait_more("frames", &inside, 3);
    let latency = gst::ClockTime::from_mseconds(70);
    assert!(
        flight
            .pipeline
            .send_event(gst::event::Latency::new(latency))
    );
    wait_for("the latency", || {
        latencies.try_iter().any(|told| told == latency)
    });
    drop(latencies.try_iter().collect::<Vec<_>>());
    gst::element_error!(flight.element("i"), gst::StreamError::Failed, ["A fault"]);
    flight.wait_count("restarts", 1);
    let mut told = Vec::new();
    wait_for("a latency", || {
        told.extend(latencies.try_iter());
        !told.is_empty()
    });
    assert!(told.iter().all(|told| *told == latency), "{told:?}");
    wait_more("frames", &inside, 3);
    flight.land();
}

const PROGRAM: &str = r#"
import gi
gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst
Gst.init(None)
pipeline = Gst.parse_launch(
    "videotestsrc num-buffers=60 is-live=true ! video/x-raw,framerate=60/1 ! dronetee name=t "
    "t.src_good ! fakesink sync=false")
branch = Gst.ElementFactory.make("dronebranch", "detection")
branch.set_property("restart-delay", 1000000)
identity = Gst.ElementFactory.make("identity")
identity.set_property("error-after", 10)
sink = Gst.ElementFactory.make("fakesink")
branch.add(identity)
branch.add(sink)
identity.link(sink)
branch.add_pad(Gst.GhostPad.new("sink", identity.get_static_pad("sink")))
pipeline.add(branch)
pipeline.get_by_name("t").link_pads("src_bad", branch, "sink")
pipeline.set_state(Gst.State.PLAYING)
bus = pipeline.get_bus()
while True:
    message = bus.timed_pop(30 * Gst.SECOND)
    if message is None or message.type in (Gst.MessageType.ERROR, Gst.MessageType.EOS):
        break
    structure = message.get_structure()
    if structure and structure.get_name() == "dronebranch-error":
        print(structure.get_string("branch"), structure.get_value("failures"))
assert message.type == Gst.MessageType.EOS, message and message.type
print(branch.get_property("state").value_nick, branch.get_property("failures") > 2)
pipeline.set_state(Gst.State.NULL)
print(branch.get_property("state").value_nick)
"#;

#[test]
fn from_python() {
    let output = tool("/usr/bin/python3")
        .args(["-c", PROGRAM])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(text.starts_with("detection 1\ndetection 2\n"), "{text}");
    assert!(text.contains(" True\nstopped\n"), "{text}");
}

#[test]
fn a_branch_that_was_never_started_goes_away() {
    init();
    let branch = make("dronebranch");
    branch.set_property("description", "queue ! fakesink name=inside");
    let inside = branch
        .downcast_ref::<gst::Bin>()
        .unwrap()
        .by_name("inside")
        .unwrap();
    let (branch, inside) = {
        let weak = (branch.downgrade(), inside.downgrade());
        drop((branch, inside));
        weak
    };
    wait_for("gone", || {
        branch.upgrade().is_none() && inside.upgrade().is_none()
    });
}
