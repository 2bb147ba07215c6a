// SPDX-License-Identifier: MPL-2.0
//! What was lost before the element: seen in the frames that arrive, and in nothing else.

use std::sync::{Arc, Mutex};

use crate::common::{Rig, caps, frame, init};
use gst::prelude::*;
use gstdronetee::FramePublisher;

/// Gaps, missing frames, DISCONT, CORRUPTED.
fn losses(tee: &gst::Element) -> [u64; 4] {
    let stats = tee.property::<gst::Structure>("stats");
    let told = ["gaps", "missing", "disconts", "corrupted"]
        .map(|name| stats.get::<u64>(&format!("input-{name}")).unwrap());
    let health = FramePublisher::new(tee).unwrap().health().input;
    assert_eq!(
        told,
        [
            health.gaps,
            health.missing,
            health.disconts,
            health.corrupted
        ]
    );
    told
}

fn push_numbers(rig: &Rig, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        rig.push(number).unwrap();
    }
}

fn flagged(n: u64, flag: gst::BufferFlags) -> gst::Buffer {
    let mut buffer = frame(n);
    buffer.get_mut().unwrap().set_flags(flag);
    buffer
}

#[test]
fn eighteen_of_thirty_frames_are_seen_as_that() {
    let rig = Rig::started();
    push_numbers(&rig, (0..60).filter(|n| n * 18 % 30 < 18));
    let [gaps, missing, disconts, corrupted] = losses(&rig.tee);
    assert_eq!(rig.tee.property::<u64>("published"), 36);
    assert!(gaps > 0);
    // The last ones are not known to be missing.
    let last = (0..60).rfind(|n| n * 18 % 30 < 18).unwrap();
    assert_eq!(missing, last + 1 - 36);
    assert_eq!([disconts, corrupted], [0, 0]);
    // They stay readable, and begin anew with the element.
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(losses(&rig.tee)[1], missing);
    rig.tee.set_state(gst::State::Playing).unwrap();
    assert_eq!(losses(&rig.tee), [0; 4]);
}

#[test]
fn flags_are_counted_but_not_what_every_beginning_has() {
    let rig = Rig::started();
    let discont = |n| rig.src.push(flagged(n, gst::BufferFlags::DISCONT)).unwrap();
    discont(0);
    assert_eq!(losses(&rig.tee), [0; 4]);
    discont(1);
    rig.src
        .push(flagged(2, gst::BufferFlags::CORRUPTED))
        .unwrap();
    assert_eq!(losses(&rig.tee), [0, 0, 1, 1]);
    rig.flush();
    discont(90);
    rig.src.push_event(gst::event::Caps::new(&caps(16)));
    discont(91);
    assert_eq!(losses(&rig.tee), [0, 0, 1, 1]);
}

fn segment(rate: f64, start: u64) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_rate(rate);
    segment.set_start(gst::ClockTime::from_seconds(start));
    segment.set_time(gst::ClockTime::from_seconds(start));
    if rate < 0.0 {
        segment.set_stop(gst::ClockTime::from_seconds(start + 10));
    }
    gst::event::Segment::new(&segment)
}

#[test]
fn what_moves_the_time_on_purpose_is_no_loss() {
    let rig = Rig::started();
    push_numbers(&rig, 0..5);
    rig.flush();
    push_numbers(&rig, 300..305);
    rig.src.push_event(segment(1.0, 20));
    push_numbers(&rig, 600..605);
    rig.src.push_event(gst::event::Caps::new(&caps(16)));
    push_numbers(&rig, 650..655);
    rig.src.push_event(gst::event::StreamStart::new("other"));
    push_numbers(&rig, 900..905);
    rig.src.push_event(segment(-1.0, 20));
    push_numbers(&rig, (600..700).rev().step_by(3));
    let mut trick = gst::FormattedSegment::<gst::ClockTime>::new();
    trick.set_flags(gst::SegmentFlags::TRICKMODE_KEY_UNITS);
    rig.src.push_event(gst::event::Segment::new(&trick));
    push_numbers(&rig, (0..100).step_by(10));
    assert_eq!(losses(&rig.tee), [0; 4]);
    // What is repeated begins nothing anew.
    let again = segment(1.0, 0);
    for numbers in [0..5, 6..10, 11..15] {
        rig.src.push_event(again.copy());
        rig.src.push_event(gst::event::Caps::new(&caps(16)));
        push_numbers(&rig, numbers);
    }
    assert_eq!(losses(&rig.tee), [2, 2, 0, 0]);
}

#[test]
fn a_variable_frame_rate_is_not_judged() {
    let rig = Rig::new();
    let mut variable = caps(8);
    let own = variable.get_mut().unwrap();
    own.set("framerate", gst::Fraction::new(0, 1));
    rig.begin(&variable);
    push_numbers(&rig, (0..10).map(|n| n * n * n));
    // And of fields there are two to a frame.
    let mut fields = caps(8);
    let own = fields.get_mut().unwrap();
    own.set("interlace-mode", "alternate");
    rig.src.push_event(gst::event::Caps::new(&fields));
    let mut push_field = |n: u64| {
        let mut field = frame(0);
        let own = field.get_mut().unwrap();
        own.set_pts(gst::ClockTime::SECOND.mul_div_floor(n, 60));
        own.set_duration(gst::ClockTime::SECOND / 60);
        rig.src.push(field).unwrap();
    };
    (0..10).for_each(&mut push_field);
    assert_eq!(losses(&rig.tee), [0; 4]);
    push_field(12);
    assert_eq!(losses(&rig.tee), [1, 2, 0, 0]);
}

/// Runs a line to its end; the losses at the element and the times of the frames that came to it, ns.
fn run(line: &str) -> ([u64; 4], Vec<u64>) {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let times = Arc::<Mutex<Vec<u64>>>::default();
    let seen = times.clone();
    let sink = tee.static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let pts = info.buffer().and_then(|buffer| buffer.pts()).unwrap();
        seen.lock().unwrap().push(pts.nseconds());
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    let end = end.expect("no end");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    let losses = losses(&tee);
    pipeline.set_state(gst::State::Null).unwrap();
    let times = times.lock().unwrap().clone();
    (losses, times)
}

/// Gaps and missing frames between frames of 30 a second.
fn holes(mut times: Vec<u64>) -> [u64; 2] {
    times.sort_unstable();
    let numbers: Vec<u64> = times
        .iter()
        .map(|time| (time * 30 + 500_000_000) / 1_000_000_000)
        .collect();
    let jumps = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1);
    jumps
        .filter(|jump| *jump > 0)
        .fold([0, 0], |[gaps, missing], jump| [gaps + 1, missing + jump])
}

const SOURCE: &str =
    "videotestsrc num-buffers=120 name=source ! video/x-raw,width=64,height=48,framerate=30/1";

#[test]
fn what_identity_drops_is_missing() {
    let line = format!("{SOURCE} ! identity drop-probability=0.4 ! dronetee name=t ! fakesink");
    let (losses, times) = run(&line);
    assert!(times.len() < 120);
    assert_eq!(losses[..2], holes(times));
    assert!(losses[1] > 0);
}

#[test]
fn frames_that_are_coded_out_of_order_are_not_missing() {
    let coded = format!("{SOURCE} ! x264enc bframes=3 key-int-max=12 speed-preset=ultrafast");
    let (losses, times) = run(&format!("{coded} ! h264parse ! dronetee name=t ! fakesink"));
    assert_eq!(times.len(), 120);
    assert!(!times.is_sorted(), "nothing was reordered");
    assert_eq!(losses, [0; 4]);
    let drops = "identity drop-probability=0.2";
    let (losses, times) = run(&format!("{coded} ! {drops} ! dronetee name=t ! fakesink"));
    assert!(times.len() < 120);
    assert_eq!(losses[..2], holes(times));
}

#[test]
fn a_seek_is_no_loss() {
    init();
    let line = format!("{SOURCE} ! dronetee name=t ! fakesink sync=true");
    let pipeline = gst::parse::launch(&line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let tee = pipeline.by_name("t").unwrap();
    let source = pipeline.by_name("source").unwrap();
    source.set_property("num-buffers", -1);
    let published = || tee.property::<u64>("published");
    pipeline.set_state(gst::State::Playing).unwrap();
    for second in [20, 3, 50] {
        let before = published();
        crate::common::wait_for("frames", || published() > before + 3);
        let to = gst::ClockTime::from_seconds(second);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        pipeline.seek_simple(flags, to).unwrap();
    }
    let before = published();
    crate::common::wait_for("frames", || published() > before + 3);
    assert_eq!(losses(&tee), [0; 4]);
    pipeline.set_state(gst::State::Null).unwrap();
}
