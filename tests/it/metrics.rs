// SPDX-License-Identifier: MPL-2.0
//! What Prometheus reads: exactly the ledger, in each scrape of one moment, and only if asked for.

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
fn other_requests_are_refused_and_hold_nobody_up() {
    let rig = Rig::started();
    let server = serve(&rig);
    let address = server.address();
    let mut silent = TcpStream::connect(address).unwrap();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"GET /metrics HT").unwrap();
    let mut long = TcpStream::connect(address).unwrap();
    // It may hang up before all is written.
    let _ = long.write_all(&[b'x'; 100_000]);
    for (request, status) in [
        ("GET / HTTP/1.1", "404 "),
        ("GET /metrics/all HTTP/1.1", "404 "),
        ("POST /metrics HTTP/1.1", "405 "),
        ("nonsense", "400 "),
        ("GET /metrics?x=1 HTTP/1.0", "200 "),
        ("HEAD /metrics HTTP/1.1", "200 "),
    ] {
        let (head, body) = ask(address, &format!("{request}\r\nHost: drone\r\n\r\n"));
        assert!(head.contains(status), "{request}: {head}");
        let scraped = request.starts_with("GET") && status == "200 ";
        assert_eq!(body.contains("dronetee_frames"), scraped, "{request}");
    }
    for client in [&mut silent, &mut half] {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(
            !String::from_utf8_lossy(&answer).contains(" 200 "),
            "answered unasked"
        );
    }
    drop(server);
    // The port is free again.
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_client_gets_the_format_that_it_prefers() {
    let rig = Rig::started();
    let server = serve(&rig);
    let of = |accept: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: drone\r\n{accept}\r\n");
        ask(server.address(), &request)
    };
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let (head, body) = of(accept);
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        assert!(
            body.contains("# TYPE dronetee_frames_published_total counter\n"),
            "{body}"
        );
        assert!(
            !body.contains("# EOF") && !body.contains("# UNIT"),
            "{body}"
        );
    }
    let (head, body) = of("Accept: text/plain;q=0.5\r\naccept: application/openmetrics-text\r\n");
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(
        body.contains("# TYPE dronetee_frames_published counter\n"),
        "{body}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
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

#[test]
fn a_handler_that_hangs_holds_up_no_scrape() {
    let rig = Rig::started();
    let server = serve(&rig);
    let consumer = rig.consumer("stuck");
    consumer.stick();
    let (reached, hangs) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let state = std::sync::Mutex::new((reached, released));
    rig.bus.set_sync_handler(move |_, _| {
        let state = state.lock().unwrap();
        let _ = state.0.send(());
        let _ = state.1.recv();
        gst::BusSyncReply::Drop
    });
    rig.push_all(0..20);
    hangs.recv_timeout(DEADLINE).unwrap();
    let scrape = Scrape::of(server.address());
    scrape.assert_balanced("stuck");
    assert_eq!(scrape.count("dronetee_frames_in_total", "stuck"), 20);
    drop(release);
    consumer.unstick();
}

/// Where a program serves its metrics.
fn address(run: &mut Run) -> SocketAddr {
    let line = run.until("metrics: ");
    let address = line
        .strip_prefix("metrics: http://")
        .and_then(|rest| rest.strip_suffix("/metrics"));
    address.expect(&line).parse().unwrap()
}

#[test]
fn the_program_serves_what_its_table_shows() {
    let mut run = Run::autopilot(&["--seconds", "600", "--metrics", "127.0.0.1:0"]);
    let address = address(&mut run);
    let slow = |scrape: &Scrape| scrape.dropped(NAMES[0], "slow");
    // It serves before its element is there.
    let mut scrape = Scrape::of(address);
    wait_for("the element", || {
        scrape = Scrape::of(address);
        scrape.has("dronetee_frames_published_total")
    });
    for _ in 0..2 {
        let seen = slow(&scrape);
        wait_for("more drops of the slow consumer", || {
            scrape = Scrape::of(address);
            for name in NAMES {
                scrape.assert_balanced(name);
            }
            slow(&scrape) > seen
        });
    }
    fails_with(
        Run::autopilot(&["--metrics", &address.to_string()]),
        &format!("no metrics on '{address}': Address already in use"),
    );
    run.interrupt();
    let table = final_table(run.end());
    for name in NAMES {
        let [arrived, out, .., dropped] = scrape.numbers(name);
        let end = numbers(&table, name);
        assert!(arrived > 0 && arrived <= end[0], "{table}{scrape:#?}");
        assert!(out <= end[1] && dropped <= end[4], "{table}{scrape:#?}");
    }
}

/// The addresses that a process listens on by TCP, as the kernel writes them.
fn listening(pid: u32) -> Vec<String> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|kind| {
            let table = std::fs::read_to_string(format!("/proc/{pid}/net/{kind}")).unwrap();
            table
                .lines()
                .skip(1)
                .map(|row| row.split_whitespace().map(str::to_owned).collect())
                .collect::<Vec<Vec<String>>>()
        })
        .filter(|row| row[3] == "0A" && sockets.contains(&row[9]))
        .map(|row| row[1].clone())
        .collect()
}

#[test]
fn nothing_listens_unless_asked_and_then_on_loopback() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::VideoAndAudio, 0).unwrap();
    let mut run = Run::autopilot(&["--seconds", "600", camera.url()]);
    run.until("telemetry");
    assert_eq!(listening(run.pid()), [""; 0]);
    run.interrupt();
    assert!(!final_table(run.end()).contains("metrics"));

    let mut run = Run::autopilot(&["--seconds", "600", camera.url(), "--metrics", "0"]);
    let address = address(&mut run);
    // 127.0.0.1 in the byte order of this machine.
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    let expected = format!("{loopback:08X}:{:04X}", address.port());
    assert_eq!(listening(run.pid()), [expected]);
    run.interrupt();
    let _ = run.end();
}

#[test]
fn the_address_may_be_left_out() {
    for args in [
        ["--metrics", "rtsp://127.0.0.1:1/nothing", "--seconds", "1"],
        ["rtsp://127.0.0.1:1/nothing", "--metrics", "--seconds", "1"],
    ] {
        let output = Run::autopilot(&args).end();
        assert_eq!(output.status.code(), Some(1));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        // Another program may have that port: then it is in the error.
        assert!(text.contains(DEFAULT_ADDRESS), "{text}");
        assert!(DEFAULT_ADDRESS.starts_with("127.0.0.1:"));
    }
}

#[test]
fn a_bad_address_is_an_error() {
    for bad in ["nowhere", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0"] {
        fails_with(
            Run::autopilot(&["--metrics", bad]),
            &format!("no metrics on '{bad}': "),
        );
    }
}
