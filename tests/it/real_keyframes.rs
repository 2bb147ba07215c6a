// SPDX-License-Identifier: MPL-2.0
//! A recording that asks for the keyframes it splits at, and other requests for keyframes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::{Consumer, DEADLINE, Rig, init, wait_for};
use gst::prelude::*;

/// A directory of this test's own, empty.
fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Records 4.5 s in files of one second; how many there are. `viewer` says at which time of the
/// stream, in each second, a viewer of the same stream asks for a keyframe.
fn files(name: &str, viewer: Option<gst::ClockTime>) -> usize {
    init();
    let directory = directory(name);
    let line = format!(
        "videotestsrc num-buffers=135 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! x264enc key-int-max=1000 tune=zerolatency speed-preset=ultrafast ! h264parse \
         ! dronetee name=t \
         t.src_recorder ! splitmuxsink send-keyframe-requests=true max-size-time=1000000000 \
            location={}/%02d.mp4 \
         t.src_viewer ! fakesink name=viewer sync=false",
        directory.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    let tee = bin.by_name("t").unwrap();
    // Each frame waits for the consumers to be done with the one before, so that all hangs on the
    // times of the stream.
    let consumers = tee.src_pads();
    let sink = tee.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        wait_for("idle consumers", || {
            consumers.iter().all(|pad| {
                let stats = pad.property::<gst::Structure>("stats");
                stats.get::<u32>("current-level-buffers").unwrap() == 0
                    && stats.get::<u64>("in-flight").unwrap() == 0
            })
        });
        gst::PadProbeReturn::Ok
    });
    if let Some(time) = viewer {
        let pad = bin.by_name("viewer").unwrap().static_pad("sink").unwrap();
        let asked = AtomicU64::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            // The encoder begins at some hours, as it has no negative time for B-frames.
            let segment = pad.sticky_event::<gst::event::Segment>(0).unwrap();
            let segment = segment.segment().downcast_ref::<gst::ClockTime>().unwrap();
            let running = segment.to_running_time(info.buffer().unwrap().pts());
            let next = time + gst::ClockTime::SECOND * asked.load(Ordering::SeqCst);
            if running.unwrap() >= next {
                asked.fetch_add(1, Ordering::SeqCst);
                let event = gst_video::UpstreamForceKeyUnitEvent::builder().build();
                assert!(pad.push_event(event));
            }
            gst::PadProbeReturn::Ok
        });
    }
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_mseconds(DEADLINE.as_millis() as u64),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    let end = end.expect("no end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    assert_eq!(tee.property::<u64>("dropped"), 0);
    pipeline.set_state(gst::State::Null).unwrap();
    std::fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_recording_splits_where_it_asks() {
    assert_eq!(files("splits", None), 5);
}

#[test]
fn a_recording_splits_where_it_asks_though_a_viewer_asked_before() {
    let time = gst::ClockTime::from_mseconds(600);
    assert_eq!(files("splits-with-viewer", Some(time)), 5);
}

fn request(consumer: &Consumer, running_time: Option<gst::ClockTime>) {
    let event = gst_video::UpstreamForceKeyUnitEvent::builder()
        .running_time(running_time)
        .build();
    assert!(consumer.sink.push_event(event));
}

/// The running times that upstream was asked for a keyframe at.
fn requests(rig: &Rig) -> Vec<Option<gst::ClockTime>> {
    let events = rig.upstream_events.lock().unwrap();
    let all = events.iter();
    all.filter(|event| gst_video::ForceKeyUnitEvent::is(event))
        .map(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).unwrap())
        .map(|event| event.running_time)
        .collect()
}

#[test]
fn requests_for_a_time_to_come_pass_once() {
    let rig = Rig::started();
    let [one, other] = ["one", "other"].map(|name| rig.consumer(name));
    let at = |ms| Some(gst::ClockTime::from_mseconds(ms));
    let asked = |consumer: &Consumer| {
        let stats = consumer.stats();
        stats.get::<u64>("requested-keyframes").unwrap()
    };
    rig.push_all(0..30);
    // At once: one in a second, over all branches.
    request(&one, None);
    request(&other, None);
    request(&other, at(500));
    assert_eq!(requests(&rig), [None]);
    // To come: each, once.
    request(&other, at(2000));
    request(&one, at(2000));
    request(&other, at(2000));
    request(&one, at(3000));
    assert_eq!(requests(&rig), [None, at(2000), at(3000)]);
    assert_eq!((asked(&one), asked(&other)), (2, 1));
    // That time is reached, and still the same.
    rig.push_all(30..70);
    request(&one, at(2000));
    assert_eq!(requests(&rig).len(), 3);
    // After a flush, times begin anew.
    rig.flush();
    request(&other, at(3000));
    assert_eq!(requests(&rig)[3..], [at(3000)]);
    assert_eq!((asked(&one), asked(&other)), (2, 2));
}

#[test]
fn after_a_flush_times_begin_anew_before_the_first_frame() {
    let rig = Rig::started();
    let one = rig.consumer("one");
    rig.push_all(0..90);
    request(&one, None);
    rig.flush();
    let at = Some(gst::ClockTime::SECOND);
    request(&one, at);
    assert_eq!(requests(&rig), [None, at]);
}

/// What it asks for is what upstream's own time is, wherever the pads are shifted.
#[test]
fn a_request_at_once_stays_one_behind_a_pad_with_an_offset() {
    let rig = Rig::started();
    let [one, other] = ["one", "other"].map(|name| rig.consumer(name));
    one.pad.set_offset(1_000_000_000);
    other.pad.set_offset(1_000_000_000);
    rig.push_all(0..3);
    request(&one, None);
    request(&other, None);
    assert_eq!(requests(&rig).len(), 1);
}
