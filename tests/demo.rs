// SPDX-License-Identifier: MPL-2.0
//! The program that `scripts/demo.sh` runs, against real RTSP servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../examples/common/rtsp_server.rs"]
mod rtsp_server;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rtsp_server::{RtspServer, Streams};

/// The program gives a camera up after 10 s, the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(40);

/// `cargo test` builds it, `cargo test --test demo` alone does not.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    let program = target.join("examples/autopilot");
    assert!(
        program.exists(),
        "build it first: cargo build --example autopilot"
    );
    program
}

/// A run of a program that is killed if it takes longer than any should.
struct Run {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
    seen: Vec<String>,
}

impl Run {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        Self {
            child,
            lines,
            deadline: Instant::now() + DEADLINE,
            seen: Vec::new(),
        }
    }

    fn autopilot(args: &[&str]) -> Self {
        Self::start(Command::new(program()).args(args))
    }

    /// The next line, `None` when there are no more.
    fn line(&mut self) -> Option<&str> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => self.seen.push(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                self.child.kill().unwrap();
                panic!("still running after {DEADLINE:?}: {:#?}", self.seen);
            }
        }
        self.seen.last().map(String::as_str)
    }

    fn until(&mut self, wanted: &str) {
        loop {
            match self.line() {
                Some(line) if line.contains(wanted) => return,
                Some(_) => {}
                None => panic!("no '{wanted}' in {:#?}", self.seen),
            }
        }
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for the end; the status, all of stdout, and stderr.
    fn end(mut self) -> Output {
        while self.line().is_some() {}
        let mut stderr = Vec::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_end(&mut stderr).unwrap();
        Output {
            status: self.child.wait().unwrap(),
            stdout: self.seen.join("\n").into_bytes(),
            stderr,
        }
    }
}

fn fails_with(run: Run, reason: &str) {
    let output = run.end();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(reason), "'{reason}' is not in: {error}");
    assert_eq!(error.lines().count(), 1, "more than one line: {error}");
}

/// The final table of a run that ended well.
fn final_table(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    let end = text.split("at the end:").nth(1).expect("no final table");
    end.to_owned()
}

/// Columns of a consumer's row: in, out, waiting, in flight, dropped.
fn numbers(table: &str, consumer: &str) -> [u64; 5] {
    let mut lines = table.lines();
    let row = lines
        .find(|line| line.split_whitespace().next() == Some(consumer))
        .unwrap_or_else(|| panic!("no row of {consumer} in {table}"));
    let numbers: Vec<_> = row
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().unwrap()
}

fn tagged(table: &str, tag: &str) -> u64 {
    let count = table
        .split_whitespace()
        .find_map(|word| word.strip_prefix(tag)?.strip_prefix('='));
    count.map_or(0, |count| count.parse().unwrap())
}

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
