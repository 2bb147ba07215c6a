// SPDX-License-Identifier: MPL-2.0
//! The program that `scripts/demo.sh` runs, against real RTSP servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../examples/common/rtsp_server.rs"]
mod rtsp_server;

use std::process::{Command, Output};

use rtsp_server::{RtspServer, Streams};

fn autopilot(args: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/autopilot");
    Command::new(program).args(args).output().unwrap()
}

fn fails_with(args: &[&str], reason: &str) {
    let output = autopilot(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains(reason), "'{reason}' is not in: {error}");
}

#[test]
fn shows_that_only_the_slow_consumer_loses_frames() {
    let output = autopilot(&["--seconds", "4"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let end = text.split("at the end:").nth(1).expect("no final table");
    let row = |consumer: &str| {
        let row = end.lines().find(|line| line.starts_with(consumer));
        row.unwrap_or_else(|| panic!("no row of {consumer} in {end}"))
            .to_owned()
    };
    assert!(
        row("detection_client").contains("detection_client_slow="),
        "{end}"
    );
    assert!(row("telemetry").ends_with("none"), "{end}");
    assert!(row("movement_detector").contains("ok"), "{end}");
    assert!(!text.contains('\x1b'), "control characters in a file");
}

#[test]
fn an_address_that_nobody_answers_is_an_error() {
    fails_with(&["rtsp://127.0.0.1:1/nothing"], "127.0.0.1:1");
}

#[test]
fn a_camera_without_video_is_an_error() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::Audio, 0).unwrap();
    fails_with(&[camera.url()], "no video");
}

#[test]
fn bad_arguments_are_an_error() {
    fails_with(&["--seconds", "many"], "'many' is no number");
    fails_with(&["http://example.org"], "neither a URL");
}
