// SPDX-License-Identifier: MPL-2.0
//! Real coded streams: encoded, taken through losses, and decoded again.
#![allow(dead_code, reason = "not every test uses all of it")]

use gst::prelude::*;

/// Pictures with their times, in ns.
pub(crate) type Pictures = Vec<(u64, Vec<u8>)>;

/// How a stream is made and read.
pub(crate) struct Codec {
    pub(crate) name: &'static str,
    pub(crate) encoder: &'static str,
    pub(crate) decoder: &'static str,
}

const H264_DECODER: &str = "avdec_h264 max-threads=1 output-corrupt=true";
pub(crate) const H264: Codec = Codec {
    name: "H.264",
    encoder: "x264enc key-int-max=15 bframes=0 speed-preset=veryfast ! h264parse",
    decoder: H264_DECODER,
};
pub(crate) const H264_B: Codec = Codec {
    name: "H.264 with B-frames",
    encoder: "x264enc key-int-max=15 bframes=3 b-adapt=false b-pyramid=true speed-preset=veryfast \
              ! h264parse",
    decoder: H264_DECODER,
};
pub(crate) const H264_BYTES: Codec = Codec {
    name: "H.264 as a byte stream",
    encoder: "x264enc key-int-max=15 byte-stream=true speed-preset=veryfast \
              ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream",
    decoder: H264_DECODER,
};
impl Codec {
    /// `count` pictures with something that moves in them.
    pub(crate) fn encode(&self, count: u32) -> Coded {
        let launch = format!(
            "videotestsrc num-buffers={count} pattern=smpte horizontal-speed=3 \
             ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 \
             ! {} ! appsink name=out sync=false max-buffers=0",
            self.encoder
        );
        let pipeline = launched(&launch);
        let out = out(&pipeline);
        let mut coded = Coded {
            caps: gst::Caps::new_empty(),
            frames: Vec::new(),
        };
        while let Ok(sample) = out.pull_sample() {
            coded.caps = sample.caps_owned().unwrap();
            coded.frames.push(sample.buffer_owned().unwrap());
        }
        stopped(&pipeline);
        assert_eq!(coded.frames.len(), count as usize, "{}", self.name);
        coded
    }

    /// What a decoder makes of `frames`, every doubtful picture included.
    pub(crate) fn decode(&self, caps: &gst::Caps, frames: &[gst::Buffer]) -> Pictures {
        let launch = format!(
            "appsrc name=in format=time max-bytes=0 ! {} ! appsink name=out sync=false",
            self.decoder
        );
        let pipeline = launched(&launch);
        let input = pipeline.by_name("in").unwrap();
        let input = input.downcast::<gst_app::AppSrc>().unwrap();
        input.set_caps(Some(caps));
        for frame in frames {
            input.push_buffer(frame.clone()).unwrap();
        }
        input.end_of_stream().unwrap();
        let out = out(&pipeline);
        let mut pictures = Pictures::new();
        while let Ok(sample) = out.pull_sample() {
            let buffer = sample.buffer().unwrap();
            let pixels = buffer.map_readable().unwrap().to_vec();
            pictures.push((buffer.pts().unwrap().nseconds(), pixels));
        }
        stopped(&pipeline);
        pictures
    }
}

/// A coded stream, in the order of its frames.
pub(crate) struct Coded {
    pub(crate) caps: gst::Caps,
    pub(crate) frames: Vec<gst::Buffer>,
}

/// How many of the frames need no other.
pub(crate) fn keyframes(frames: &[gst::Buffer]) -> usize {
    let is_key = |frame: &&gst::Buffer| !frame.flags().contains(gst::BufferFlags::DELTA_UNIT);
    frames.iter().filter(is_key).count()
}

/// How many of `pictures` are what they should be, and how many are not.
pub(crate) fn compare(pictures: &Pictures, reference: &Pictures) -> (usize, usize) {
    let mut right: Vec<_> = pictures
        .iter()
        .filter(|picture| reference.contains(picture))
        .collect();
    let wrong = pictures.len() - right.len();
    right.dedup();
    (right.len(), wrong)
}

fn launched(launch: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(launch).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline
}

fn out(pipeline: &gst::Pipeline) -> gst_app::AppSink {
    let out = pipeline.by_name("out").unwrap();
    out.downcast().unwrap()
}

/// Nothing may have gone wrong on the way.
fn stopped(pipeline: &gst::Pipeline) {
    let bus = pipeline.bus().unwrap();
    if let Some(error) = bus.pop_filtered(&[gst::MessageType::Error]) {
        panic!("{error:?}");
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
