// SPDX-License-Identifier: MPL-2.0
//! Real coded streams through a consumer with pauses: every picture that it gets is right.

use crate::common::{Consumer, Rig};
use crate::video::{Codec, Coded, H264, H264_B, H264_BYTES, Pictures, compare};
use gst::prelude::*;

/// With open GOPs, as x265 makes them unless told otherwise.
const H265: Codec = Codec {
    name: "H.265",
    encoder: "x265enc key-int-max=15 speed-preset=ultrafast option-string=log-level=none ! h265parse",
    decoder: "avdec_h265 max-threads=1 output-corrupt=true",
};
const VP8: Codec = Codec {
    name: "VP8",
    encoder: "vp8enc keyframe-max-dist=15 deadline=1",
    decoder: "vp8dec",
};
const AV1: Codec = Codec {
    name: "AV1",
    encoder: "av1enc keyframe-max-dist=15 usage-profile=realtime cpu-used=8 lag-in-frames=0 \
              ! av1parse",
    decoder: "av1dec",
};
const MJPEG: Codec = Codec {
    name: "MJPEG",
    encoder: "jpegenc",
    decoder: "jpegdec",
};
const RAW: Codec = Codec {
    name: "raw video",
    encoder: "identity",
    decoder: "identity",
};

/// The same numbers for each run of a test.
struct Dice(u64);

impl Dice {
    /// A number from zero up to, not including, `below`.
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

fn push(rig: &Rig, frames: &[gst::Buffer]) {
    for frame in frames {
        rig.src.push(frame.clone()).unwrap();
    }
}

/// The stream with pauses of the consumer, each of them long enough to lose something.
fn lossy(coded: &Coded, seed: u64) -> (Rig, Consumer) {
    let rig = Rig::new();
    let consumer = rig.consumer("slow");
    rig.begin(&coded.caps);
    let mut dice = Dice(seed);
    let mut rest = &coded.frames[..];
    while !rest.is_empty() {
        let (fast, more) = rest.split_at(rest.len().min(1 + dice.roll(30) as usize));
        for frame in fast {
            push(&rig, std::slice::from_ref(frame));
            consumer.wait_idle();
        }
        let (missed, more) = more.split_at(more.len().min(2 + dice.roll(14) as usize));
        consumer.stick();
        push(&rig, missed);
        consumer.unstick();
        consumer.wait_idle();
        rest = more;
    }
    (rig, consumer)
}

/// A coded stream, and what a decoder makes of all of it.
struct Original {
    codec: &'static Codec,
    coded: Coded,
    pictures: Pictures,
}

impl Original {
    fn of(codec: &'static Codec) -> Self {
        crate::common::init();
        let coded = codec.encode(300);
        let pictures = codec.decode(&coded.caps, &coded.frames);
        assert_eq!(pictures.len(), 300, "{}", codec.name);
        Self {
            codec,
            coded,
            pictures,
        }
    }

    /// All pictures of what the consumer got are there and right; how many were dropped for want of a keyframe.
    fn all_right(&self, seed: u64) -> u64 {
        let name = self.codec.name;
        let (_rig, consumer) = lossy(&self.coded, seed);
        let got = consumer.frames();
        assert!(got.len() < 300 && got.len() > 100, "{name}: {}", got.len());
        let pictures = self.codec.decode(&self.coded.caps, &got);
        let (right, wrong) = compare(&pictures, &self.pictures);
        assert_eq!((right, wrong), (got.len(), 0), "{name}");
        consumer.count("dropped-waiting-keyframe")
    }
}

/// With keyframes now and then.
fn with_deltas(codec: &'static Codec) {
    let original = Original::of(codec);
    for seed in 0..3 {
        let lost = original.all_right(seed);
        assert!(lost > 20, "{}: {lost}", codec.name);
    }
}

/// Each frame stands alone: nothing is lost for want of a keyframe.
fn without_deltas(codec: &'static Codec) {
    assert_eq!(Original::of(codec).all_right(0), 0, "{}", codec.name);
}

#[test]
fn h264() {
    with_deltas(&H264);
}

#[test]
fn h264_with_b_frames() {
    with_deltas(&H264_B);
}

#[test]
fn h264_as_a_byte_stream() {
    with_deltas(&H264_BYTES);
}

#[test]
fn h265() {
    with_deltas(&H265);
}

#[test]
fn vp8() {
    with_deltas(&VP8);
}

#[test]
fn av1() {
    with_deltas(&AV1);
}

#[test]
fn mjpeg() {
    without_deltas(&MJPEG);
}

#[test]
fn raw_video() {
    without_deltas(&RAW);
}

/// A real encoder hears that a keyframe is wanted, long before it would make one.
#[test]
fn an_encoder_is_asked_for_a_keyframe() {
    crate::common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=60/1 \
         ! x264enc key-int-max=100000 tune=zerolatency speed-preset=ultrafast ! h264parse \
         ! dronetee name=t t.src_slow ! fakesink name=end sync=false async=false",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let pad = pipeline
        .by_name("t")
        .unwrap()
        .static_pad("src_slow")
        .unwrap();
    let count = |name: &str| pad.property::<u64>(name);
    let end = pipeline.by_name("end").unwrap().static_pad("sink").unwrap();
    let stuck = end.add_probe(
        gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER,
        |_, _| gst::PadProbeReturn::Ok,
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    crate::common::wait_for("a loss", || count("dropped-waiting-keyframe") > 0);
    let out = count("out");
    end.remove_probe(stuck.unwrap());
    crate::common::wait_for("frames again", || count("out") > out + 30);
    assert!(
        pad.property::<gst::Structure>("stats")
            .get::<u64>("requested-keyframes")
            .unwrap()
            > 0
    );
    pipeline.set_state(gst::State::Null).unwrap();
}
