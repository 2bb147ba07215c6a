// SPDX-License-Identifier: MPL-2.0
//! What a frame says of itself: its times, its flags, and how it leaves.

use std::time::{Duration, SystemTime};

use crate::common::init;
use crate::source::{DEADLINE, Source};
use gstdronetee::Frame;

fn taken(source: &Source, buffer: gst::Buffer) -> Frame {
    let mut frames = source.publisher.subscribe("only").unwrap();
    source.publish_buffer(buffer);
    frames.recv_timeout(DEADLINE).unwrap()
}

fn seconds(seconds: u64) -> gst::ClockTime {
    gst::ClockTime::from_seconds(seconds)
}

#[test]
fn times_are_those_of_the_buffer_and_its_segment() {
    let source = Source::idle();
    source.set(gst::State::Playing);
    source.send(gst::event::StreamStart::new("camera"));
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(seconds(10));
    segment.set_base(seconds(3));
    source.send(gst::event::Segment::new(&segment));
    let mut buffer = gst::Buffer::from_slice([0; 4]);
    let own = buffer.get_mut().unwrap();
    own.set_pts(seconds(12));
    own.set_dts(seconds(11));
    own.set_duration(seconds(1));
    let frame = taken(&source, buffer);
    assert_eq!(frame.pts(), Some(seconds(12)));
    assert_eq!(frame.dts(), Some(seconds(11)));
    assert_eq!(frame.duration(), Some(seconds(1)));
    assert_eq!(frame.running_time(), Some(seconds(5)));
    let sample = frame.to_sample();
    assert_eq!(sample.buffer().unwrap().as_ptr(), frame.buffer().as_ptr());
    assert_eq!(sample.segment().unwrap(), segment.upcast_ref());
    let pointer = frame.buffer().as_ptr();
    drop(sample);
    assert_eq!(frame.into_buffer().as_ptr(), pointer);

    let none = taken(&source, gst::Buffer::from_slice([0; 4]));
    let times = [none.pts(), none.dts(), none.duration(), none.running_time()];
    assert_eq!(times, [None; 4]);
}

#[test]
fn flags_are_told_apart() {
    let source = Source::started(None);
    let flags = [
        gst::BufferFlags::empty(),
        gst::BufferFlags::DELTA_UNIT,
        gst::BufferFlags::DISCONT,
        gst::BufferFlags::CORRUPTED,
        gst::BufferFlags::GAP,
    ];
    let mut frames = source.publisher.consumer("a").depth(8).subscribe().unwrap();
    for flag in flags {
        let mut buffer = gst::Buffer::from_slice([0; 4]);
        buffer.get_mut().unwrap().set_flags(flag);
        source.publish_buffer(buffer);
    }
    let said = frames.try_iter().map(|frame| {
        [
            !frame.is_keyframe(),
            frame.is_discont(),
            frame.is_corrupted(),
            frame.is_gap(),
        ]
    });
    let expected = [
        [false; 4],
        [true, false, false, false],
        [false, true, false, false],
        [false, false, true, false],
        [false, false, false, true],
    ];
    assert!(said.eq(expected));
}

#[test]
fn a_frame_ages_from_when_it_was_published() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    let wait = Duration::from_millis(20);
    let before = std::time::Instant::now();
    source.publish();
    std::thread::park_timeout(wait);
    let frame = frames.recv_timeout(DEADLINE).unwrap();
    let (age, most) = (frame.age(), before.elapsed());
    assert!(age > Duration::ZERO && age <= most, "{age:?} {most:?}");
    std::thread::park_timeout(Duration::from_millis(2));
    assert!(frame.age() > age);
}

#[test]
fn the_camera_s_time_is_told_where_the_buffer_has_it() {
    init();
    let source = Source::started(None);
    let with = |reference: &str| {
        let mut buffer = gst::Buffer::from_slice([0; 4]);
        let caps = gst::Caps::new_empty_simple(reference);
        gst::ReferenceTimestampMeta::add(
            buffer.get_mut().unwrap(),
            &caps,
            seconds(2_208_988_800 + 5),
            seconds(1),
        );
        let frame = taken(&source, buffer);
        let timestamp = frame.reference_timestamp().unwrap();
        assert_eq!(timestamp.reference(), &caps);
        assert_eq!(timestamp.timestamp(), seconds(2_208_988_805));
        assert_eq!(timestamp.duration(), Some(seconds(1)));
        timestamp.to_system_time()
    };
    let after = |time: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(time));
    assert_eq!(with("timestamp/x-ntp"), after(5));
    assert_eq!(with("timestamp/x-unix"), after(2_208_988_805));
    assert_eq!(with("timestamp/x-drone"), None);
    let plain = taken(&source, gst::Buffer::from_slice([0; 4]));
    assert_eq!(plain.reference_timestamp(), None);
}

#[test]
fn all_reference_timestamps_are_told() {
    let source = Source::started(None);
    let references = ["timestamp/x-drone", "timestamp/x-ntp", "timestamp/x-unix"];
    let mut buffer = gst::Buffer::from_slice([0; 4]);
    for (n, reference) in references.into_iter().enumerate() {
        let caps = gst::Caps::new_empty_simple(reference);
        let own = buffer.get_mut().unwrap();
        gst::ReferenceTimestampMeta::add(own, &caps, seconds(n as u64), None);
    }
    let frame = taken(&source, buffer);
    let all: Vec<_> = frame.reference_timestamps().collect();
    let named = all.iter().map(|one| one.reference().to_string());
    assert!(named.eq(references));
    assert_eq!(all.first(), frame.reference_timestamp().as_ref());
    let plain = taken(&source, gst::Buffer::from_slice([0; 4]));
    assert_eq!(plain.reference_timestamps().count(), 0);

    // Caps that name no clock, and a time without end.
    let mut buffer = gst::Buffer::from_slice([0; 4]);
    let most = gst::ClockTime::MAX;
    gst::ReferenceTimestampMeta::add(buffer.get_mut().unwrap(), &gst::Caps::new_any(), most, most);
    let odd = taken(&source, buffer).reference_timestamp().unwrap();
    assert_eq!((odd.timestamp(), odd.to_system_time()), (most, None));
}

/// What is left alone can be written to.
#[test]
fn the_last_who_has_a_frame_has_it_alone() {
    let source = Source::started(None);
    let [mut first, mut second] = ["a", "b"].map(|name| source.publisher.subscribe(name).unwrap());
    source.publish();
    let mut buffer = first.recv().unwrap().into_buffer();
    let other = second.recv().unwrap();
    assert!(buffer.get_mut().is_none());
    drop(other);
    assert!(buffer.get_mut().is_some());
    source.publish();
    // One that has not taken it holds it, too.
    let mut buffer = first.recv().unwrap().into_buffer();
    assert!(buffer.get_mut().is_none());
    drop(second);
    assert!(buffer.get_mut().is_some());
}
