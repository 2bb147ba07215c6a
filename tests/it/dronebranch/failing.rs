// SPDX-License-Identifier: MPL-2.0
//! Content that fails again and again.

use gst::prelude::*;

use super::{Flight, wait_more};
use crate::common::wait_for;

const BAD: &str = "t.src_bad ! dronebranch.( name=branch restart-delay=1000000";

#[test]
fn content_that_fails_is_restarted_with_growing_pauses() {
    let flight = Flight::start(&format!(
        "{BAD} restart-delay-max=10000000000 identity error-after=4 ! fakesink sync=false )"
    ));
    flight.wait_count("failures", 4);
    flight.land();

    let errors = flight.errors();
    let pauses: Vec<u64> = errors
        .iter()
        .take(4)
        .map(|error| error.get("restart-in").unwrap())
        .collect();
    assert_eq!(pauses, [1_000_000, 2_000_000, 4_000_000, 8_000_000]);
    assert_eq!(errors.len() as u64, flight.count("failures"));
    assert!(flight.count("restarts") >= 3);
    assert_eq!(flight.count("abandoned"), 0);
}

#[test]
fn an_error_becomes_an_element_message_and_a_warning() {
    let flight = Flight::start(&format!(
        "{BAD} restart=false identity name=culprit error-after=4 ! fakesink sync=false )"
    ));
    flight.wait_state("failed");
    wait_for("a warning", || {
        !flight.messages(gst::MessageType::Warning).is_empty()
    });
    let culprit = flight.element("culprit");
    let [error] = &flight.errors()[..] else {
        panic!("{:?}", flight.errors())
    };
    assert_eq!(error.get::<String>("branch").unwrap(), "branch");
    assert_eq!(
        error.get::<String>("source").unwrap(),
        culprit.path_string()
    );
    assert_eq!(
        error.get::<String>("domain").unwrap(),
        "gst-core-error-quark"
    );
    assert_eq!(error.get::<i32>("code").unwrap(), 1);
    let message = error.get::<String>("message").unwrap();
    assert!(message.contains("as requested"), "{message}");
    assert!(!error.get::<String>("debug").unwrap().is_empty());
    assert_eq!(error.get::<u64>("restart-in").unwrap(), u64::MAX);
    assert_eq!(error.get::<u64>("failures").unwrap(), 1);

    let warnings = flight.messages(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = warnings[0].view() else {
        panic!("{warnings:?}")
    };
    assert_eq!(warning.src(), Some(flight.branch.upcast_ref()));
    assert!(warning.error().message().contains(&message));
    let last_error: String = flight.branch.property("last-error");
    assert!(last_error.contains(&message), "{last_error}");
    flight.land();
    assert_eq!(flight.count("failures"), 1, "readable after the stop");
}

#[test]
fn gives_up_after_so_many_failures_in_a_row() {
    let flight = Flight::start(&format!(
        "{BAD} restart-delay-max=10000000000 max-restarts=3 \
         identity error-after=4 ! fakesink sync=false )"
    ));
    flight.wait_state("failed");
    assert_eq!((flight.count("failures"), flight.count("restarts")), (3, 2));
    let bad = flight.element("t").static_pad("src_bad").unwrap();
    wait_for("frames refused", || {
        bad.property::<u64>("dropped-error") > 10
    });
    // One frame was in flight at each failure; of the others dronetee knows.
    assert_eq!(flight.count("dropped"), 3);
    flight.land();
    assert_eq!(flight.errors().len(), 3);
}

#[test]
fn having_run_for_long_ends_the_row() {
    let flight = Flight::start(&format!(
        "{BAD} restart-delay-max=2000000 max-restarts=2 \
         identity error-after=10 ! fakesink sync=false )"
    ));
    // Ten frames take 100 ms.
    flight.wait_count("failures", 4);
    assert_ne!(flight.state(), "failed");
    flight.land();
}

#[test]
fn an_error_without_a_message_is_a_failure() {
    let flight = Flight::start(&format!("{BAD} rudesink mode=flow )"));
    flight.wait_count("failures", 2);
    flight.land();
    let message = flight.errors()[0].get::<String>("message").unwrap();
    assert!(message.contains("Error"), "{message}");
}

#[test]
fn caps_that_the_content_refuses_are_a_failure() {
    let flight = Flight::start(&format!(
        "{BAD} capsfilter name=filter ! fakesink sync=false )"
    ));
    let frames = flight.frames_at("good");
    wait_more("frames", &frames, 3);
    let caps = gst::Caps::builder("video/x-raw").field("width", 5).build();
    flight.element("filter").set_property("caps", &caps);
    let caps = "video/x-raw,format=GRAY8,width=32,height=16,framerate=100/1";
    let source = flight.element("camera").static_pad("src").unwrap();
    let filter = source.peer().unwrap().parent_element().unwrap();
    filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
    flight.wait_count("failures", 1);
    flight.land();
}

#[test]
fn the_state_is_notified_with_no_lock_held() {
    let flight = Flight::ready(&format!(
        "{BAD} max-restarts=2 identity error-after=4 ! fakesink sync=false )"
    ));
    let (told, states) = std::sync::mpsc::channel();
    flight
        .branch
        .connect_notify(Some("state"), move |branch, _| {
            let value = branch.property_value("state");
            let failures: u64 = branch.property("failures");
            let (_, value) = glib::EnumValue::from_value(&value).unwrap();
            let _ = told.send((value.nick().to_owned(), failures));
        });
    flight.play();
    flight.wait_state("failed");
    flight.land();
    let mut states: Vec<_> = states.try_iter().map(|(state, _)| state).collect();
    states.dedup();
    assert_eq!(states.last().unwrap(), "stopped");
    assert!(states.iter().any(|state| state == "failed"), "{states:?}");
}

#[test]
fn a_message_handler_may_stop_the_branch() {
    let flight = Flight::ready(&format!(
        "{BAD} identity error-after=4 ! fakesink sync=false )"
    ));
    let branch = flight.branch.downgrade();
    let (stopped, wait) = std::sync::mpsc::channel();
    let bus = flight.pipeline.bus().unwrap();
    bus.unset_sync_handler();
    bus.set_sync_handler(move |_, message| {
        let is_error = |s: &gst::StructureRef| s.name() == "dronebranch-error";
        if message.structure().is_some_and(is_error) {
            let branch = branch.upgrade().unwrap();
            branch.set_locked_state(true);
            let _ = stopped.send(branch.set_state(gst::State::Null));
        }
        gst::BusSyncReply::Drop
    });
    flight.play();
    let stopped = wait.recv_timeout(crate::common::DEADLINE).unwrap();
    assert_eq!(stopped, Ok(gst::StateChangeSuccess::Success));
    wait_for("stopped", || flight.state() == "stopped");
}
