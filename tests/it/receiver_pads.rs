// SPDX-License-Identifier: MPL-2.0
//! The pad of a receiver: no element can be linked to it, and nothing takes it for a free one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{init, wait_for};
use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};

const DEADLINE: Duration = Duration::from_secs(30);

/// A running pipeline whose `dronetee` has only receivers.
struct Camera {
    pipeline: gst::Pipeline,
    tee: gst::Element,
    receivers: Vec<FrameReceiver>,
}

impl Camera {
    fn new() -> Self {
        Self::with(
            "videotestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=100/1 \
             ! dronetee name=t",
        )
    }

    fn with(line: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let tee = pipeline.by_name("t").unwrap();
        let publisher = FramePublisher::new(&tee).unwrap();
        let receivers = ["x", "y"].map(|name| publisher.subscribe(name).unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        Self {
            pipeline,
            tee,
            receivers: receivers.into(),
        }
    }

    fn add(&self, factory: &str) -> gst::Element {
        let element = gst::ElementFactory::make(factory).build().unwrap();
        self.pipeline.add(&element).unwrap();
        element
    }

    /// The sink that `link` linked gets frames and prerolls, and each receiver goes on.
    fn serves(mut self, sink: &gst::Element, pads: i32) {
        let frames = frames_of(&sink.static_pad("sink").unwrap());
        sink.sync_state_with_parent().unwrap();
        wait_for("the sink gets frames", || {
            frames.load(Ordering::Relaxed) > 3
        });
        let (result, state, _) = sink.state(gst::ClockTime::from_seconds(30));
        result.unwrap();
        assert_eq!(state, gst::State::Playing);
        assert_eq!(self.tee.property::<i32>("num-src-pads"), pads);
        for frames in &mut self.receivers {
            frames.recv_timeout(DEADLINE).unwrap();
            assert!(!self.tee.static_pad("src_x").unwrap().is_linked());
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn frames_of(pad: &gst::Pad) -> Arc<AtomicU64> {
    let frames = Arc::<AtomicU64>::default();
    let count = frames.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    frames
}

#[test]
fn link_goes_on_to_a_new_pad() {
    let camera = Camera::new();
    let sink = camera.add("fakesink");
    camera.tee.link(&sink).unwrap();
    camera.serves(&sink, 3);
}

#[test]
fn link_many_goes_on_to_a_new_pad() {
    let camera = Camera::new();
    let [queue, sink] = ["queue", "fakesink"].map(|factory| camera.add(factory));
    gst::Element::link_many([&camera.tee, &queue, &sink]).unwrap();
    queue.sync_state_with_parent().unwrap();
    camera.serves(&sink, 3);
}

#[test]
fn links_by_pad_name_of_the_sink_and_with_a_filter_go_on_to_a_new_pad() {
    let camera = Camera::new();
    let sink = camera.add("fakesink");
    let none = None::<&str>;
    camera.tee.link_pads(none, &sink, Some("sink")).unwrap();
    camera.serves(&sink, 3);

    // The caps are not looked at, but the link is refused all the same.
    let camera = Camera::new();
    let sink = camera.add("fakesink");
    let unchecked = gst::PadLinkCheck::empty();
    let linked = camera.tee.link_pads_full(none, &sink, none, unchecked);
    linked.unwrap();
    camera.serves(&sink, 3);

    let camera = Camera::new();
    let sink = camera.add("fakesink");
    let caps = gst::Caps::builder("video/x-raw").field("width", 16).build();
    camera.tee.link_filtered(&sink, &caps).unwrap();
    // The filter is the helper's own, in the state that the sink was in.
    let filter = sink.static_pad("sink").unwrap().peer().unwrap();
    filter
        .parent_element()
        .unwrap()
        .set_state(gst::State::Playing)
        .unwrap();
    camera.serves(&sink, 3);
}

/// A launch line's `t. ! …`, in a program that builds its branches when it needs them.
#[test]
fn a_branch_of_a_launch_line_goes_on_to_a_new_pad() {
    let camera = Camera::new();
    let line = "queue ! videoconvert ! fakesink name=end";
    let branch = gst::parse::bin_from_description(line, true).unwrap();
    camera.pipeline.add(&branch).unwrap();
    camera.tee.link(&branch).unwrap();
    branch.sync_state_with_parent().unwrap();
    camera.serves(&branch.by_name("end").unwrap(), 3);
}

/// The sink's side has a pad already, or looks for one that is compatible with it.
#[test]
fn elements_that_go_on_from_there_go_on_to_a_new_pad() {
    let elements = [
        ("compositor", Some("sink_%u")),
        ("dronetee", None),
        ("tee", None),
    ];
    for (factory, name) in elements {
        let camera = Camera::new();
        let (element, sink) = (camera.add(factory), camera.add("fakesink"));
        camera.tee.link_pads(None, &element, name).unwrap();
        element.link(&sink).unwrap();
        sink.sync_state_with_parent().unwrap();
        element.sync_state_with_parent().unwrap();
        camera.serves(&sink, 3);
    }
}

#[test]
fn a_link_to_the_pad_itself_is_refused() {
    let camera = Camera::new();
    let sink = camera.add("fakesink");
    let target = sink.static_pad("sink").unwrap();
    let pad = camera.tee.static_pad("src_x").unwrap();
    for _ in 0..2 {
        assert!(pad.link(&target).is_err());
        let nothing = gst::PadLinkCheck::empty();
        let refused = pad.link_full(&target, nothing).unwrap_err();
        assert_eq!(refused, gst::PadLinkError::Refused);
        assert!(pad.link_maybe_ghosting(&target).is_err());
        let named = camera.tee.link_pads(Some("src_x"), &sink, None);
        assert!(named.is_err());
        let both = camera.tee.link_pads(Some("src_x"), &sink, Some("sink"));
        assert!(both.is_err());
        assert!(gst::GhostPad::with_target(&pad).is_err());
        assert!(!pad.is_linked() && !target.is_linked());
    }
    assert_eq!(camera.tee.property::<i32>("num-src-pads"), 2);
    // Nothing is left of it: the sink can be linked where it belongs.
    camera.tee.link(&sink).unwrap();
    camera.serves(&sink, 3);
}

/// What can not be linked offers no caps; upstream is asked as if the receivers were not there.
#[test]
fn upstream_keeps_its_choice_of_caps() {
    let camera = Camera::new();
    let pad = camera.tee.static_pad("src_x").unwrap();
    assert!(pad.query_caps(None).is_empty());
    assert!(pad.query_caps(Some(&gst::Caps::new_any())).is_empty());
    let sink = camera.tee.static_pad("sink").unwrap();
    assert!(!sink.query_caps(None).is_empty());
    let caps = gst::Caps::builder("video/x-raw").field("width", 16).build();
    assert!(sink.query_caps(Some(&caps)).can_intersect(&caps));
    assert!(sink.query_accept_caps(&sink.current_caps().unwrap_or(caps)));
}
