// SPDX-License-Identifier: MPL-2.0
//! Coded streams: no frame without its reference.

use crate::common::Rig;
use gst::prelude::*;

#[test]
fn a_coded_stream_waits_for_the_next_keyframe() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.pad.set_property("depth", 3u32);
    rig.upstream_events.lock().unwrap().clear();
    let push = |n: u64, key: bool| {
        let mut buffer = crate::common::frame(n);
        if !key {
            buffer
                .get_mut()
                .unwrap()
                .set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        rig.src.push(buffer).unwrap();
    };
    slow.stick();
    push(0, true);
    slow.wait_in_flight();
    (1..5).for_each(|n| push(n, false));
    // The first that had to go took the ones that need it along.
    assert_eq!(slow.count("dropped-slow"), 1);
    assert_eq!(
        (slow.count("dropped-waiting-keyframe"), slow.level()),
        (3, 0)
    );
    push(5, false);
    push(6, true);
    push(7, false);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 6, 7]);
    assert_eq!(slow.count("dropped-waiting-keyframe"), 4);
    let requests = rig.upstream_events.lock().unwrap();
    let requests = requests
        .iter()
        .filter(|event| gst_video::ForceKeyUnitEvent::is(event));
    assert_eq!(requests.count(), 1);
    assert_eq!(slow.stats().get::<u64>("requested-keyframes").unwrap(), 1);
}

/// Frames with all flags that say something of the picture, and with all kinds of times.
fn odd_frames() -> Vec<gst::Buffer> {
    use gst::BufferFlags as Flags;
    let times = [
        (Some(40), Some(0)),
        (Some(0), Some(40)),
        (Some(80), None),
        (None, Some(80)),
        (None, None),
    ];
    let flags = [
        Flags::HEADER,
        Flags::empty(),
        Flags::DELTA_UNIT | Flags::HEADER,
        Flags::DELTA_UNIT | Flags::DROPPABLE,
        Flags::DELTA_UNIT | Flags::GAP,
        Flags::DELTA_UNIT | Flags::CORRUPTED,
        Flags::DELTA_UNIT | Flags::DECODE_ONLY,
        Flags::DELTA_UNIT | Flags::MARKER | Flags::RESYNC | Flags::NON_DROPPABLE,
        Flags::DISCONT,
    ];
    let mut frames = Vec::new();
    for (n, ((pts, dts), flags)) in times
        .into_iter()
        .flat_map(|times| flags.map(|flags| (times, flags)))
        .enumerate()
    {
        let mut frame = gst::Buffer::from_slice([n as u8; 4]);
        let own = frame.get_mut().unwrap();
        let base = gst::ClockTime::from_mseconds(100 * n as u64);
        own.set_pts(pts.map(|pts| base + gst::ClockTime::from_mseconds(pts)));
        own.set_dts(dts.map(|dts| base + gst::ClockTime::from_mseconds(dts)));
        own.set_duration((n % 2 == 0).then_some(gst::ClockTime::from_mseconds(40)));
        own.set_offset(n as u64);
        own.set_offset_end(n as u64 + 1);
        own.set_flags(flags);
        let reference = gst::Caps::new_empty_simple("timestamp/x-unix");
        gst::ReferenceTimestampMeta::add(own, &reference, base, gst::ClockTime::NONE);
        frames.push(frame);
    }
    frames
}

#[test]
fn flags_times_and_metas_pass_unharmed() {
    let rig = Rig::started();
    let (one, other) = (rig.consumer("one"), rig.consumer("other"));
    let frames = odd_frames();
    for frame in &frames {
        rig.src.push(frame.clone()).unwrap();
        one.wait_idle();
        other.wait_idle();
    }
    for consumer in [&one, &other] {
        assert_eq!(consumer.count("dropped"), 0);
        let got = consumer.frames();
        let pointers = |frames: &[gst::Buffer]| -> Vec<_> {
            frames.iter().map(|frame| frame.as_ptr()).collect()
        };
        assert_eq!(pointers(&got), pointers(&frames), "the very same buffers");
    }
}

#[test]
fn a_loss_changes_nothing_but_discont() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    for frame in odd_frames() {
        slow.forget();
        slow.stick();
        rig.src.push(crate::common::frame(99)).unwrap();
        crate::common::wait_for("the consumer to hold a frame", || slow.frames().len() == 1);
        slow.forget();
        // Nine frames that need no other: five of them are too many.
        for n in 100..105 {
            rig.push(n).unwrap();
        }
        let mut alone = frame.clone();
        alone.make_mut().unset_flags(gst::BufferFlags::DELTA_UNIT);
        let before = (alone.flags(), alone.pts(), alone.dts(), alone.duration());
        rig.src.push(alone.clone()).unwrap();
        for n in 105..108 {
            rig.push(n).unwrap();
        }
        slow.unstick();
        slow.wait_idle();
        let got = &slow.frames()[0];
        let flags = got.flags() - gst::BufferFlags::DISCONT;
        assert!(got.flags().contains(gst::BufferFlags::DISCONT));
        assert_eq!(
            (flags, got.pts(), got.dts(), got.duration()),
            (
                before.0 - gst::BufferFlags::DISCONT,
                before.1,
                before.2,
                before.3
            )
        );
        assert_eq!(
            (got.offset(), got.offset_end()),
            (frame.offset(), frame.offset_end())
        );
        assert_eq!(got.iter_meta::<gst::ReferenceTimestampMeta>().count(), 1);
        assert_eq!(got.peek_memory(0).as_ptr(), frame.peek_memory(0).as_ptr());
    }
}

/// What the branches ask for and what the element asks for count together.
#[test]
fn keyframe_requests_of_branches_pass_once_a_second() {
    let rig = Rig::started();
    let (one, other) = (rig.consumer("one"), rig.consumer("other"));
    let ask = |consumer: &crate::common::Consumer, count| {
        let request = gst_video::UpstreamForceKeyUnitEvent::builder().count(count);
        assert!(consumer.sink.push_event(request.build()));
    };
    let arrived = || -> Vec<u32> {
        let events = rig.upstream_events.lock().unwrap();
        let requests = events
            .iter()
            .filter_map(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).ok());
        requests.map(|request| request.count).collect()
    };
    let first = std::time::Instant::now();
    for count in 1..6 {
        ask(&one, count);
        ask(&other, count + 10);
    }
    let requests = arrived();
    if first.elapsed() < std::time::Duration::from_millis(900) {
        assert_eq!(requests, [1]);
    }
    let mut count = 20;
    crate::common::wait_for("the next one", || {
        count += 1;
        ask(&other, count);
        arrived().len() > requests.len()
    });
    assert!(first.elapsed() >= std::time::Duration::from_secs(1));
}
