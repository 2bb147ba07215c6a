// SPDX-License-Identifier: MPL-2.0
//! What the autopilot was promised, at full length: 30 frames a second for as long as it was asked.
//!
//! These take their time by nature, so they are in one file, where they run side by side.

mod memory;
mod watch;

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstdronetee::{DropReason, FramePublisher, FrameReceiver, Ledger, consumers};

/// An orderly run takes seconds; this is for one that hangs.
const DEADLINE: Duration = Duration::from_secs(120);

const NAMES: [&str; 3] = [
    consumers::DETECTION_CLIENT,
    consumers::MOVEMENT_DETECTOR,
    consumers::TELEMETRY,
];

/// A camera that sends `frames` at 30 a second, and a `dronetee` with its defaults.
fn camera(frames: u32) -> (gst::Pipeline, FramePublisher) {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let line = format!(
        "videotestsrc is-live=true num-buffers={frames} pattern=black \
         ! video/x-raw,format=I420,width=1280,height=720,framerate=30/1 ! dronetee name=t"
    );
    let pipeline = gst::parse::launch(&line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let publisher = FramePublisher::new(&pipeline.by_name("t").unwrap()).unwrap();
    (pipeline, publisher)
}

/// What a consumer saw until the end of the stream.
struct Seen {
    frames: u64,
    lost: u64,
    frames_receiver: FrameReceiver,
}

/// Takes all frames in a thread of its own, with a rest after each.
fn consume(mut frames: FrameReceiver, rest: Duration) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let (mut seen, mut lost) = (0, 0);
        loop {
            match frames.recv_timeout(DEADLINE) {
                Ok(frame) => {
                    assert_eq!(frame.pixels().unwrap().len(), 1280 * 720 * 3 / 2);
                    seen += 1;
                    lost += frame.lost_before();
                }
                Err(gstdronetee::RecvError::Closed(_)) => break,
                Err(error) => panic!("{error}"),
            }
            if !rest.is_zero() {
                // The consumer under test is one that takes its time.
                std::thread::sleep(rest);
            }
        }
        Seen {
            frames: seen,
            lost,
            frames_receiver: frames,
        }
    })
}

fn ledger(publisher: &FramePublisher, consumer: &str) -> Ledger {
    let health = publisher.health();
    let found = health
        .consumers
        .iter()
        .find(|other| other.consumer == consumer);
    found.unwrap_or_else(|| panic!("no {consumer}")).ledger
}

macro_rules! check {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

/// That it got each of `frames`, and no counter says otherwise.
fn got_all(publisher: &FramePublisher, seen: &Seen, frames: u64) -> Result<(), String> {
    let name = seen.frames_receiver.consumer();
    let ledger = ledger(publisher, &name);
    check!(seen.frames == frames, "{name} saw {}", seen.frames);
    check!(seen.lost == 0, "{name} was told of {} lost", seen.lost);
    for (reason, count) in ledger.dropped.iter() {
        check!(count == 0, "{}={count}", reason.tag(&name));
    }
    check!(ledger.frames_out == frames, "{name}: {ledger:?}");
    Ok(())
}

#[test]
fn a1_three_consumers_get_every_frame_of_ten_seconds() {
    watch::unless_stalled(|| {
        let (pipeline, publisher) = camera(300);
        let workers = NAMES.map(|name| consume(publisher.subscribe(name).unwrap(), Duration::ZERO));
        let begin = Instant::now();
        pipeline.set_state(gst::State::Playing).unwrap();
        let ended = workers.map(|worker| worker.join().unwrap());
        let took = begin.elapsed();
        let checked = ended
            .iter()
            .try_for_each(|seen| got_all(&publisher, seen, 300));
        assert_eq!(publisher.published(), 300);
        assert!(took >= Duration::from_millis(9_900), "not live: {took:?}");
        pipeline.set_state(gst::State::Null).unwrap();
        checked
    });
}

/// Looks at the drops of `consumer` once a second of the stream.
fn drops_by_second(publisher: &FramePublisher, consumer: &str, seconds: u64) -> Vec<u64> {
    let begin = Instant::now();
    let mut drops = Vec::new();
    while drops.len() < seconds as usize {
        assert!(begin.elapsed() < DEADLINE, "no frames");
        std::thread::park_timeout(Duration::from_millis(5));
        if publisher.published() >= 30 * (drops.len() as u64 + 1) {
            let ledger = ledger(publisher, consumer);
            drops.push(ledger.dropped.get(DropReason::Slow));
            assert!(ledger.balances(), "{ledger:?}");
            // In flight and in the queue, whatever was dropped.
            assert!(ledger.waiting <= 4 && ledger.in_flight <= 1, "{ledger:?}");
        }
    }
    drops
}

#[test]
fn a2_a_consumer_of_200_ms_a_frame_loses_its_own_frames_only() {
    watch::unless_stalled(|| {
        let (pipeline, publisher) = camera(150);
        let [slow, fast @ ..] = NAMES;
        let rest = Duration::from_millis(200);
        let slow_worker = consume(publisher.subscribe(slow).unwrap(), rest);
        let fast = fast.map(|name| consume(publisher.subscribe(name).unwrap(), Duration::ZERO));
        pipeline.set_state(gst::State::Playing).unwrap();
        let drops = drops_by_second(&publisher, slow, 5);
        let fast = fast.map(|worker| worker.join().unwrap());
        let seen = slow_worker.join().unwrap();
        let checked = fast
            .iter()
            .try_for_each(|seen| got_all(&publisher, seen, 150));

        assert!(drops.is_sorted_by(|a, b| a < b), "grows: {drops:?}");
        let ledger = ledger(&publisher, slow);
        // At most one in 200 ms and what waits at the end are not lost.
        let lost = ledger.dropped.get(DropReason::Slow);
        assert!(lost >= 150 - 26 - 5, "{ledger:?}");
        assert_eq!(ledger.dropped.total(), lost, "no other reason");
        assert_eq!(seen.lost, lost, "each loss is told with a frame");
        assert_eq!((ledger.frames_in, ledger.frames_out), (150, seen.frames));
        assert!(ledger.balances());
        pipeline.set_state(gst::State::Null).unwrap();
        checked
    });
}

#[test]
fn a3_memory_does_not_grow_with_time_or_consumers() {
    memory::test("acceptance::a3_memory_does_not_grow_with_time_or_consumers");
}
