// SPDX-License-Identifier: MPL-2.0
//! The program that `scripts/demo.sh` runs, against real RTSP servers on loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::autopilot::{Run, fails_with, final_table, numbers, program, tagged};
use crate::rtsp_server::{LOGIN, RtspServer, Streams};

/// What the program printed in a run of a few seconds, or of more if that was not `enough`: on a busy machine
/// little comes in the first ones.
fn printed(run: impl Fn(&str) -> String, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for seconds in ["4", "8", "16"] {
        text = run(seconds);
        if enough(&text) {
            break;
        }
    }
    text
}

#[test]
fn shows_that_only_the_slow_consumer_loses_frames() {
    let run = |seconds: &str| {
        let output = Run::autopilot(&["--seconds", seconds]).end();
        assert!(
            !output.stdout.contains(&b'\x1b'),
            "control characters in a file"
        );
        final_table(output)
    };
    let table = printed(run, |table| numbers(table, "detection_client")[4] > 30);
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

/// All that the program prints on a terminal of this size until that is `enough`.
fn on_terminal(
    term: &str,
    (columns, rows): (usize, usize),
    enough: impl Fn(&str) -> bool,
) -> String {
    let program = program().display().to_string();
    let run = |seconds: &str| {
        let command = format!("stty cols {columns} rows {rows}; '{program}' --seconds {seconds}");
        let mut script = Command::new("script");
        let output = Run::start(
            script
                .args(["-qec", &command, "/dev/null"])
                .env("TERM", term),
        )
        .end();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    printed(run, enough)
}

/// The lines of the tables: one that wraps, and the next table comes lower each second.
fn table_lines(text: &str) -> impl Iterator<Item = &str> {
    let tables = text.lines().skip_while(|line| !line.contains("dropped"));
    tables.map(|line| line.split("\x1b[J").last().unwrap().trim_end())
}

#[test]
fn the_table_updates_in_place_on_a_terminal() {
    let text = on_terminal("xterm", (80, 24), |text| text.contains("A\x1b[J"));
    assert!(text.contains("A\x1b[J"), "{text:?}");
    assert!(table_lines(&text).all(|line| line.len() < 80), "{text}");
}

#[test]
fn the_table_fits_on_a_small_terminal() {
    let slow = "detection_client_slow=";
    let text = on_terminal("xterm", (40, 6), |text| text.contains(slow));
    // One line is the cursor's.
    assert!(text.contains("\x1b[5A\x1b[J"), "{text:?}");
    assert!(table_lines(&text).all(|line| line.len() <= 40), "{text}");
    let live = text.split("\x1b[5A\x1b[J").nth(1).unwrap();
    for consumer in ["detection_client", "movement_detector", "telemetry"] {
        let row = live.lines().find(|line| line.starts_with(consumer));
        let figures = row.unwrap_or_else(|| panic!("no {consumer} in {live}"));
        assert_eq!(figures.split_whitespace().count(), 4, "{live}");
    }
    // There is room for the reasons at the end.
    let end = text.split("at the end:").nth(1).unwrap();
    assert!(end.contains(slow), "{end}");
}

#[test]
fn a_terminal_that_can_do_nothing_gets_plain_lines() {
    let text = on_terminal("dumb", (80, 24), |text| {
        text.matches("published").count() > 2
    });
    assert!(!text.contains('\x1b'), "{text:?}");
    assert!(text.matches("published").count() > 2, "{text}");
}

#[test]
fn help_is_help() {
    let output = Run::autopilot(&["rtsp://127.0.0.1:1/nothing", "--help"]).end();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--slow-ms N"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
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
fn what_is_wrong_with_a_camera_is_said_in_words_of_its_own() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::VideoAndAudio, 0).unwrap();
    let elsewhere = camera.url().replace("/camera", "/elsewhere");
    for (url, reason, detail) in [
        (
            "rtsp://camera.invalid/",
            "the host 'camera.invalid' is not known",
            "Failed to connect",
        ),
        (
            "rtsp://127.0.0.1:1/nothing",
            "nothing listens at 127.0.0.1:1",
            "Failed to connect",
        ),
        (&elsewhere, "no stream of this path", "Not found"),
        ("rtsp://127.0.0.1:many/", "no address of a camera", "port"),
    ] {
        let error = fails_with(Run::autopilot(&[url]), reason);
        assert!(
            error.to_lowercase().contains(&detail.to_lowercase()),
            "{error}"
        );
    }
}

/// As `LOGIN` is written in a URL, where a slash and an at mean something else.
const PASSWORD: &str = "open%2Fsesame%4042";

fn with_login(url: &str, login: &str) -> String {
    url.replace("rtsp://", &format!("rtsp://{login}@"))
}

#[test]
fn a_login_that_the_camera_refuses_is_an_error() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::Secured, 0).unwrap();
    let run = Run::autopilot(&[camera.url()]);
    fails_with(run, "asks for a user name and a password (");
    let run = Run::autopilot(&[&with_login(camera.url(), "pilot:swordfish")]);
    let error = fails_with(run, "refuses this user name or password (");
    assert!(error.contains("Unauthorized"), "{error}");
    assert!(!error.contains("swordfish"), "{error}");
}

#[test]
fn a_password_is_printed_nowhere() {
    gst::init().unwrap();
    let camera = RtspServer::start(Streams::Secured, 0).unwrap();
    let url = with_login(camera.url(), &format!("{}:{PASSWORD}", LOGIN.0));
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("password.log");
    let output = Run::start(
        Command::new(program())
            .args([&url, "--seconds", "2"])
            .env("GST_DEBUG", "rtspsrc:7,dronetee*:6,GST_MESSAGE:5,default:6")
            .env("GST_DEBUG_FILE", &log),
    )
    .end();
    let logged = std::fs::read(&log).unwrap();
    let printed = [output.stdout.clone(), output.stderr.clone(), logged].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(printed.contains("rtspsrc"), "no log");
    assert!(numbers(&final_table(output), "telemetry")[0] > 0);
    for secret in [PASSWORD, LOGIN.1, "sesame"] {
        let line = printed.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

#[test]
fn a_password_in_a_wrong_argument_is_not_printed() {
    for argument in [
        "http://pilot:sesame@127.0.0.1/",
        "pilot:sesame@127.0.0.1",
        "rtsp:/pilot:sesame@127.0.0.1/",
        "rtsp://pilot:1/sesame@127.0.0.1/",
        "rtsp://pilot:ses/sesame@127.0.0.1/",
        "rtsp://127.0.0.1:1/user=admin_password=sesame_channel=1",
        "rtsp://127.0.0.1:1/live?user=admin&pwd=sesame",
        "rtsp://127.0.0.1:1/?token=sesame",
    ] {
        let output = Run::autopilot(&[argument]).end();
        assert_eq!(output.status.code(), Some(1), "{argument}");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        assert!(!printed.contains("sesame"), "{argument}: {printed}");
    }
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
