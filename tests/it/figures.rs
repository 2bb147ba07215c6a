// SPDX-License-Identifier: MPL-2.0
//! Times, rates and what a branch reports, checked against what is known.

use std::time::{Duration, Instant};

use crate::accounts::{attach, count, number, pad_stats, work_for};
use crate::common::{Rig, caps, wait_for};
use gst::prelude::*;

#[test]
fn a_consumer_of_200_ms_a_frame_reads_as_that() {
    let rig = Rig::started();
    let slow = attach(&rig, "slow", |_| {
        work_for(Duration::from_millis(200));
        Ok(gst::FlowSuccess::Ok)
    });
    let fine = rig.consumer("fine");
    rig.push_all(0..4);
    wait_for("its frames", || count(&slow, "out") == 4);
    let stats = pad_stats(&slow);
    let service = ["service-p50", "service-p99", "service-max"].map(|name| number(&stats, name));
    assert!((198_000_000..300_000_000).contains(&service[0]), "{stats}");
    assert!(
        service[0] <= service[1] && service[1] <= service[2],
        "{stats}"
    );
    // The last one waited for three others.
    let wait = ["wait-p50", "wait-p99", "wait-max"].map(|name| number(&stats, name));
    assert!((590_000_000..900_000_000).contains(&wait[2]), "{stats}");
    assert!(wait[0] <= wait[1] && wait[1] <= wait[2], "{stats}");
    let of_fine = fine.stats();
    assert!(number(&of_fine, "service-p50") < 50_000_000, "{of_fine}");
    // New with a new start.
    rig.tee.set_state(gst::State::Ready).unwrap();
    rig.tee.set_state(gst::State::Paused).unwrap();
    assert_eq!(number(&pad_stats(&slow), "service-max"), 0);
}

#[test]
fn the_streams_figures_are_the_sources() {
    let rig = Rig::started();
    let stats = || rig.tee.property::<gst::Structure>("stats");
    assert_eq!(number(&stats(), "last-frame-age"), u64::MAX);
    let _fine = rig.consumer("fine");
    let mut sent = Vec::new();
    let begin = Instant::now();
    for n in 0..130 {
        let due = begin + Duration::from_millis(10) * n;
        work_for(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        rig.push(n.into()).unwrap();
    }
    let told = stats();
    let now = Instant::now();
    let of_last_second = |sent: &&Instant| now - **sent < Duration::from_secs(1);
    let expected = sent.iter().filter(of_last_second).count() as f64;
    let rate = told.get::<f64>("frame-rate").unwrap();
    assert!(
        (rate / expected - 1.0).abs() < 0.2,
        "{rate}, not {expected}"
    );
    let bits = number(&told, "bitrate") as f64;
    assert!((bits / (rate * 16.0 * 8.0) - 1.0).abs() < 0.01, "{told}");
    assert_eq!(number(&told, "bytes"), 130 * 16);
    assert_eq!(number(&told, "published"), 130);
    assert_eq!(told.get::<gst::Caps>("caps").unwrap(), caps(8));
    assert_eq!(told.get::<i32>("num-src-pads").unwrap(), 1);
    // The age of the last frame grows with the clock.
    let last = *sent.last().unwrap();
    wait_for("some time", || last.elapsed() > Duration::from_millis(50));
    let at_least = last.elapsed() - Duration::from_millis(40);
    let age = Duration::from_nanos(number(&stats(), "last-frame-age"));
    assert!(age > at_least && age < last.elapsed(), "{age:?}");
}

#[test]
fn what_a_branch_reports_of_itself_is_readable() {
    let rig = Rig::started();
    let (late, fine) = (rig.consumer("late"), rig.consumer("fine"));
    for n in 1..4 {
        let event = gst::event::Qos::builder(
            gst::QOSType::Underflow,
            f64::from(n),
            i64::from(n) * 1_000_000,
        );
        assert!(late.sink.push_event(event.build()));
    }
    let stats = late.stats();
    assert_eq!(number(&stats, "qos-events"), 3);
    assert_eq!(stats.get::<f64>("qos-proportion").unwrap(), 3.0);
    assert_eq!(stats.get::<i64>("qos-jitter").unwrap(), 3_000_000);
    assert_eq!(number(&fine.stats(), "qos-events"), 0);
}
