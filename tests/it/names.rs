// SPDX-License-Identifier: MPL-2.0
//! Names of consumers are unique in an element, however they were given.

use std::sync::Barrier;

use crate::source::Source;
use gst::prelude::*;
use gstdronetee::Error;

fn taken(name: &str) -> Error {
    Error::NameTaken(name.into())
}

fn consumer(pad: &gst::Pad) -> String {
    pad.property("consumer")
}

#[test]
fn a_name_given_by_the_property_is_taken() {
    let source = Source::started(None);
    let pad = source.tee.request_pad_simple("src_a").unwrap();
    pad.set_property("consumer", "telemetry");
    let error = source.publisher.subscribe("telemetry").unwrap_err();
    assert_eq!(error, taken("telemetry"));
    assert!(source.tee.request_pad_simple("src_telemetry").is_none());
    assert_eq!(source.tee.property::<i32>("num-src-pads"), 1);
    // The pad's own name stays the pad's.
    assert_eq!(source.publisher.subscribe("a").unwrap_err(), taken("a"));
    let other = source.tee.request_pad_simple("src_b").unwrap();
    other.set_property("consumer", "a");
    assert_eq!(consumer(&other), "a");

    // With its pad the name goes.
    source.tee.release_request_pad(&pad);
    drop(source.publisher.subscribe("telemetry").unwrap());
    let _again = source.publisher.subscribe("telemetry").unwrap();
}

#[test]
fn a_name_that_is_taken_is_refused_by_the_property() {
    let source = Source::started(None);
    let pad = source.tee.request_pad_simple("src_a").unwrap();
    let _receiver = source.publisher.subscribe("telemetry").unwrap();
    let own = source.tee.static_pad("src_telemetry").unwrap();
    pad.set_property("consumer", "telemetry");
    assert_eq!(consumer(&pad), "a", "the old name stays");
    own.set_property("consumer", "a");
    assert_eq!(consumer(&own), "telemetry");
    // Its own name is no other's.
    pad.set_property("consumer", "a");
    assert_eq!(consumer(&pad), "a");

    // A default that another has got meanwhile.
    pad.set_property("consumer", "renamed");
    own.set_property("consumer", "a");
    pad.set_property("consumer", None::<String>);
    assert_eq!(
        (consumer(&pad), consumer(&own)),
        ("renamed".into(), "a".into())
    );
    own.set_property("consumer", "telemetry");
    pad.set_property("consumer", None::<String>);
    assert_eq!(consumer(&pad), "a");
    let called: Vec<_> = source.publisher.health().consumers;
    let called: Vec<_> = called.into_iter().map(|one| one.consumer).collect();
    assert_eq!(called, ["a", "telemetry"]);
}

#[test]
fn numbered_pads_and_receivers_keep_apart() {
    let source = Source::started(None);
    let pad = source.tee.request_pad_simple("src_%u").unwrap();
    assert_eq!(consumer(&pad), "src_0");
    let error = source.publisher.subscribe("src_0").unwrap_err();
    assert_eq!(error, taken("src_0"));
    // There is a pad of that name, although its consumer is called otherwise.
    assert_eq!(source.publisher.subscribe("0").unwrap_err(), taken("0"));
    let _receiver = source.publisher.subscribe("src_1").unwrap();
    let next = source.tee.request_pad_simple("src_%u").unwrap();
    assert_eq!(
        (next.name().as_str(), consumer(&next)),
        ("src_2", "src_2".into())
    );
    assert!(source.tee.request_pad_simple("src_1").is_none());
}

/// Set by the launch line before the pad is there.
#[test]
fn a_launch_line_gives_a_name_once() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let line = "dronetee name=t src_a::consumer=same src_b::consumer=same \
                t.src_a ! fakesink t.src_b ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let tee = pipeline
        .downcast::<gst::Bin>()
        .unwrap()
        .by_name("t")
        .unwrap();
    let mut names: Vec<_> = tee.src_pads().iter().map(consumer).collect();
    names.sort();
    assert!(
        names == ["a", "same"] || names == ["b", "same"],
        "{names:?}"
    );
}

#[test]
fn of_several_at_once_one_gets_the_name() {
    let source = Source::started(None);
    let pads = ["src_a", "src_b"].map(|name| source.tee.request_pad_simple(name).unwrap());
    for _ in 0..200 {
        let start = Barrier::new(4);
        let count = std::thread::scope(|scope| {
            let start = &start;
            let renames = pads.each_ref().map(|pad| {
                scope.spawn(move || {
                    start.wait();
                    pad.set_property("consumer", "x");
                    consumer(pad) == "x"
                })
            });
            let publisher = &source.publisher;
            let subscribed = [0, 1].map(|_| {
                scope.spawn(move || {
                    start.wait();
                    publisher.subscribe("x").ok()
                })
            });
            let renamed = renames.map(|thread| thread.join().unwrap());
            let receivers = subscribed.map(|thread| thread.join().unwrap());
            let subscribed = receivers.each_ref().map(Option::is_some);
            renamed
                .into_iter()
                .chain(subscribed)
                .filter(|got| *got)
                .count()
        });
        assert_eq!(count, 1);
        for pad in &pads {
            pad.set_property("consumer", None::<String>);
        }
    }
}

/// Names of two threads for one pad: what is said of it and what is taken is the same one.
#[test]
fn the_name_that_stays_is_the_one_that_is_taken() {
    let source = Source::started(None);
    let pad = source.tee.request_pad_simple("src_a").unwrap();
    for _ in 0..200 {
        std::thread::scope(|scope| {
            for name in ["x", "y"] {
                let pad = &pad;
                scope.spawn(move || pad.set_property("consumer", name));
            }
        });
        let stays = consumer(&pad);
        let free = if stays == "x" { "y" } else { "x" };
        drop(source.publisher.subscribe(free).unwrap());
        assert_eq!(
            source.publisher.subscribe(&stays).unwrap_err(),
            taken(&stays)
        );
    }
}

/// What any pad is asked for by is no name of a receiver's.
#[test]
fn a_template_is_no_name_for_a_receiver() {
    let source = Source::started(None);
    for name in ["%s", "%u"] {
        let error = source.publisher.subscribe(name).unwrap_err();
        assert_eq!(error, Error::InvalidName(name.into()));
    }
    assert_eq!(source.tee.property::<i32>("num-src-pads"), 0);
}

#[test]
fn a_pad_that_has_left_does_not_rename_the_next_one() {
    let source = Source::started(None);
    let old = source.tee.request_pad_simple("src_a").unwrap();
    source.tee.release_request_pad(&old);
    let new = source.tee.request_pad_simple("src_a").unwrap();
    old.set_property("consumer", "b");
    assert_eq!([&old, &new].map(consumer), ["b", "a"]);
    let other = source.tee.request_pad_simple("src_c").unwrap();
    other.set_property("consumer", "a");
    assert_eq!(consumer(&other), "c");
    other.set_property("consumer", "b");
    assert_eq!(consumer(&other), "b");
}
