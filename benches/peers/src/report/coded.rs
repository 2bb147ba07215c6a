// SPDX-License-Identifier: MPL-2.0
//! Measurements of H.264: wrong pictures after losses, and the first right picture of a late joiner.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

#[path = "../../../../tests/it/common/video.rs"]
mod video;

use crate::fan::{ALL, Fan, Kind, Stream};
use crate::section::{Section, head, rounded};
use video::{Codec, Coded, H264_B, Pictures, compare, keyframes};

const FRAMES: u32 = 900;
const RATE: u32 = 500;

/// What a consumer gets that pauses at one frame in 40.
fn paused(kind: Kind, depth: u32, coded: &Coded) -> Vec<gst::Buffer> {
    let stream = Stream {
        depth,
        caps: coded.caps.clone(),
        gop_cache: 0,
    };
    let got = Arc::<Mutex<Vec<gst::Buffer>>>::default();
    let record = got.clone();
    let mut fan = Fan::start(kind, &stream);
    fan.add(move |buffer| {
        let mut got = record.lock().expect("frames");
        got.push(buffer);
        let number = got.len() as u32;
        drop(got);
        if number.is_multiple_of(40) {
            let frames = number.wrapping_mul(2_654_435_761) % 40 + 1;
            std::thread::sleep(Duration::from_secs(frames.into()) / RATE);
        }
    });
    let begin = Instant::now();
    for (number, frame) in coded.frames.iter().enumerate() {
        let due = begin + Duration::from_secs(number as u64) / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        fan.publish(frame.clone());
    }
    std::thread::sleep(Duration::from_millis(200));
    fan.stop();
    std::mem::take(&mut *got.lock().expect("frames"))
}

pub(crate) fn losses() -> Section {
    let coded = H264_B.encode(FRAMES);
    let reference = H264_B.decode(&coded.caps, &coded.frames);
    let mut rows = Vec::new();
    for depth in [4, 30] {
        // A frame of arcly's has no flags nor decoding time of GStreamer's.
        for kind in ALL.into_iter().filter(|kind| *kind != Kind::Arcly) {
            let got = paused(kind, depth, &coded);
            let (right, wrong) = compare(&H264_B.decode(&coded.caps, &got), &reference);
            let lost = keyframes(&coded.frames).saturating_sub(keyframes(&got));
            let numbers = [depth as usize, got.len(), right, wrong, lost];
            rows.push(head(kind.name(), numbers.map(|number| number.to_string())));
        }
    }
    Section {
        title: "Wrong pictures after losses in H.264".into(),
        text: format!(
            "{FRAMES} frames with B-frames, a keyframe in 15, at {RATE} a second, to a consumer that pauses for up \
             to 40 frames at each 40th. All that it got is decoded and compared with what was encoded."
        ),
        head: ["", "depth", "frames", "right", "wrong", "keyframes lost"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        plot: None,
    }
}

const LONG_GOP: Codec = Codec {
    name: "H.264, a keyframe in 60",
    encoder: "x264enc key-int-max=60 bframes=0 speed-preset=veryfast tune=zerolatency ! h264parse",
    decoder: "avdec_h264 max-threads=1 output-corrupt=true",
};

/// A decoder that notes when the first right picture comes.
struct Viewer {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    first: Arc<Mutex<Option<Instant>>>,
    wrong: Arc<Mutex<u32>>,
}

impl Viewer {
    fn new(caps: &gst::Caps, reference: &Arc<Pictures>) -> Self {
        let line = "appsrc name=in format=time max-bytes=0 \
                    ! avdec_h264 max-threads=1 output-corrupt=true ! appsink name=out sync=false";
        let pipeline = gst::parse::launch(line).expect("a decoder");
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
        let named = |name| pipeline.by_name(name).expect("an element");
        let input = named("in").downcast::<gst_app::AppSrc>().expect("appsrc");
        let out = named("out")
            .downcast::<gst_app::AppSink>()
            .expect("appsink");
        input.set_caps(Some(caps));
        let first = Arc::new(Mutex::new(None));
        let wrong = Arc::new(Mutex::new(0));
        let (noted, counted, reference) = (first.clone(), wrong.clone(), reference.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
            let time = buffer.pts().map_or(0, gst::ClockTime::nseconds);
            let pixels = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            let is_it = |picture: &&(u64, Vec<u8>)| picture.0 == time;
            let expected = reference.iter().find(is_it);
            if expected.is_some_and(|picture| picture.1 == pixels.as_slice()) {
                noted.lock().expect("time").get_or_insert_with(Instant::now);
            } else {
                *counted.lock().expect("count") += 1;
            }
            Ok(gst::FlowSuccess::Ok)
        });
        out.set_callbacks(callbacks.build());
        pipeline.set_state(gst::State::Playing).expect("state");
        Self {
            pipeline,
            input,
            first,
            wrong,
        }
    }
}

/// Joins `into` frames after a keyframe, at 30 frames/s. Milliseconds to the first right picture, and
/// pictures before it that were wrong.
fn join(
    kind: Kind,
    cache: u32,
    into: usize,
    coded: &Coded,
    reference: &Arc<Pictures>,
) -> (f64, u32) {
    let stream = Stream {
        depth: 4,
        caps: coded.caps.clone(),
        gop_cache: cache,
    };
    let mut fan = Fan::start(kind, &stream);
    // There is a consumer before.
    fan.add(drop);
    let viewer = Viewer::new(&coded.caps, reference);
    let mut joined = None;
    let begin = Instant::now();
    for (number, frame) in coded.frames[60..].iter().enumerate() {
        let due = begin + Duration::from_secs(number as u64) / 30;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        fan.publish(frame.clone());
        if number == into {
            joined = Some(Instant::now());
            let input = viewer.input.clone();
            fan.add(move |frame| {
                let _ = input.push_buffer(frame);
            });
        }
        if viewer.first.lock().expect("time").is_some() {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    fan.stop();
    viewer.pipeline.set_state(gst::State::Null).expect("state");
    let first = *viewer.first.lock().expect("time");
    let took = first.zip(joined).map(|(first, joined)| first - joined);
    let wrong = *viewer.wrong.lock().expect("count");
    (
        took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3),
        wrong,
    )
}

pub(crate) fn joiners() -> Section {
    let coded = LONG_GOP.encode(190);
    let reference = Arc::new(LONG_GOP.decode(&coded.caps, &coded.frames));
    let mut rows = Vec::new();
    let mut contenders = vec![
        ("dronetee gop-cache=60".to_owned(), Kind::DroneTee, 60),
        ("dronetee gop-cache=0".to_owned(), Kind::DroneTee, 0),
    ];
    for kind in [Kind::Tee, Kind::StreamProducer, Kind::Broadcast] {
        contenders.push((kind.name().to_owned(), kind, 0));
    }
    for (name, kind, cache) in contenders {
        let mut cells = Vec::new();
        for into in [15, 45] {
            let (took, wrong) = join(kind, cache, into, &coded, &reference);
            cells.push(rounded(took));
            cells.push(wrong.to_string());
        }
        rows.push(head(&name, cells));
    }
    Section {
        title: "A late joiner's first right picture".into(),
        text: "H.264 at 30 frames/s with a keyframe every 60 frames (2 s) from a source that makes no keyframe on \
               request. A consumer joins 15 or 45 frames after a keyframe; ms until its decoder shows a right \
               picture, and wrong pictures that it showed before."
            .into(),
        head: ["", "15 frames in, ms", "wrong", "45 frames in, ms", "wrong"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        plot: None,
    }
}
