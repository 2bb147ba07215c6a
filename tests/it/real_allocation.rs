// SPDX-License-Identifier: MPL-2.0
//! ALLOCATION where the size of a frame is not known: launch lines run by the real gst-launch-1.0.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Answer, DEADLINE, Rig, caps, wait_for};
use crate::pipelines::{plugin_dir, tool};
use gst::prelude::*;

/// Runs the command until it ends; what it printed on stderr if it failed or said something critical.
fn run(mut command: Command) -> Result<(), String> {
    let mut child = command
        .env("G_DEBUG", "fatal-criticals")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {said}", output.status))
    }
}

fn launch(line: &str) -> Result<(), String> {
    let mut command = tool("gst-launch-1.0");
    // Without a handler of its own, which would keep a crash waiting for a debugger.
    command
        .args(["-q", "--no-fault"])
        .args(line.split_whitespace());
    run(command).map_err(|said| format!("{line}: {said}"))
}

#[test]
fn frames_of_unknown_size_pass() {
    let file = plugin_dir().join("unknown-size.bin");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let file = file.display();
    for line in [
        "videotestsrc num-buffers=20 ! rgb2bayer ! dronetee ! fakesink",
        "videotestsrc num-buffers=20 ! rgb2bayer ! dronetee name=t t. ! fakesink t. ! fakesink",
        "videotestsrc num-buffers=20 ! jpegenc ! dronetee ! fakesink",
        "videotestsrc num-buffers=20 ! x264enc ! dronetee ! fakesink",
        "videotestsrc num-buffers=20 ! dronetee ! fakesink",
        &format!("filesrc location={file} ! image/jpeg ! dronetee ! fakesink"),
        &format!("filesrc location={file} ! video/x-h264 ! dronetee ! fakesink"),
        &format!("filesrc location={file} ! video/x-raw(memory:DMABuf) ! dronetee ! fakesink"),
        &format!("filesrc location={file} ! dronetee ! fakesink"),
    ] {
        launch(line).unwrap();
    }
}

/// The size, or nothing without a pool, that upstream is answered for these caps.
fn size(rig: &Rig, caps: Option<&gst::Caps>) -> Option<u32> {
    let mut query = gst::query::Allocation::new(caps, true);
    assert!(rig.src.peer_query(&mut query));
    let pools = query.allocation_pools();
    let sizes: Vec<_> = pools.map(|(_, size, _, _)| size).collect();
    assert!(sizes.len() < 2);
    sizes.first().copied()
}

/// Offers this size.
fn offering(size: u32) -> Answer {
    Box::new(move |query| match query.view_mut() {
        gst::QueryViewMut::Allocation(allocation) => {
            allocation.add_allocation_pool(None::<&gst::BufferPool>, size, 0, 0);
            Some(true)
        }
        _ => None,
    })
}

#[test]
fn there_is_no_pool_of_unknown_size() {
    let rig = Rig::started();
    let _one = rig.consumer("one");
    let other = rig.consumer_with("other", Some(offering(0)));
    let coded = gst::Caps::builder("video/x-h264").build();
    let mut unfixed = caps(8);
    let widths = gst::IntRange::new(1, 8);
    unfixed.make_mut().set("width", widths);
    for caps in [
        None,
        Some(&coded),
        Some(&unfixed),
        Some(&gst::Caps::builder("video/x-bayer").build()),
        Some(&gst::Caps::builder("video/x-raw").build()),
    ] {
        assert_eq!(size(&rig, caps), None, "{caps:?}");
    }
    assert_eq!(size(&rig, Some(&caps(8))), Some(16));
    // What a branch says of the size is known, once it has got to answer.
    rig.tee.release_request_pad(&other.pad);
    let _other = rig.consumer_with("other", Some(offering(4096)));
    wait_for("its answer", || size(&rig, Some(&coded)) == Some(4096));
}

/// Upstream has no pool of these that could be too small.
#[test]
fn upstream_does_not_ask_again_for_a_pool_that_it_has_not_got() {
    let rig = Rig::new();
    let _one = rig.consumer("one");
    let coded = gst::Caps::builder("video/x-h264").build();
    rig.begin(&coded);
    assert_eq!(size(&rig, Some(&coded)), None);
    let reconfigures = || {
        let events = rig.upstream_events.lock().unwrap();
        let all = events.iter();
        all.filter(|event| event.type_() == gst::EventType::Reconfigure)
            .count()
    };
    let before = reconfigures();
    rig.tee.set_property("depth", 100u32);
    assert_eq!(reconfigures(), before);
    assert_eq!(size(&rig, Some(&caps(8))), Some(16));
    rig.tee.set_property("depth", 200u32);
    assert_eq!(reconfigures(), before + 1);
}

const ASKS: &str = "DRONETEE_TEST_ASKS";

/// In a program of its own, which a CRITICAL ends.
#[test]
fn caps_that_are_not_fixed_are_no_trouble() {
    if std::env::var(ASKS).is_err() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "real_allocation::caps_that_are_not_fixed_are_no_trouble";
        command.args(["--exact", name]).env(ASKS, "1");
        return run(command).unwrap();
    }
    crate::common::init();
    let line = "videotestsrc name=src ! dronetee name=t \
                t. ! fakesink t. ! videoconvert ! fakesink t. ! queue ! fakesink t. ! identity ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    let src = bin.by_name("src").unwrap().static_pad("src").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let tee = bin.by_name("t").unwrap();
    wait_for("a frame", || tee.property::<u64>("published") > 0);
    let mut ranges = caps(8);
    ranges.make_mut().set("width", gst::IntRange::new(1, 8));
    let mut two = caps(8);
    two.make_mut().append(caps(16));
    for caps in [gst::Caps::new_any(), gst::Caps::new_empty(), ranges, two] {
        for need_pool in [true, false] {
            let mut query = gst::query::Allocation::new(Some(&caps), need_pool);
            assert!(src.peer_query(&mut query));
            assert_eq!(query.allocation_pools().count(), 0, "{caps:?}");
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
