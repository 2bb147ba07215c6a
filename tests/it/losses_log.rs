// SPDX-License-Identifier: MPL-2.0
//! The tracer's log: whole lines, whatever becomes of the process, the disk and the reader.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::wait_for;
use crate::pipelines::tool;
use crate::tracer::{SOURCE, words};

/// A path for a log of this test's own, where nothing is.
fn path(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("log-{name}"));
    let _ = std::fs::remove_file(&path);
    path
}

/// gst-launch-1.0 with a log.
fn launch(log: &Path, line: &str) -> Command {
    let tracers = format!("dronetee-metrics(listen=none,log={})", log.display());
    let mut command = tool("gst-launch-1.0");
    command
        .env("GST_TRACERS", tracers)
        .env("GST_DEBUG", "dronetee-metrics:2")
        .env("GST_DEBUG_NO_COLOR", "1")
        .arg("-e")
        .args(words(line))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn lines(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let parse = |line: &str| serde_json::from_str(line).expect(line);
    text.lines().map(parse).collect()
}

fn read(log: &Path) -> Vec<Value> {
    lines(&std::fs::read_to_string(log).unwrap())
}

fn of_kind<'a>(lines: &'a [Value], message: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["message"] == message)
}

/// Frames that a stuck consumer loses at once, each with a message of its own.
fn many_drops(frames: u32) -> String {
    format!(
        "fakesrc num-buffers={frames} sizetype=fixed sizemax=16 ! video/x-raw,format=GRAY8,width=4,height=4,\
         framerate=30/1 ! dronetee name=t drop-messages-interval=0 max-held=4294967295 \
         t.src_slow ! identity sleep-time=300000 ! fakesink"
    )
}

#[test]
fn what_is_lost_is_logged_to_the_frame() {
    let log = path("sums.jsonl");
    let line = format!(
        "{SOURCE} num-buffers=60 ! dronetee name=t drop-messages-interval=200 \
         t.src_slow ! identity sleep-time=100000 ! fakesink t.src_record ! dronebranch name=b \
         restart=false description=identity\\ error-after=3\\ !\\ fakesink"
    );
    let line = line.replace(
        "is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 num-buffers=60",
        "is-live=true num-buffers=60 ! video/x-raw,width=64,height=48,framerate=30/1",
    );
    let output = launch(&log, &line).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = read(&log);
    for line in &lines {
        let keys: Vec<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = ["time", "running-time", "element", "message", "fields"];
        expected.sort_unstable();
        assert_eq!(keys, expected, "{line}");
        let is_known = ["t", "b"].iter().any(|name| line["element"] == *name);
        assert!(is_known, "{line}");
    }
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert!(glib::DateTime::from_iso8601(time, None).is_ok(), "{time}");
    }
    let running = lines
        .iter()
        .filter_map(|line| line["running-time"].as_u64());
    let running: Vec<u64> = running.collect();
    assert!(!running.is_empty() && running.iter().all(|ns| *ns < 60_000_000_000));
    // Each drop is told of once, by the bins around it not again.
    let slow =
        of_kind(&lines, "dronetee-summary").find(|line| line["fields"]["consumer"] == "slow");
    let slow = &slow.expect("no summary")["fields"];
    let told = of_kind(&lines, "dronetee-drop").filter(|line| line["fields"]["consumer"] == "slow");
    let told: u64 = told
        .map(|line| line["fields"]["count"].as_u64().unwrap())
        .sum();
    assert!(told > 0);
    assert_eq!(slow["dropped"], told);
    let failed = of_kind(&lines, "dronebranch-error")
        .next()
        .expect("no failure");
    assert_eq!(failed["element"], "b");
    assert_eq!(failed["fields"]["restart-in"], Value::Null);
    let states = of_kind(&lines, "dronetee-consumer").map(|line| &line["fields"]["state"]);
    assert!(states.into_iter().any(|state| state == "failed"));
}

#[test]
fn a_killed_process_has_logged_all_that_was_seen() {
    let log = path("killed.jsonl");
    for run in 1..=2 {
        let mut command = launch(&log, &many_drops(100_000));
        let mut child = command
            .arg("-m")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let seen = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = seen.map_while(Result::ok);
        let seen = seen
            .filter(|line| line.contains("dronetee-drop"))
            .take(200)
            .count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, 200);
        let mut text = std::fs::read_to_string(&log).unwrap();
        // Of each run the last line alone may be half there, and the next run begins a new one.
        let whole = text.rfind('\n').unwrap() + 1;
        text.truncate(whole);
        let broken = |line: &&str| serde_json::from_str::<Value>(line).is_err();
        assert!(text.lines().filter(broken).count() < run);
        let drops = text
            .lines()
            .filter(|line| line.contains("dronetee-drop"))
            .count();
        assert!(drops >= run * 200, "{drops}");
        if run == 1 {
            // As it is when the kill came in the middle of a line.
            std::fs::write(&log, text + "{\"time\":\"20").unwrap();
        }
    }
}

fn warnings(stderr: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(stderr);
    let own = said
        .lines()
        .filter(|line| line.contains("dronetee-metrics"));
    own.map(str::to_owned).collect()
}

#[test]
fn a_full_disk_is_one_warning() {
    let output = launch(Path::new("/dev/full"), &many_drops(2_000))
        .output()
        .unwrap();
    assert!(output.status.success());
    let warnings = warnings(&output.stderr);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("No space left on device"));
}

#[test]
fn a_pipe_that_is_not_read_holds_up_nothing() {
    let log = path("pipe");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    // More than a pipe and the queue hold.
    let mut child = launch(&log, &many_drops(8_000)).spawn().unwrap();
    let mut status = None;
    wait_for("the end of the pipeline", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    let mut said = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
    let warnings = warnings(&said);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("lines are lost"), "{warnings:#?}");
}

#[test]
fn what_a_pipe_lost_is_told_when_it_is_read_again() {
    let log = path("slow-pipe");
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    // It runs for some seconds after the last message that the reader has to see.
    let line = many_drops(8_000).replace("sleep-time=300000", "sleep-time=1500000");
    let mut child = launch(&log, &line).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = said.by_ref().map(Result::unwrap);
    let is_warning = |line: String| line.contains("lines are lost");
    assert!(said.any(is_warning));
    // The reader comes late, and leaves early: neither ends the program.
    let pipe = BufReader::new(std::fs::File::open(&log).unwrap());
    let mut told = Vec::<Value>::new();
    for line in pipe.lines() {
        told.push(serde_json::from_str(&line.unwrap()).unwrap());
        if told
            .last()
            .is_some_and(|line| line["message"] == "log-lost")
        {
            break;
        }
    }
    let lost = told.last().unwrap()["fields"]["count"].as_u64().unwrap();
    assert!(lost > 0 && lost < 8_000, "{lost}");
    let mut ended = false;
    wait_for("the end of the pipeline", || {
        ended = child
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success());
        ended
    });
}
