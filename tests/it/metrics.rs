// SPDX-License-Identifier: MPL-2.0
//! What Prometheus reads: exactly the ledger, in each scrape of one moment, and only if asked for.

mod program;
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::autopilot::{Run, fails_with, final_table, numbers};
use crate::common::{DEADLINE, REASONS, Rig, wait_for};
use crate::rtsp_server::{RtspServer, Streams};
use crate::scrape::{Scrape, ask};
use gst::prelude::*;
use gstdronetee::metrics::{DEFAULT_ADDRESS, Exporter, Format, Server};
use gstdronetee::{Error, FramePublisher, State, consumers};

const NAMES: [&str; 3] = [
    consumers::DETECTION_CLIENT,
    consumers::MOVEMENT_DETECTOR,
    consumers::TELEMETRY,
];

fn publisher(rig: &Rig) -> FramePublisher {
    FramePublisher::new(&rig.tee).unwrap()
}

fn serve(rig: &Rig) -> Server {
    let exporter = Exporter::new();
    exporter.add(&rig.tee).unwrap();
    Server::start("127.0.0.1:0", exporter).unwrap()
}

#[test]
fn a_scrape_is_the_ledger() {
    let rig = Rig::started();
    rig.tee.set_property("stall-timeout", 0u64);
    let server = serve(&rig);
    let [stuck, fails, takes] = NAMES.map(|name| rig.consumer(name));
    stuck.stick();
    fails.answer(Some(gst::FlowError::Error));
    rig.push(0).unwrap();
    stuck.wait_in_flight();
    wait_for("a failed branch", || fails.state() == "failed");
    rig.push_all(1..20);
    takes.wait_idle();

    let health = publisher(&rig).health();
    let scrape = Scrape::of(server.address());
    assert_eq!(scrape.of_stream("dronetee_frames_published_total"), 20.0);
    assert_eq!(scrape.of_stream("dronetee_published_bytes_total"), 320.0);
    assert_eq!(scrape.numbers(NAMES[0]), [20, 0, 4, 1, 15]);
    assert_eq!(scrape.dropped(NAMES[0], "slow"), 15);
    assert_eq!(scrape.dropped(NAMES[1], "error"), 20);
    let dropped = health.dropped as f64;
    assert_eq!(
        scrape.of_stream("dronetee_stream_frames_dropped_total"),
        dropped
    );
    // One in flight, four that wait.
    assert_eq!(scrape.of_stream("dronetee_frames_held"), 5.0);
    assert_eq!(scrape.of_stream("dronetee_max_frames_held"), 0.0);
    assert!(scrape.of_stream("dronetee_last_frame_age_seconds") < DEADLINE.as_secs_f64());
    assert_eq!(health.consumers.len(), NAMES.len());
    for consumer in &health.consumers {
        let (name, ledger) = (consumer.consumer.as_str(), consumer.ledger);
        let expected = [
            ledger.frames_in,
            ledger.frames_out,
            ledger.waiting,
            ledger.in_flight,
            ledger.dropped.total(),
        ];
        assert_eq!(scrape.numbers(name), expected);
        for (reason, count) in ledger.dropped.iter() {
            assert_eq!(scrape.dropped(name, reason.name()), count, "{reason}");
        }
        for state in State::all() {
            let labels = format!(
                "element=\"t\",consumer=\"{name}\",state=\"{}\"",
                state.name()
            );
            let is_it = scrape.get(&format!("dronetee_consumer_state{{{labels}}}"));
            assert_eq!(is_it == 1.0, consumer.state == *state, "{labels}");
        }
        let healthy = u64::from(name != NAMES[1]);
        assert_eq!(scrape.count("dronetee_consumer_healthy", name), healthy);
        let seconds = |figure| {
            scrape.get(&format!(
                "{figure}_seconds{{element=\"t\",consumer=\"{name}\"}}"
            ))
        };
        assert_eq!(
            seconds("dronetee_wait_p99"),
            consumer.wait.p99.as_secs_f64()
        );
        assert_eq!(
            seconds("dronetee_service_p99"),
            consumer.service.p99.as_secs_f64()
        );
        let since = seconds("dronetee_in_flight");
        assert!(since >= consumer.in_flight_for.as_secs_f64());
        assert_eq!(since > 0.0, name == NAMES[0], "{since}");
    }
    // Nothing else, so that nothing is left unchecked.
    let per_consumer = 8 + REASONS.len() + State::all().len();
    assert_eq!(scrape.keys().count(), 10 + 3 * per_consumer, "{scrape:#?}");
}

/// Ends a thread, also when the test fails.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_scrape_is_of_one_moment() {
    let rig = Rig::started();
    let server = serve(&rig);
    let all = NAMES.map(|name| rig.consumer(name));
    for consumer in &all {
        consumer.record.forgetful.store(true, Ordering::Relaxed);
    }
    all[0].stick();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !enough.load(Ordering::Relaxed) {
                rig.push(n).unwrap();
                n += 1;
            }
        });
        let _ends = Raised(&enough);
        let mut last = 0.0;
        for _ in 0..100 {
            let scrape = Scrape::of(server.address());
            let published = scrape.of_stream("dronetee_frames_published_total");
            let mut dropped = 0;
            for name in NAMES {
                scrape.assert_balanced(name);
                let [arrived, .., lost] = scrape.numbers(name);
                // They all joined before the first frame.
                assert_eq!(arrived as f64, published);
                dropped += lost;
            }
            assert_eq!(
                scrape.of_stream("dronetee_stream_frames_dropped_total"),
                dropped as f64
            );
            assert!(published >= last);
            last = published;
        }
        assert!(last > 0.0);
    });
}

#[test]
fn a_consumer_that_leaves_takes_its_series_along() {
    let rig = Rig::started();
    let server = serve(&rig);
    let before = Scrape::of(server.address());
    assert_eq!(
        before.of_stream("dronetee_stream_frames_dropped_total"),
        0.0
    );
    assert!(!before.has("dronetee_last_frame_age_seconds"));
    assert!(!before.keys().any(|key| key.contains("consumer=")));

    let name = consumers::TELEMETRY;
    let leaves = publisher(&rig).subscribe(name).unwrap();
    rig.push_all(0..10);
    assert_eq!(Scrape::of(server.address()).numbers(name), [10, 0, 4, 0, 6]);
    drop(leaves);
    let after = Scrape::of(server.address());
    assert!(!after.keys().any(|key| key.contains(name)), "{after:#?}");
    assert_eq!(
        after.of_stream("dronetee_stream_frames_dropped_total"),
        10.0
    );
    assert_eq!(after.of_stream("dronetee_frames_published_total"), 10.0);

    let _joins = publisher(&rig).subscribe(name).unwrap();
    rig.push_all(10..12);
    let again = Scrape::of(server.address());
    assert_eq!(again.numbers(name), [2, 0, 2, 0, 0]);
    assert_eq!(
        again.of_stream("dronetee_stream_frames_dropped_total"),
        10.0
    );
}

#[test]
fn a_name_is_escaped() {
    let rig = Rig::started();
    let server = serve(&rig);
    let consumer = rig.consumer("odd");
    consumer.pad.set_property("consumer", "a \"b\"\\\nc");
    rig.push(0).unwrap();
    let key = r#"dronetee_frames_in_total{element="t",consumer="a \"b\"\\\nc"}"#;
    assert_eq!(Scrape::of(server.address()).get(key), 1.0);
}

#[test]
fn only_what_has_accounts_can_be_added() {
    crate::common::init();
    let exporter = Exporter::new();
    let other = gst::ElementFactory::make("identity").build().unwrap();
    assert!(matches!(exporter.add(&other), Err(Error::NotADroneTee(_))));
    let branch = gst::ElementFactory::make("dronebranch").build().unwrap();
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    for element in [&branch, &tee, &tee] {
        exporter.add(element).unwrap();
    }
    // In NULL an element has no accounts, and may get another name.
    assert_eq!(exporter.text(Format::OpenMetrics), "# EOF\n");
    assert_eq!(exporter.text(Format::Prometheus), "");
    tee.set_property("name", "later");
    for element in [&branch, &tee] {
        element.set_state(gst::State::Ready).unwrap();
    }
    let text = exporter.text(Format::OpenMetrics);
    let key = "dronetee_frames_published_total{element=\"later\"} 0\n";
    assert_eq!(text.matches(key).count(), 1, "{text}");
    assert!(
        text.contains("dronebranch_failures_total{element=\"dronebranch"),
        "{text}"
    );
    for element in [branch, tee] {
        element.set_state(gst::State::Null).unwrap();
    }
    assert_eq!(exporter.text(Format::OpenMetrics), "# EOF\n");
}

/// A pipeline with a `t` in it, in READY.
fn pipeline(name: &str) -> gst::Pipeline {
    let line = "fakesrc ! video/x-raw ! dronetee name=t ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    pipeline.set_property("name", name);
    pipeline.set_state(gst::State::Ready).unwrap();
    pipeline
}

fn elements(exporter: &Exporter) -> Vec<String> {
    let text = exporter.text(Format::OpenMetrics);
    let of = |key: &str| {
        let rest = key.strip_prefix("dronetee_frames_held{element=\"")?;
        Some(rest.strip_suffix("\"}").unwrap().to_owned())
    };
    Scrape::parse(&text).keys().filter_map(of).collect()
}

#[test]
fn elements_of_one_name_have_labels_of_their_own() {
    crate::common::init();
    let exporter = Exporter::new();
    let pipelines = ["one", "two", "two", "two"].map(|name| {
        let pipeline = pipeline(name);
        exporter.add(&pipeline.by_name("t").unwrap()).unwrap();
        pipeline
    });
    let all = ["t", "two/t", "two/t#2", "two/t#3"];
    for _ in 0..2 {
        assert_eq!(elements(&exporter), all);
    }
    let [first, rest @ ..] = pipelines;
    first.set_state(gst::State::Null).unwrap();
    drop(first);
    assert_eq!(elements(&exporter), all[1..]);
    for pipeline in rest {
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn no_password_is_a_label() {
    let rig = Rig::with(|tee| tee.set_property("name", "rtsp://user:geheim@camera/1"));
    let consumer = rig.consumer("odd");
    let url = "rtsp://user:geheim@camera/2";
    consumer.pad.set_property("consumer", url);
    let exporter = Exporter::new();
    exporter.add(&rig.tee).unwrap();
    let text = exporter.text(Format::Prometheus);
    assert!(!text.contains("geheim"), "{text}");
    let labels = r#"{element="rtsp://***@camera/1",consumer="rtsp://***@camera/2"}"#;
    assert!(text.contains(labels), "{text}");
}

#[test]
fn a_thousand_pipelines_leave_nothing() {
    crate::common::init();
    let exporter = Exporter::new();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                assert!(elements(&exporter).len() <= 1);
            }
        });
        let _ends = Raised(&enough);
        for _ in 0..1_000 {
            let pipeline = pipeline("come-and-go");
            let tee = pipeline.by_name("t").unwrap();
            exporter.add(&tee).unwrap();
            pipeline.set_state(gst::State::Null).unwrap();
            let gone = tee.downgrade();
            drop((pipeline, tee));
            // A scrape may be at it.
            wait_for("its end", || gone.upgrade().is_none());
        }
    });
    assert_eq!(elements(&exporter), [""; 0]);
}
