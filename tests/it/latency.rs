// SPDX-License-Identifier: MPL-2.0
//! LATENCY: what the queues hold, and the warning when that is not enough.

use crate::common::{Rig, caps, wait_for};
use gst::prelude::*;

#[test]
fn latency_grows_by_what_the_queue_holds() {
    crate::common::init();
    let line = "videotestsrc is-live=true ! video/x-raw,framerate=25/1 ! dronetee name=t depth=3 \
        t.src_a ! fakesink sync=true name=end";
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let end = pipeline.by_name("end").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_for("a first frame", || {
        pipeline.by_name("t").unwrap().property::<u64>("published") > 0
    });
    let result = |pad: gst::Pad| {
        let mut query = gst::query::Latency::new();
        assert!(pad.peer_query(&mut query));
        query.result()
    };
    let tee = pipeline.by_name("t").unwrap();
    let (live, min, max) = result(tee.static_pad("sink").unwrap());
    let more = max.map(|max| max + 3 * (gst::ClockTime::SECOND / 25));
    assert_eq!(result(end.static_pad("sink").unwrap()), (live, min, more));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_depth_too_short_for_the_latency_is_warned_of_once() {
    crate::common::init();
    // The other branch adds 500 ms of latency; this one's sink syncs to it with four frames.
    let line = "videotestsrc is-live=true ! video/x-raw,framerate=30/1 ! dronetee name=t \
        t.src_short ! fakesink sync=true \
        t.src_long ! queue ! identity name=slow ! fakesink sync=true";
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let slow = pipeline.by_name("slow").unwrap().static_pad("src").unwrap();
    slow.add_probe(
        gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PULL,
        |_, info| {
            if let Some(query) = info.query_mut()
                && let gst::QueryViewMut::Latency(latency) = query.view_mut()
            {
                let (live, min, max) = latency.result();
                let more = gst::ClockTime::from_mseconds(500);
                latency.set(live, min + more, max.map(|max| max + more));
            }
            gst::PadProbeReturn::Ok
        },
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let warning = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(30),
            &[gst::MessageType::Warning],
        )
        .expect("no warning");
    let gst::MessageView::Warning(warning) = warning.view() else {
        unreachable!()
    };
    let text = warning.error().to_string();
    // 500 ms are 15 frames at 33.3 ms and a bit; one of them is in the sink.
    assert!(
        text.contains("'short'") && text.contains("depth=15"),
        "{text}"
    );
    let again = bus.timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Warning]);
    assert!(again.is_none(), "{again:?}");
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn latency_is_answered_whatever_the_frame_rate() {
    let rig = Rig::new();
    let consumer = rig.consumer("a");
    let rates = [(0, 1), (1, 1), (i32::MAX, 1), (1, i32::MAX)];
    for (n, (numer, denom)) in rates.into_iter().enumerate() {
        let mut caps = caps(8);
        let rate = gst::Fraction::new(numer, denom);
        caps.make_mut().set("framerate", rate);
        rig.begin(&caps);
        // Upstream is a pad alone and knows none; the peer has no links inside either.
        assert!(!consumer.sink.peer_query(&mut gst::query::Latency::new()));
        let latency = gst::event::Latency::new(gst::ClockTime::SECOND);
        consumer.sink.push_event(latency);
        assert_eq!(rig.push(n as u64), Ok(gst::FlowSuccess::Ok));
        consumer.wait_idle();
    }
    assert_eq!(consumer.count("out"), 4);
}

/// As a camera whose stream does not tell its rate.
#[test]
fn a_variable_frame_rate_is_no_trouble_for_syncing_sinks() {
    crate::common::init();
    let line = "appsrc name=in format=time is-live=true \
        caps=video/x-raw,format=GRAY8,width=8,height=2,framerate=0/1 \
        ! dronetee name=t ! fakesink sync=true t. ! fakesink sync=true";
    let pipeline = gst::parse::launch(line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    let input = bin.by_name("in").unwrap();
    let input = input.downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for n in 0..3 {
        input.push_buffer(crate::common::frame(n)).unwrap();
    }
    input.end_of_stream().unwrap();
    let end = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(30),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let end = end.unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
}

#[test]
fn a_latency_that_is_not_defined_is_let_pass() {
    let rig = Rig::started();
    let consumer = rig.consumer("a");
    let mut event = gst::event::Latency::new(gst::ClockTime::SECOND);
    let fields = event.get_mut().unwrap().structure_mut();
    fields.set("latency", gst::ClockTime::NONE);
    consumer.sink.push_event(event);
    assert_eq!(rig.push(0), Ok(gst::FlowSuccess::Ok));
    consumer.wait_idle();
    assert_eq!(consumer.count("out"), 1);
}

/// As a camera whose stream does not tell its rate: the rate is measured.
#[test]
fn a_depth_too_short_is_warned_of_without_a_frame_rate() {
    crate::common::init();
    let line = "videotestsrc is-live=true ! video/x-raw,framerate=30/1 \
        ! capssetter caps=video/x-raw,framerate=0/1 join=true ! dronetee name=t \
        t.src_short ! fakesink sync=true \
        t.src_long ! queue ! identity name=slow ! fakesink sync=true";
    let pipeline = gst::parse::launch(line).unwrap();
    let bin = pipeline.downcast_ref::<gst::Bin>().unwrap();
    let slow = bin.by_name("slow").unwrap().static_pad("src").unwrap();
    slow.add_probe(
        gst::PadProbeType::QUERY_UPSTREAM | gst::PadProbeType::PULL,
        |_, info| {
            if let Some(gst::QueryViewMut::Latency(latency)) =
                info.query_mut().map(|query| query.view_mut())
            {
                let (live, min, max) = latency.result();
                let more = gst::ClockTime::from_mseconds(500);
                latency.set(live, min + more, max.map(|max| max + more));
            }
            gst::PadProbeReturn::Ok
        },
    );
    pipeline.set_state(gst::State::Playing).unwrap();
    let warning = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(30),
        &[gst::MessageType::Warning],
    );
    pipeline.set_state(gst::State::Null).unwrap();
    let warning = warning.expect("no warning");
    let gst::MessageView::Warning(warning) = warning.view() else {
        unreachable!()
    };
    let text = warning.error().to_string();
    assert!(
        text.contains("'short'") && text.contains("depth="),
        "{text}"
    );
}
