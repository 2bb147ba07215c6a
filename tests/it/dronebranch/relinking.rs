// SPDX-License-Identifier: MPL-2.0
//! Branches that are relinked, removed and added in PLAYING.

use gst::prelude::*;

use super::{Flight, rude, wait_more};
use crate::common::wait_for;

fn outer_pad(branch: &gst::Element) -> gst::Pad {
    branch.sink_pads().into_iter().next().unwrap()
}

#[test]
fn a_branch_is_linked_to_another_pad() {
    let flight = Flight::start(
        "t.src_a ! dronebranch.( name=branch restart-delay=1000000 fakesink name=inside sync=false )",
    );
    let inside = flight.frames_at("inside");
    let tee = flight.element("t");
    let sink = outer_pad(&flight.branch);
    for n in 0..10 {
        wait_more("frames", &inside, 3);
        let old = sink.peer().unwrap();
        old.unlink(&sink).unwrap();
        tee.release_request_pad(&old);
        let new = tee.request_pad_simple(&format!("src_b{n}")).unwrap();
        new.link(&sink).unwrap();
    }
    wait_more("frames", &inside, 3);
    flight.land();
    assert_eq!(flight.count("failures"), 0);
}

#[test]
fn a_branch_that_waits_is_relinked_and_comes_back() {
    let flight = Flight::start(
        "t.src_a ! dronebranch.( name=branch restart-delay=100000000 \
         identity name=i error-after=3 ! fakesink name=inside sync=false )",
    );
    flight.wait_state("waiting");
    let tee = flight.element("t");
    let sink = outer_pad(&flight.branch);
    let old = sink.peer().unwrap();
    old.unlink(&sink).unwrap();
    tee.release_request_pad(&old);
    let inside = flight.frames_at("inside");
    flight.element("i").set_property("error-after", -1);
    let new = tee.request_pad_simple("src_b").unwrap();
    new.link(&sink).unwrap();
    wait_more("frames", &inside, 5);
    flight.wait_state("running");
    flight.land();
}

/// Adds a branch in PLAYING.
fn add(flight: &Flight, content: &str, n: u32) -> gst::Element {
    let branch = gst::ElementFactory::make("dronebranch")
        .property("restart-delay", 1_000_000_u64)
        .property("stop-timeout", 50_000_000_u64)
        .property("description", content)
        .build()
        .unwrap();
    flight.pipeline.add(&branch).unwrap();
    let pad = flight.element("t").request_pad_simple(&format!("src_n{n}"));
    pad.unwrap().link(&outer_pad(&branch)).unwrap();
    branch.sync_state_with_parent().unwrap();
    branch
}

fn remove(flight: &Flight, branch: &gst::Element) {
    let sink = outer_pad(branch);
    let pad = sink.peer().unwrap();
    pad.unlink(&sink).unwrap();
    flight.element("t").release_request_pad(&pad);
    branch.set_state(gst::State::Null).unwrap();
    flight.pipeline.remove(branch).unwrap();
}

#[test]
fn branches_are_added_and_removed_in_playing() {
    let flight = Flight::start("t.src_a ! dronebranch.( name=branch fakesink )");
    let contents = [
        "fakesink name=there sync=false",
        "queue ! fakesink name=there sync=true",
        "identity error-after=2 ! fakesink name=there sync=false",
        "rudesink mode=push key=added",
        "rudesink mode=error+teardown key=added",
        "rudesink mode=start key=added",
    ];
    for (n, content) in (0..).zip(contents.iter().cycle().take(18)) {
        let branch = add(&flight, content, n);
        if content.contains("there") {
            let bin = branch.downcast_ref::<gst::Bin>().unwrap();
            let there = bin.by_name("there").unwrap().static_pad("sink").unwrap();
            wait_for("frames", || there.current_caps().is_some());
        }
        remove(&flight, &branch);
    }
    let errors = flight.messages(gst::MessageType::Error);
    assert!(errors.is_empty(), "{errors:?}");
    flight.land();
    rude::release("added");
}
