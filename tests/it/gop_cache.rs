// SPDX-License-Identifier: MPL-2.0
//! Who joins late starts at once: `gop-cache` on a real H.264 stream.

use crate::common::{Consumer, Rig};
use crate::video::{Codec, Coded, H264, H264_BYTES, compare};
use gst::prelude::*;
use gstdronetee::FramePublisher;

/// Frames from one keyframe to the next.
const GROUP: usize = 15;

struct Stream {
    rig: Rig,
    codec: Codec,
    coded: Coded,
}

impl Stream {
    /// In PLAYING, the first `count` frames pushed, before a consumer has joined.
    fn new(codec: Codec, gop_cache: u32, count: usize) -> Self {
        crate::common::init();
        let coded = codec.encode(4 * GROUP as u32);
        let is_key = |frame: &gst::Buffer| !frame.flags().contains(gst::BufferFlags::DELTA_UNIT);
        for (n, frame) in coded.frames.iter().enumerate() {
            assert_eq!(is_key(frame), n % GROUP == 0, "frame {n}");
        }
        let rig = Rig::with(|tee| tee.set_property("gop-cache", gop_cache));
        rig.begin(&coded.caps);
        let stream = Self { rig, codec, coded };
        stream.push(0..count);
        stream
    }

    fn push(&self, range: std::ops::Range<usize>) {
        for frame in &self.coded.frames[range] {
            self.rig.src.push(frame.clone()).unwrap();
        }
    }

    /// One after the other, so that `consumer` loses none.
    fn push_slowly(&self, range: std::ops::Range<usize>, consumer: &Consumer) {
        for n in range {
            self.push(n..n + 1);
            consumer.wait_idle();
        }
    }

    /// Which of the stream's frames these are: the very same memory.
    #[track_caller]
    fn numbers(&self, frames: &[gst::Buffer]) -> Vec<usize> {
        let number = |frame: &gst::Buffer| {
            let same = |other: &gst::Buffer| {
                other.peek_memory(0).as_ptr() == frame.peek_memory(0).as_ptr()
            };
            self.coded.frames.iter().position(same).unwrap()
        };
        frames.iter().map(number).collect()
    }

    /// All of `frames` can be decoded, to the right pictures.
    #[track_caller]
    fn assert_decodable(&self, caps: &gst::Caps, frames: &[gst::Buffer]) {
        let reference = self.codec.decode(&self.coded.caps, &self.coded.frames);
        let pictures = self.codec.decode(caps, frames);
        assert_eq!(compare(&pictures, &reference), (frames.len(), 0));
    }
}

fn caps_of(consumer: &Consumer) -> gst::Caps {
    let caps = consumer.events(gst::EventType::Caps);
    let [caps] = &caps[..] else {
        panic!("not once: {caps:?}");
    };
    let gst::EventView::Caps(caps) = caps.view() else {
        unreachable!();
    };
    caps.caps_owned()
}

#[test]
fn a_pad_that_joins_starts_with_the_last_keyframe() {
    for codec in [H264, H264_BYTES] {
        let stream = Stream::new(codec, 30, 2 * GROUP - 2);
        let late = stream.rig.consumer("late");
        late.wait_idle();
        stream.push_slowly(2 * GROUP - 2..2 * GROUP + 3, &late);
        assert_eq!(late.story()[..3], ["stream-start", "caps", "segment"]);
        let frames = late.frames();
        let wanted: Vec<_> = (GROUP..2 * GROUP + 3).collect();
        assert_eq!(stream.numbers(&frames), wanted);
        let caps = caps_of(&late);
        assert_eq!(caps, stream.coded.caps);
        stream.assert_decodable(&caps, &frames);
        stream.assert_decodable(&caps, &frames[..1]);
    }
}

#[test]
fn a_receiver_that_joins_starts_with_the_last_keyframe() {
    let stream = Stream::new(H264, 30, 2 * GROUP - 2);
    let publisher = FramePublisher::new(&stream.rig.tee).unwrap();
    let mut late = publisher.subscribe("late").unwrap();
    let mut frames = Vec::new();
    let mut caps = None;
    for n in GROUP..2 * GROUP + 3 {
        if n >= 2 * GROUP - 2 {
            stream.push(n..n + 1);
        }
        let frame = late.recv_timeout(crate::common::DEADLINE).unwrap();
        assert_eq!((frame.seq(), frame.lost_before()), (n as u64, 0));
        frames.push(frame.buffer().clone());
        caps = frame.caps().map(|caps| caps.to_owned());
    }
    assert!(late.try_recv().is_err());
    let wanted: Vec<_> = (GROUP..2 * GROUP + 3).collect();
    assert_eq!(stream.numbers(&frames), wanted);
    stream.assert_decodable(&caps.unwrap(), &frames);
}

#[test]
fn the_cached_frames_are_no_sign_of_slowness() {
    let stream = Stream::new(H264, 30, 2 * GROUP - 2);
    let late = stream.rig.stuck_consumer("late");
    let cached = GROUP as u32 - 2;
    assert_eq!((late.level(), late.count("dropped")), (cached - 1, 0));
    // So many live frames may wait behind them as without a cache.
    stream.push(2 * GROUP - 2..2 * GROUP + 2);
    assert_eq!((late.level(), late.count("dropped")), (cached + 3, 0));
    late.unstick();
    late.wait_idle();
    let frames = late.frames();
    let wanted: Vec<_> = (GROUP..2 * GROUP + 2).collect();
    assert_eq!(stream.numbers(&frames), wanted);
    stream.assert_decodable(&caps_of(&late), &frames);
}

#[test]
fn what_is_kept_goes_with_a_flush_new_caps_and_the_end_of_the_run() {
    type Forget = fn(&Stream);
    let forget: [Forget; 4] = [
        |stream| {
            stream.rig.flush();
        },
        |stream| {
            let mut caps = stream.coded.caps.clone();
            caps.make_mut().set("width", 320);
            assert!(stream.rig.src.push_event(gst::event::Caps::new(&caps)));
        },
        |stream| {
            stream.rig.tee.set_state(gst::State::Ready).unwrap();
            stream.rig.tee.set_state(gst::State::Playing).unwrap();
            stream.rig.src.set_active(false).unwrap();
            stream.rig.src.set_active(true).unwrap();
            stream.rig.begin(&stream.coded.caps);
        },
        |stream| stream.rig.tee.set_property("gop-cache", 0u32),
    ];
    for (n, forget) in forget.into_iter().enumerate() {
        let stream = Stream::new(H264, 30, GROUP + 3);
        forget(&stream);
        let late = stream.rig.consumer("late");
        stream.push_slowly(GROUP + 3..2 * GROUP + 1, &late);
        assert_eq!(stream.numbers(&late.frames()), [2 * GROUP], "case {n}");
    }
}

/// A flush is no link: until there is one, frames are not kept back for the pad.
#[test]
fn a_pad_linked_after_a_flush_starts_with_the_last_keyframe() {
    let stream = Stream::new(H264, 30, 0);
    let pad = stream.rig.tee.request_pad_simple("src_late").unwrap();
    stream.rig.flush();
    stream.push(0..GROUP - 1);
    let missed: u64 = pad.property("dropped-not-linked");
    assert_eq!(missed, GROUP as u64 - 1);
    let late = stream.rig.link(pad, None);
    stream.push_slowly(GROUP - 1..GROUP + 2, &late);
    let wanted: Vec<_> = (0..GROUP + 2).collect();
    assert_eq!(stream.numbers(&late.frames()), wanted);
}

#[test]
fn of_raw_video_the_last_frame_is_kept() {
    let rig = Rig::with(|tee| tee.set_property("gop-cache", 1u32));
    rig.begin(&crate::common::caps(8));
    rig.push_all(0..5);
    let late = rig.consumer("late");
    late.wait_idle();
    rig.push_all(5..6);
    late.wait_idle();
    assert_eq!(late.offsets(), [4, 5]);
}

#[test]
fn a_group_of_pictures_that_is_too_long_is_not_begun() {
    let stream = Stream::new(H264, GROUP as u32 - 1, GROUP - 1);
    assert_eq!(stream.rig.messages("dronetee-gop-truncated").len(), 0);
    stream.push(GROUP - 1..2 * GROUP);
    let mut told = Vec::new();
    crate::common::wait_for("the message of both groups", || {
        told.extend(stream.rig.messages("dronetee-gop-truncated"));
        told.len() == 2
    });
    let capacities: Vec<u32> = told
        .iter()
        .map(|told| told.get("capacity").unwrap())
        .collect();
    assert_eq!(capacities, [GROUP as u32 - 1; 2]);
    let late = stream.rig.consumer("late");
    late.wait_idle();
    assert_eq!(late.frames().len(), 0);
    stream.push_slowly(2 * GROUP..3 * GROUP - 1, &late);
    let frames = late.frames();
    assert_eq!(
        stream.numbers(&frames),
        (2 * GROUP..3 * GROUP - 1).collect::<Vec<_>>()
    );
    stream.assert_decodable(&caps_of(&late), &frames);
    assert_eq!(stream.rig.messages("dronetee-gop-truncated").len(), 0);
}

/// The branch's thread has the end in its hands while the link is made.
#[test]
fn a_pad_linked_while_the_stream_ends_gets_what_is_kept_before_the_end() {
    for round in 0..30 {
        let rig = Rig::with(|tee| tee.set_property("gop-cache", 10u32));
        rig.begin(&crate::common::caps(8));
        let pad = rig.tee.request_pad_simple("src_late").unwrap();
        rig.push_all(0..3);
        assert!(rig.src.push_event(gst::event::Eos::new()));
        let late = rig.link(pad, None);
        crate::common::wait_for("the end", || late.story().contains(&"eos".into()));
        let story = ["stream-start", "caps", "segment", "2", "eos"];
        assert_eq!(late.story()[..5], story, "round {round}");
    }
}

/// As the end: not before what is kept, nor once more after it.
#[test]
fn custom_events_keep_their_place_when_a_link_comes_between() {
    for round in 0..300 {
        let rig = Rig::with(|tee| tee.set_property("gop-cache", 10u32));
        rig.begin(&crate::common::caps(8));
        let pad = rig.tee.request_pad_simple("src_late").unwrap();
        rig.push(0).unwrap();
        let events = || {
            for _ in 0..10 {
                let custom = gst::Structure::new_empty("custom");
                let event = gst::event::CustomDownstream::new(custom);
                rig.src.push_event(event);
            }
        };
        let late = std::thread::scope(|scope| {
            scope.spawn(events);
            (0..round * 20).for_each(|_| std::hint::spin_loop());
            rig.link(pad, None)
        });
        crate::common::wait_for("the events", || {
            late.events(gst::EventType::CustomDownstream).len() >= 10
        });
        let story = late.story();
        let customs = story.iter().filter(|what| *what == "custom-downstream");
        assert_eq!(
            (customs.count(), &story[3][..]),
            (10, "0"),
            "{round}: {story:?}"
        );
    }
}
