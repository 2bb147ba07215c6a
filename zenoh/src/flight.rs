// SPDX-License-Identifier: MPL-2.0
//! The pipeline: camera, `dronetee`, the consumers on board, and the receiver for the ground.

use std::time::{Duration, SystemTime};

use gst::prelude::*;
use gstdronetee::{Frame, FramePublisher, FrameReceiver};

use crate::Result;
use crate::options::{Codec, Options};

/// Frames that may wait for the ground: what counts is how long they do.
const DEPTH: u32 = 512;

/// A pipeline that runs, until it is dropped.
pub(crate) struct Flight {
    pipeline: gst::Pipeline,
    tee: gst::Element,
    pub(crate) publisher: FramePublisher,
}

impl Flight {
    /// Ready to start: what is wrong with a line is told here.
    pub(crate) fn prepare(options: &Options) -> Result<(Self, FrameReceiver)> {
        let pipeline = gst::parse::launch(&line(options))
            .map_err(|error| format!("the launch line: {error}"))?
            .downcast::<gst::Pipeline>()
            .map_err(|_| "the launch line is no pipeline")?;
        let tee = pipeline.by_name(TEE).ok_or("no dronetee")?;
        let publisher = FramePublisher::new(&tee)?;
        let frames = publisher
            .consumer(&options.consumer)
            .depth(DEPTH)
            // The other parts of the age: what is on its way, and its own transmission.
            .max_age(options.max_age * 2 / 5)
            .subscribe()?;
        let flight = Self {
            pipeline,
            tee,
            publisher,
        };
        Ok((flight, frames))
    }

    pub(crate) fn start(&self) {
        // Why it fails, if it does, is on the bus.
        let _ = self.pipeline.set_state(gst::State::Playing);
    }

    pub(crate) fn stop(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// Waits for the end of the stream for as long; true if it has come.
    ///
    /// # Errors
    ///
    /// What failed outside of the branches.
    pub(crate) fn has_ended(&self, wait: Duration) -> Result<bool> {
        let bus = self.pipeline.bus().ok_or("no bus")?;
        let kinds = [
            gst::MessageType::Eos,
            gst::MessageType::Error,
            gst::MessageType::Warning,
        ];
        let wait = gst::ClockTime::try_from(wait)?;
        let Some(message) = bus.timed_pop_filtered(wait, &kinds) else {
            return Ok(false);
        };
        let source = message.src().map(|source| source.name());
        let source = source.as_deref().unwrap_or("unknown");
        match message.view() {
            gst::MessageView::Error(error) => Err(format!("{source}: {}", error.error()).into()),
            gst::MessageView::Warning(warning) => {
                eprintln!("dronetee-zenoh: {source}: {}", warning.error());
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// A handle that asks the camera for a keyframe.
    pub(crate) fn keyframes(&self) -> Keyframes {
        Keyframes(self.tee.downgrade())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks the camera for a keyframe.
#[derive(Clone)]
pub(crate) struct Keyframes(glib::WeakRef<gst::Element>);

impl Keyframes {
    pub(crate) fn request(&self) {
        let Some(tee) = self.0.upgrade() else {
            return;
        };
        let structure = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true);
        let event = gst::event::CustomUpstream::new(structure.build());
        if let Some(sink) = tee.static_pad("sink") {
            // No answer of a camera that does not know of such requests.
            let _ = sink.push_event(event);
        }
    }
}

/// When the frame was taken, since 1970: as its camera says, else when it came to the `dronetee`.
pub(crate) fn captured(frame: &Frame) -> Duration {
    let of_camera = frame
        .reference_timestamp()
        .and_then(|time| time.to_system_time());
    let time = of_camera.unwrap_or_else(|| SystemTime::now() - frame.age());
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

const TEE: &str = "dronetee-for-zenoh";

/// The user's line, made to whole pictures with their parameter sets, and the consumers on board.
fn line(options: &Options) -> String {
    let coded = match options.codec {
        Codec::H264 => "h264parse config-interval=-1 ! video/x-h264",
        Codec::H265 => "h265parse config-interval=-1 ! video/x-h265",
    };
    let mut line = format!(
        "{} ! {coded},stream-format=byte-stream,alignment=au ! dronetee name={TEE} depth=30",
        options.line
    );
    for branch in &options.branch {
        let name = &branch.name;
        line += &format!(
            " {TEE}.src_{name} ! dronebranch.( name={name} {} )",
            branch.line
        );
    }
    line
}
