// SPDX-License-Identifier: MPL-2.0
//! Records the coded stream into an MP4 file, from the last keyframe on, while the camera runs.
//!
//! `gop-cache` keeps the stream from the last keyframe on, so that a recording that begins at any moment
//! begins with a picture. `drive_to` gives what is kept and then what comes to a [`FrameSink`]: here an
//! `appsrc` in front of a muxer, in a pipeline of its own, which may fail without harm to the camera's.

use std::thread;
use std::time::Duration;

use gst_app::AppSrc;
use gstdronetee::gst::{self, prelude::*};
use gstdronetee::{Driven, Frame, FramePublisher, FrameSink, Stop};

const CAMERA: &str = "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 \
    ! x264enc tune=zerolatency key-int-max=15 ! h264parse \
    ! video/x-h264,stream-format=avc,alignment=au ! dronetee name=t gop-cache=60";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A file that frames are written to.
struct Recording {
    pipeline: gst::Pipeline,
    source: AppSrc,
    /// Running time of its first frame, which is zero in the file.
    begin: Option<gst::ClockTime>,
}

impl Recording {
    fn new(path: &str) -> Result<Self> {
        let line =
            "appsrc name=in format=time is-live=true ! h264parse ! mp4mux ! filesink name=out";
        let pipeline = gst::parse::launch(line)?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "not a pipeline")?;
        pipeline
            .by_name("out")
            .ok_or("no file")?
            .set_property("location", path);
        let source = pipeline.by_name("in").ok_or("no source")?;
        let source = source.downcast::<AppSrc>().map_err(|_| "not an appsrc")?;
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self {
            pipeline,
            source,
            begin: None,
        })
    }
}

impl FrameSink for Recording {
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn frame(&mut self, frame: Frame) -> Result<()> {
        let time = frame.running_time().ok_or("a frame without a time")?;
        let begin = *self.begin.get_or_insert(time);
        if frame.lost_before() > 0 {
            println!("{} frames are missing before {time}", frame.lost_before());
        }
        self.source.set_caps(frame.caps());
        let times = frame.dts().zip(frame.pts());
        let dts = times.map(|(dts, pts)| (time + dts).saturating_sub(pts + begin));
        // The pixels are shared; only the times are another buffer's.
        let mut buffer = frame.into_buffer();
        let own = buffer.make_mut();
        own.set_pts(time.saturating_sub(begin));
        own.set_dts(dts);
        self.source.push_buffer(buffer)?;
        Ok(())
    }

    /// The muxer writes its index at the end of the stream.
    fn end(&mut self) -> Result<()> {
        self.source.end_of_stream()?;
        let bus = self.pipeline.bus().ok_or("no bus")?;
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &ends);
        self.pipeline.set_state(gst::State::Null)?;
        match end.as_deref().map(gst::MessageRef::view) {
            Some(gst::MessageView::Eos(_)) => Ok(()),
            Some(gst::MessageView::Error(error)) => Err(error.error().into()),
            _ => Err("the file was not finished in time".into()),
        }
    }
}

pub(crate) fn main() -> Result<()> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let pipeline = gst::parse::launch(CAMERA)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| "not a pipeline")?;
    let publisher = FramePublisher::new(&pipeline.by_name("t").ok_or("no dronetee")?)?;
    pipeline.set_state(gst::State::Playing)?;
    // Somewhere within a group of pictures.
    while publisher.published() < 20 {
        thread::sleep(Duration::from_millis(10));
    }

    let path = std::env::temp_dir().join(format!("recorder-{}.mp4", std::process::id()));
    let path = path.to_str().ok_or("no path")?.to_owned();
    let mut recording = Recording::new(&path)?;
    let stop = Stop::new();
    let (own, in_thread) = (stop.clone(), publisher.clone());
    let recorder = thread::spawn(move || {
        let mut frames = in_thread.consumer("recorder").depth(60).subscribe()?;
        frames.drive_to(&mut recording, &own)
    });
    thread::sleep(Duration::from_secs(1));
    stop.stop();
    let driven = recorder.join().map_err(|_| "the recorder panicked")??;
    assert_eq!(driven, Driven::Stopped);
    pipeline.set_state(gst::State::Null)?;
    let size = std::fs::metadata(&path)?.len();
    println!("{path}: {size} bytes");
    assert!(size > 1000);
    std::fs::remove_file(path)?;
    Ok(())
}
