// SPDX-License-Identifier: MPL-2.0
//! 1,000 failures leave nothing behind.

use std::process::{Command, Stdio};

use gst::prelude::*;

use super::Flight;
use crate::common::{init, wait_for};
use crate::pipelines::{plugin_dir, run, tool};

const FEW: u64 = 100;
const MANY: u64 = 1_000;

#[derive(Debug, PartialEq, PartialOrd)]
struct Held {
    threads: usize,
    files: usize,
}

fn held() -> Held {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    Held {
        threads: entries("/proc/self/task"),
        files: entries("/proc/self/fd"),
    }
}

/// In a process of its own, in which no other test starts threads and makes objects.
#[test]
#[ignore = "run by the test below"]
fn alone() {
    init();
    for content in [
        "dronebranch.( {} identity error-after=1 ! fakesink sync=false )",
        "dronebranch {} description=\"queue ! identity error-after=1 ! fakesink sync=false\"",
        "dronebranch.( {} filesink location=/nonexistent/file )",
    ] {
        let branch = content.replace(
            "{}",
            "name=branch restart-delay=1000 restart-delay-max=1000",
        );
        let flight = Flight::of(&format!(
            "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=16,height=16,framerate=1000/1 \
             ! dronetee name=t post-drop-messages=false t. ! fakesink sync=false t. ! {branch}"
        ));
        let bus = flight.pipeline.bus().unwrap();
        bus.unset_sync_handler();
        flight.messages.lock().unwrap().clear();
        bus.set_sync_handler(|_, _| gst::BusSyncReply::Drop);
        flight.play();
        flight.wait_count("failures", FEW);
        let before = held();
        // In steps: the deadline is for one that comes no more, not for a machine that takes its time.
        for count in (FEW..=FEW + MANY).step_by(FEW as usize) {
            flight.wait_count("failures", count);
        }
        let mut after = held();
        wait_for("nothing left behind", || {
            after = held();
            // A life or two are on their way.
            let grown = |before: usize, after: usize| after.saturating_sub(before) <= 12;
            grown(before.threads, after.threads) && grown(before.files, after.files)
        });
        flight.stop();
        assert_eq!(flight.count("abandoned"), 0);
        drop(flight);
    }
}

#[test]
fn a_thousand_failures_leave_no_thread_and_no_file_behind() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["dronebranch::leaks::alone", "--exact", "--ignored"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

/// gst-launch-1.0 frees everything at its end, and tells which objects are alive after that.
#[test]
fn a_thousand_failures_leave_no_object_behind() {
    let options = "restart-delay=1000 restart-delay-max=1000";
    let line = format!(
        "videotestsrc is-live=true \
         ! video/x-raw,format=GRAY8,width=16,height=16,framerate=1000/1 \
         ! dronetee name=t post-drop-messages=false  t. ! fakesink sync=false \
         t. ! dronebranch.( {options} identity error-after=1 ! fakesink sync=false ) \
         t. ! dronebranch.( {options} filesink location=/nonexistent/file )"
    );
    let log = plugin_dir().join("test-leaks.log");
    let child = tool("gst-launch-1.0")
        .args(["-e", "-m"])
        .args(line.split_whitespace())
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", &log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut failures = 0;
    let (ok, lines) = run(child, |line| {
        failures += u64::from(line.contains("dronebranch-error"));
        failures >= MANY
    });
    assert!(ok, "{:?}", lines.last());
    assert!(failures >= MANY, "{failures}");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("object-alive"), "the tracer does not say");
    let alive: Vec<_> = log
        .lines()
        .filter(|line| line.contains("object-alive, type-name=(string)") && !line.contains("%s"))
        .collect();
    assert!(alive.is_empty(), "{alive:#?}");
}
