// SPDX-License-Identifier: MPL-2.0
//! The program that `scripts/demo.sh` runs, against real RTSP servers on loopback.

use std::net::TcpListener;
use std::process::Command;

use crate::autopilot::{Run, fails_with, final_table, numbers, program, tagged};
use crate::rtsp_server::{RtspServer, Streams};

#[test]
fn shows_that_only_the_slow_consumer_loses_frames() {
    let output = Run::autopilot(&["--seconds", "4"]).end();
    assert!(
        !output.stdout.contains(&b'\x1b'),
        "control characters in a file"
    );
    let table = final_table(output);
    for consumer in ["detection_client", "movement_detector", "telemetry"] {
        let [arrived, out, waiting, in_flight, dropped] = numbers(&table, consumer);
        assert!(arrived > 60, "{table}");
        assert_eq!(arrived, out + waiting + in_flight + dropped, "{table}");
    }
    let [.., dropped] = numbers(&table, "detection_client");
    assert!(dropped > 30, "{table}");
    assert_eq!(tagged(&table, "detection_client_slow"), dropped, "{table}");
    let [.., dropped] = numbers(&table, "telemetry");
    assert_eq!(dropped, 0, "{table}");
}

#[test]
fn ctrl_c_ends_it_with_the_final_table() {
    let mut run = Run::autopilot(&["--seconds", "600"]);
    run.until("telemetry");
    run.interrupt();
    let table = final_table(run.end());
    assert!(numbers(&table, "telemetry")[0] > 0, "{table}");
}

#[test]
fn the_table_updates_in_place_on_a_terminal() {
    let command = format!("{} --seconds 4", program().display());
    let output = Run::start(Command::new("script").args(["-qec", &command, "/dev/null"])).end();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("A\x1b[J"), "{text:?}");
    // A longer line wraps on a terminal of the usual width, and the table moves down each second.
    for line in text.lines() {
        let shown = line.split("\x1b[J").last().unwrap().trim_end();
        assert!(shown.len() < 80, "{shown}");
    }
}

#[test]
fn a_camera_that_goes_away_is_an_error() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::VideoAndAudio, 0).unwrap();
    let mut run = Run::autopilot(&["--seconds", "600", camera.url()]);
    run.until("telemetry");
    let url = camera.url().to_owned();
    drop(camera);
    run.until("at the end:");
    fails_with(run, &url);
}

#[test]
fn an_address_that_nobody_answers_is_an_error() {
    let run = Run::autopilot(&["rtsp://127.0.0.1:1/nothing"]);
    fails_with(run, "127.0.0.1:1");
}

#[test]
fn a_server_that_says_nothing_is_an_error() {
    // The kernel accepts for it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rtsp://{}/", silent.local_addr().unwrap());
    fails_with(Run::autopilot(&[&url]), "no video");
}

#[test]
fn a_camera_without_video_is_an_error() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::Audio, 0).unwrap();
    fails_with(Run::autopilot(&[camera.url()]), "no video");
}

#[test]
fn bad_arguments_are_an_error() {
    fails_with(
        Run::autopilot(&["--seconds", "many"]),
        "'many' is no number",
    );
    fails_with(Run::autopilot(&["http://example.org"]), "neither a URL");
}
