// SPDX-License-Identifier: MPL-2.0
//! Flushing seeks with real elements: every sink takes part, one right after the other.

use gst::prelude::*;

#[test]
fn seeks_right_after_each_other_succeed() {
    crate::common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc ! video/x-raw,width=64,height=48,framerate=30/1 ! dronetee name=t \
         t.src_a ! fakesink name=a t.src_b ! queue ! fakesink name=b t.src_c ! fakesink name=c",
    );
    let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
    let patience = gst::ClockTime::from_seconds(crate::common::DEADLINE.as_secs());
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(patience).0.unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        for position in [3, 1, 7] {
            let to = gst::ClockTime::from_seconds(position);
            let sought = pipeline.seek_simple(gst::SeekFlags::FLUSH, to);
            refused += u32::from(sought.is_err());
        }
        // Each sink has a frame of the last seek, the first or one that came while it was busy.
        pipeline.state(patience).0.unwrap();
        for name in ["a", "b", "c"] {
            let sink = pipeline.by_name(name).unwrap();
            let sample = sink.property::<Option<gst::Sample>>("last-sample").unwrap();
            let pts = sample.buffer().unwrap().pts();
            assert!(
                pts >= Some(gst::ClockTime::from_seconds(7)),
                "{name}: {pts:?}"
            );
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(refused, 0, "of 30");
}
