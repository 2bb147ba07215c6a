// SPDX-License-Identifier: MPL-2.0
//! Sticky events that are not serialized: an instant change of the rate reaches late joiners.

use std::sync::{Arc, Mutex};

use crate::common::{Consumer, Rig, caps, init, wait_for};
use glib::translate::{IntoGlibPtr, from_glib_full};
use gst::prelude::*;

/// The bindings know it only for a GStreamer newer than the least that is needed here.
#[allow(unsafe_code)]
fn change(rate: f64) -> gst::Event {
    let fields = gst::Structure::builder("GstEventInstantRateChange").field("rate", rate);
    // Downstream and sticky.
    let type_ = 180 << 8 | 1 << 1 | 1 << 3;
    // SAFETY: the structure is given away, as the function expects; it returns a new event.
    let event = unsafe {
        from_glib_full::<_, gst::Event>(gst::ffi::gst_event_new_custom(
            type_,
            fields.build().into_glib_ptr(),
        ))
    };
    assert_eq!(event.type_().name(), "instant-rate-change");
    event
}

/// The rates of the changes that it was told of.
fn rates(consumer: &Consumer) -> Vec<f64> {
    let type_ = change(1.0).type_();
    let events = consumer.events(type_);
    let rate = |event: &gst::Event| event.structure().unwrap().get("rate").unwrap();
    events.iter().map(rate).collect()
}

#[test]
fn a_late_joiner_gets_an_instant_rate_change_once_in_its_place() {
    let rig = Rig::started();
    let early = rig.consumer("early");
    rig.push(0).unwrap();
    early.wait_idle();
    assert!(
        rig.src
            .push_event(gst::event::Tag::new(gst::TagList::new()))
    );
    assert!(rig.src.push_event(change(2.0)));
    assert!(rig.src.push_event(change(3.0)));
    wait_for("the change", || rates(&early).last() == Some(&3.0));
    let late = rig.consumer("late");
    rig.push_all(1..3);
    late.wait_idle();
    let expected = [
        "stream-start",
        "caps",
        "segment",
        "instant-rate-change",
        "tag",
        "1",
        "2",
    ];
    assert_eq!(late.story(), expected);
    assert_eq!(rates(&late), [3.0]);
    // The frames around it are all there.
    early.wait_idle();
    assert_eq!(early.offsets(), [0, 1, 2]);
}

/// It is in force for the frames that are kept, too.
#[test]
fn a_joiner_that_gets_cached_frames_gets_the_rate_before_them() {
    let rig = Rig::with(|tee| tee.set_property("gop-cache", 10u32));
    rig.begin(&caps(8));
    let early = rig.consumer("early");
    rig.push(0).unwrap();
    assert!(rig.src.push_event(change(2.0)));
    early.wait_idle();
    let late = rig.consumer("late");
    late.wait_idle();
    rig.push(1).unwrap();
    late.wait_idle();
    let expected = [
        "stream-start",
        "caps",
        "segment",
        "instant-rate-change",
        "0",
        "1",
    ];
    assert_eq!(late.story(), expected);
}

#[test]
fn a_rate_change_before_the_segment_comes_after_it() {
    let rig = Rig::new();
    assert!(rig.src.push_event(gst::event::StreamStart::new("stream")));
    assert!(rig.src.push_event(change(2.0)));
    assert!(rig.src.push_event(gst::event::Caps::new(&caps(8))));
    rig.segment();
    let late = rig.consumer("late");
    rig.push(0).unwrap();
    late.wait_idle();
    let expected = [
        "stream-start",
        "caps",
        "segment",
        "instant-rate-change",
        "0",
    ];
    assert_eq!(late.story(), expected);
}

/// A seek that flushes sets the rate itself, and sinks forget the change at the flush.
#[test]
fn a_flush_ends_an_instant_rate_change() {
    let rig = Rig::started();
    let early = rig.consumer("early");
    let unlinked = rig.tee.request_pad_simple("src_unlinked").unwrap();
    rig.push(0).unwrap();
    assert!(rig.src.push_event(change(2.0)));
    wait_for("the change", || !rates(&early).is_empty());
    rig.flush();
    rig.push(1).unwrap();
    early.wait_idle();
    let late = rig.consumer("late");
    let linked = rig.link(unlinked, None);
    early.pad.unlink(&early.sink).unwrap();
    let relinked = rig.link(early.pad.clone(), None);
    rig.push(2).unwrap();
    for consumer in [late, linked, relinked] {
        consumer.wait_idle();
        assert_eq!(consumer.offsets().last(), Some(&2));
        assert_eq!(rates(&consumer), [0.0; 0]);
    }
}

/// A stream that follows without a flush is played at the changed rate by those that run.
#[test]
fn a_new_stream_keeps_the_rate() {
    let rig = Rig::started();
    assert!(rig.src.push_event(change(2.0)));
    rig.begin(&caps(8));
    let late = rig.consumer("late");
    rig.push(0).unwrap();
    late.wait_idle();
    assert_eq!(rates(&late), [2.0]);
}

#[test]
fn a_sink_that_is_added_later_hears_of_the_rate() {
    init();
    let line = "videotestsrc is-live=true ! identity name=source ! dronetee name=t t. ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let tee = bin.by_name("t").unwrap();
    let out = tee.static_pad("src_0").unwrap();
    wait_for("a frame", || out.property::<u64>("out") > 0);
    let source = bin.by_name("source").unwrap().static_pad("src").unwrap();
    assert!(source.push_event(change(2.0)));

    let sink = gst::ElementFactory::make("fakesink").build().unwrap();
    bin.add(&sink).unwrap();
    let story = Arc::new(Mutex::new(Vec::new()));
    let got = story.clone();
    let types = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    sink.static_pad("sink")
        .unwrap()
        .add_probe(types, move |_, info| {
            let what = info.event().map(|event| event.type_().name().to_string());
            got.lock().unwrap().push(what.unwrap_or("frame".into()));
            gst::PadProbeReturn::Ok
        });
    sink.sync_state_with_parent().unwrap();
    tee.link(&sink).unwrap();
    wait_for("a frame", || {
        story.lock().unwrap().contains(&"frame".into())
    });
    pipeline.set_state(gst::State::Null).unwrap();
    let story = story.lock().unwrap().clone();
    let of = |what: &str| story.iter().position(|one| one == what);
    assert!(of("instant-rate-change") > of("segment"), "{story:?}");
    assert!(of("instant-rate-change") < of("frame"), "{story:?}");
    let told = story.iter().filter(|one| *one == "instant-rate-change");
    assert_eq!(told.count(), 1, "{story:?}");
}
