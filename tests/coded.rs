// SPDX-License-Identifier: MPL-2.0
//! Coded streams: no frame without its reference.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::Rig;
use gst::prelude::*;

#[test]
fn a_coded_stream_waits_for_the_next_keyframe() {
    let rig = Rig::started();
    let slow = rig.consumer("slow");
    slow.pad.set_property("depth", 3u32);
    rig.upstream_events.lock().unwrap().clear();
    let push = |n: u64, key: bool| {
        let mut buffer = common::frame(n);
        if !key {
            buffer
                .get_mut()
                .unwrap()
                .set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        rig.src.push(buffer).unwrap();
    };
    slow.stick();
    push(0, true);
    slow.wait_in_flight();
    (1..5).for_each(|n| push(n, false));
    // The first that had to go took the ones that need it along.
    assert_eq!(slow.count("dropped-slow"), 1);
    assert_eq!(
        (slow.count("dropped-waiting-keyframe"), slow.level()),
        (3, 0)
    );
    push(5, false);
    push(6, true);
    push(7, false);
    slow.unstick();
    slow.wait_idle();
    assert_eq!(slow.offsets(), [0, 6, 7]);
    assert_eq!(slow.count("dropped-waiting-keyframe"), 4);
    let requests = rig.upstream_events.lock().unwrap();
    let requests = requests
        .iter()
        .filter(|event| gst_video::ForceKeyUnitEvent::is(event));
    assert_eq!(requests.count(), 1);
    assert_eq!(slow.stats().get::<u64>("requested-keyframes").unwrap(), 1);
}
