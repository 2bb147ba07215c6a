// SPDX-License-Identifier: MPL-2.0
//! A coded stream and a consumer that pauses: what it gets of it, and what can be seen of that.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

#[path = "../../tests/it/common/video.rs"]
mod video;

use crate::ends::{begin, leaky_queue, sink_pad};
use crate::setup::Kind;
use video::{Coded, H264_B, compare, keyframes};

const FRAMES: u32 = 1_200;
const RATE: u32 = 500;

/// H.264 with B-frames, a keyframe each 15 frames, pauses of up to 40 frames.
pub(crate) fn coded() {
    let coded = H264_B.encode(FRAMES);
    let reference = H264_B.decode(&coded.caps, &coded.frames);
    println!("{FRAMES} frames of H.264, a keyframe in 15, to a consumer that pauses");
    println!(
        "{:>8} {:>10} {:>8} {:>8} {:>8} {:>15}",
        "depth", "", "frames", "right", "wrong", "keyframes lost"
    );
    for depth in [4, 15, 30, 60] {
        for kind in [Kind::Tee, Kind::DroneTee] {
            let got = paused(kind, depth, &coded);
            let pictures = H264_B.decode(&coded.caps, &got);
            let (right, wrong) = compare(&pictures, &reference);
            println!(
                "{depth:>8} {:>10} {:>8} {right:>8} {wrong:>8} {:>15}",
                format!("{kind:?}").to_lowercase(),
                got.len(),
                keyframes(&coded.frames) - keyframes(&got)
            );
        }
    }
}

/// What a consumer gets that pauses at one frame in 40.
fn paused(kind: Kind, depth: u32, coded: &Coded) -> Vec<gst::Buffer> {
    let got = Arc::<Mutex<Vec<gst::Buffer>>>::default();
    let record = got.clone();
    let consumer = sink_pad("consumer", move |buffer| {
        let mut got = record.lock().unwrap();
        got.push(buffer);
        let n = got.len() as u32;
        drop(got);
        if n.is_multiple_of(40) {
            std::thread::sleep(
                Duration::from_secs(n.wrapping_mul(2_654_435_761) as u64 % 40 + 1) / RATE,
            );
        }
        Ok(gst::FlowSuccess::Ok)
    });
    let element = match kind {
        Kind::DroneTee => gst::ElementFactory::make("dronetee")
            .property("depth", depth)
            .build()
            .unwrap(),
        _ => leaky_queue(depth),
    };
    let src = match kind {
        Kind::DroneTee => element.request_pad_simple("src_%u"),
        _ => element.static_pad("src"),
    };
    src.unwrap().link(&consumer).unwrap();
    element.set_state(gst::State::Playing).unwrap();
    let sink = element.static_pad("sink").unwrap();
    begin(&sink, Some(&coded.caps));
    let start = Instant::now();
    for (n, frame) in coded.frames.iter().enumerate() {
        let due = start + Duration::from_secs(n as u64) / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sink.chain(frame.clone()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    element.set_state(gst::State::Null).unwrap();
    let got = got.lock().unwrap();
    got.clone()
}
