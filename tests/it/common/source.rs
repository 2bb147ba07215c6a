// SPDX-License-Identifier: MPL-2.0
//! A `dronetee` that the test pushes into, with consumers in this process.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::time::Duration;

use gst::prelude::*;
use gstdronetee::FramePublisher;

use crate::ends;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Source {
    pub(crate) tee: gst::Element,
    pub(crate) sink: gst::Pad,
    pub(crate) publisher: FramePublisher,
}

impl Source {
    pub(crate) fn idle() -> Self {
        gst::init().unwrap();
        gstdronetee::plugin_register_static().unwrap();
        let tee = gst::ElementFactory::make("dronetee")
            // A test that pauses is no source that has starved.
            .property("max-held", u32::MAX)
            .build()
            .unwrap();
        let publisher = FramePublisher::new(&tee).unwrap();
        let sink = tee.static_pad("sink").unwrap();
        Self {
            tee,
            sink,
            publisher,
        }
    }

    /// In PLAYING, with the events that come first sent.
    pub(crate) fn started(caps: Option<&gst::Caps>) -> Self {
        let source = Self::idle();
        source.set(gst::State::Playing);
        source.begin(caps);
        source
    }

    pub(crate) fn set(&self, state: gst::State) {
        self.tee.set_state(state).unwrap();
    }

    pub(crate) fn send(&self, event: gst::Event) {
        assert!(self.sink.send_event(event));
    }

    pub(crate) fn begin(&self, caps: Option<&gst::Caps>) {
        ends::begin(&self.sink, caps);
    }

    pub(crate) fn flush(&self) {
        self.send(gst::event::FlushStart::new());
        self.send(gst::event::FlushStop::new(true));
        ends::segment(&self.sink);
    }

    pub(crate) fn end(&self) {
        self.send(gst::event::Eos::new());
    }

    /// A frame that nobody looks into.
    pub(crate) fn publish(&self) {
        self.publish_buffer(gst::Buffer::from_slice([0; 16]));
    }

    pub(crate) fn publish_buffer(&self, buffer: gst::Buffer) {
        self.sink.chain(buffer).unwrap();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.tee.set_state(gst::State::Null);
    }
}
