// SPDX-License-Identifier: MPL-2.0
//! The Rust API: consumers in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use gst::prelude::*;
use gstdronetee::{
    DropReason, Error, Frame, FramePublisher, FrameReceiver, Health, RecvError, consumers,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// Sent between threads and shared by them.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<FramePublisher>();
    shared::<Frame>();
    shared::<Health>();
    shared::<Error>();
    sent::<FrameReceiver>();
};

fn launch(line: &str) -> (gst::Pipeline, FramePublisher) {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let pipeline = gst::parse::launch(line)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let publisher = FramePublisher::new(&pipeline.by_name("t").unwrap()).unwrap();
    (pipeline, publisher)
}

fn live(frames: u32) -> String {
    format!(
        "videotestsrc is-live=true num-buffers={frames} \
         ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 ! dronetee name=t"
    )
}

/// Takes all frames in a thread of its own; how many there were.
fn count(
    mut frames: FrameReceiver,
    per_frame: Duration,
) -> std::thread::JoinHandle<(u64, FrameReceiver)> {
    std::thread::spawn(move || {
        let mut seen = 0;
        while frames.recv().is_some() {
            seen += 1;
            if !per_frame.is_zero() {
                // The consumer under test is one that takes its time.
                std::thread::sleep(per_frame);
            }
        }
        (seen, frames)
    })
}

const NAMES: [&str; 3] = [
    consumers::DETECTION_CLIENT,
    consumers::MOVEMENT_DETECTOR,
    consumers::TELEMETRY,
];

#[test]
fn frames_tell_what_was_lost_before_them() {
    let (pipeline, publisher) = launch("videotestsrc num-buffers=100 ! dronetee name=t");
    let mut frames = publisher.consumer("late").depth(2).subscribe().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while publisher.published() < 100 {
        assert!(Instant::now() < deadline);
        bus.timed_pop(gst::ClockTime::from_mseconds(5));
    }
    let first = frames.recv().unwrap();
    assert_eq!((first.seq(), first.lost_before()), (98, 98));
    assert!(first.buffer().flags().contains(gst::BufferFlags::DISCONT));
    let second = frames.recv().unwrap();
    assert_eq!((second.seq(), second.lost_before()), (99, 0));
    assert!(frames.recv().is_none());
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Closed);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn pixels_are_the_publishers_own_memory() {
    let (pipeline, publisher) = launch(
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=320,height=240 ! dronetee name=t depth=32",
    );
    let (addresses, published) = mpsc::channel();
    let sink = pipeline.by_name("t").unwrap().static_pad("sink").unwrap();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let map = info.buffer().unwrap().map_readable().unwrap();
        addresses.send(map.as_ptr() as usize).unwrap();
        gst::PadProbeReturn::Ok
    });
    let mut receivers = NAMES.map(|name| publisher.subscribe(name).unwrap());
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..20 {
        let upstream = published.recv_timeout(DEADLINE).unwrap();
        for frames in &mut receivers {
            let frame = frames.recv().unwrap();
            let pixels = frame.pixels().unwrap();
            assert_eq!(pixels.as_ptr() as usize, upstream);
            assert_eq!(pixels.len(), 320 * 240 * 3 / 2);
            let chroma = frame.plane(1).unwrap();
            assert_eq!(chroma.as_ptr() as usize, upstream + 320 * 240);
            assert_eq!(chroma.len(), 160 * 120);
            assert_eq!(frame.plane(3).unwrap_err(), Error::NoSuchPlane(3));
            assert_eq!(frame.video_info().unwrap().width(), 320);
            // The bytes stay when the frame is gone.
            drop(frame);
            assert_eq!(pixels.len(), 320 * 240 * 3 / 2);
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn wrong_use_is_a_clear_error() {
    let (pipeline, publisher) = launch("fakesrc name=other ! video/x-raw ! dronetee name=t");
    let other = pipeline.by_name("other").unwrap();
    assert_eq!(
        FramePublisher::new(&other).unwrap_err(),
        Error::NotADroneTee("other".into())
    );
    let _first = publisher.subscribe("a").unwrap();
    assert_eq!(
        publisher.subscribe("a").unwrap_err(),
        Error::NameTaken("a".into())
    );
    assert_eq!(
        publisher.subscribe("a b").unwrap_err(),
        Error::InvalidName("a b".into())
    );
    assert_eq!(
        publisher.subscribe("").unwrap_err(),
        Error::InvalidName(String::new())
    );
    assert!(matches!(
        publisher.consumer("b").depth(5000).subscribe().unwrap_err(),
        Error::InvalidLimit(_)
    ));
    drop(_first);
    drop((pipeline, other));
    assert_eq!(publisher.subscribe("b").unwrap_err(), Error::Gone);
    assert_eq!(publisher.health(), Health::default());
}

#[test]
fn dropping_a_receiver_releases_its_pad() {
    let (pipeline, publisher) = launch(&live(1000));
    let tee = pipeline.by_name("t").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..20 {
        let mut frames = publisher.subscribe("a").unwrap();
        assert_eq!(tee.property::<i32>("num-src-pads"), 1);
        frames.recv_timeout(DEADLINE).unwrap();
        drop(frames);
        assert_eq!(tee.property::<i32>("num-src-pads"), 0);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn stop_and_release_end_a_waiting_receiver() {
    let (pipeline, publisher) = launch("appsrc name=src ! video/x-raw ! dronetee name=t");
    let tee = pipeline.by_name("t").unwrap();
    for stop in [true, false] {
        let frames = publisher.subscribe("a").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let worker = count(frames, Duration::ZERO);
        if stop {
            pipeline.set_state(gst::State::Null).unwrap();
        } else {
            tee.release_request_pad(&tee.static_pad("src_a").unwrap());
        }
        // A receiver that hangs hangs the test.
        assert_eq!(worker.join().unwrap().0, 0);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

struct Notify(mpsc::Sender<()>);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn a_receiver_is_a_stream_without_any_runtime() {
    let (pipeline, publisher) = launch(&live(30));
    let mut frames = publisher.subscribe("a").unwrap();
    let (woken, wakes) = mpsc::channel();
    let waker = Waker::from(Arc::new(Notify(woken)));
    let mut cx = Context::from_waker(&waker);
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut seen = 0;
    loop {
        match Pin::new(&mut frames).poll_next(&mut cx) {
            Poll::Ready(Some(_)) => seen += 1,
            Poll::Ready(None) => break,
            Poll::Pending => wakes.recv_timeout(DEADLINE).unwrap(),
        }
    }
    assert_eq!(seen, 30);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn too_late_a_consumer_is_evicted() {
    let (pipeline, publisher) = launch(&live(100));
    let mut late = publisher
        .consumer("late")
        .depth(2)
        .max_lag(10)
        .subscribe()
        .unwrap();
    let others = count(publisher.subscribe("others").unwrap(), Duration::ZERO);
    pipeline.set_state(gst::State::Playing).unwrap();
    assert_eq!(others.join().unwrap().0, 100);
    assert!(late.recv().is_none());
    let health = publisher.health();
    let late = health
        .consumers
        .iter()
        .find(|other| other.consumer == "late")
        .unwrap();
    assert!(!late.is_healthy());
    assert_eq!(late.ledger.dropped.get(DropReason::Slow), 11);
    assert!(late.ledger.dropped.get(DropReason::Evicted) > 80);
    assert!(late.ledger.balances());
    pipeline.set_state(gst::State::Null).unwrap();
}
