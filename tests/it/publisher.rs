// SPDX-License-Identifier: MPL-2.0
//! The Rust API: consumers in this process.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use gst::prelude::*;
use gstdronetee::{
    CloseReason, ConsumerBuilder, DropReason, Error, Frame, FramePublisher, FrameReceiver, Health,
    Ledger, RecvError, consumers,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// Sent between threads and shared by them.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    const fn moved<T: Unpin>() {}
    const fn error<T: std::error::Error + Send + Sync + 'static>() {}
    shared::<FramePublisher>();
    shared::<ConsumerBuilder>();
    shared::<Frame>();
    shared::<Health>();
    shared::<Ledger>();
    sent::<FrameReceiver>();
    moved::<FrameReceiver>();
    error::<Error>();
    error::<RecvError>();
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
    assert_eq!(frames.close_reason(), Some(CloseReason::Eos));
    let closed = RecvError::Closed(CloseReason::Eos);
    assert_eq!(frames.try_recv().unwrap_err(), closed);
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
            let data = chroma.data();
            assert_eq!(data.as_ptr() as usize, upstream + 320 * 240);
            assert_eq!((data.len(), chroma.stride()), (160 * 120, 160));
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
    let not_one = FramePublisher::new(&other).unwrap_err();
    assert_eq!(not_one, Error::NotADroneTee("fakesrc".into()));
    assert!(not_one.to_string().contains("'fakesrc' is not a dronetee"));
    assert!(FramePublisher::new(pipeline.upcast_ref()).is_err());

    let first = publisher.subscribe("a").unwrap();
    let tee = pipeline.by_name("t").unwrap();
    // A src pad has the name as well as a receiver.
    tee.request_pad_simple("src_b").unwrap();
    for name in ["a", "b"] {
        let taken = publisher.subscribe(name).unwrap_err();
        assert_eq!(taken, Error::NameTaken(name.into()));
        let taken = publisher.consumer(name).depth(2).subscribe().unwrap_err();
        assert_eq!(taken, Error::NameTaken(name.into()));
    }
    // The name is free again with its receiver gone.
    drop(first);
    let first = publisher.subscribe("a").unwrap();
    for name in ["a b", "", "a/b", "é", "a\0", "a:b", "%u"] {
        let invalid = publisher.subscribe(name).unwrap_err();
        assert_eq!(invalid, Error::InvalidName(name.into()));
    }
    assert_eq!(tee.property::<i32>("num-src-pads"), 2);
    // A number is a name, and not handed out again.
    let _number = publisher.subscribe("0").unwrap();
    assert_eq!(tee.request_pad_simple("src_%u").unwrap().name(), "src_1");

    drop((first, _number, tee, pipeline, other));
    assert_eq!(publisher.subscribe("c").unwrap_err(), Error::Gone);
    let gone = publisher.consumer("c").depth(2).subscribe().unwrap_err();
    assert_eq!(gone, Error::Gone);
    assert_eq!(publisher.health(), Health::default());
    assert_eq!(publisher.published(), 0);
}

#[test]
fn impossible_limits_are_an_error_and_extreme_ones_are_not() {
    let (pipeline, publisher) = launch("videotestsrc num-buffers=3 ! dronetee name=t");
    let consumer = || publisher.consumer("a");
    let impossible = [
        consumer().depth(4097),
        consumer().depth(u32::MAX),
        consumer().max_age(Duration::MAX),
        consumer().max_age(Duration::from_secs(1 << 40)),
    ];
    for builder in impossible {
        let error = builder.subscribe().unwrap_err();
        assert!(matches!(error, Error::InvalidLimit(_)), "{error:?}");
        assert!(error.to_string().contains("beyond"), "{error}");
    }
    let tee = pipeline.by_name("t").unwrap();
    assert_eq!(tee.property::<i32>("num-src-pads"), 0, "nothing is left");
    let mut frames = consumer()
        .depth(4096)
        .max_age(Duration::from_nanos(u64::MAX))
        .max_lag(u64::MAX)
        .subscribe()
        .unwrap();
    let pad = tee.static_pad("src_a").unwrap();
    assert_eq!(pad.property::<u32>("depth"), 4096);
    assert_eq!(pad.property::<u64>("max-age"), u64::MAX);
    assert_eq!(pad.property::<u64>("max-lag"), u64::MAX);
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..3 {
        frames.recv_timeout(Duration::MAX).unwrap();
    }
    assert_eq!(
        frames.recv_timeout(DEADLINE).unwrap_err(),
        RecvError::Closed(CloseReason::Eos)
    );
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn waiting_has_its_time() {
    let (pipeline, publisher) = launch("appsrc name=src ! video/x-raw ! dronetee name=t");
    let mut frames = publisher.subscribe("a").unwrap();
    for started in [false, true] {
        if started {
            pipeline.set_state(gst::State::Playing).unwrap();
        }
        assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
        let (begin, patience) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(frames.recv_timeout(patience).unwrap_err(), RecvError::Empty);
        assert!(begin.elapsed() >= patience);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[cfg(feature = "serde")]
#[test]
fn health_can_be_written_and_read() {
    let (pipeline, publisher) = launch("videotestsrc num-buffers=10 ! dronetee name=t");
    let mut frames = publisher.consumer("a").depth(2).subscribe().unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while publisher.published() < 10 {
        assert!(Instant::now() < deadline);
        bus.timed_pop(gst::ClockTime::from_mseconds(5));
    }
    frames.recv().unwrap();
    let health = publisher.health();
    let text = serde_json::to_string(&health).unwrap();
    assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let consumer = &value["consumers"][0];
    assert_eq!(consumer["consumer"], "a");
    assert_eq!(consumer["state"], "ok");
    assert_eq!(consumer["ledger"]["dropped"]["slow"], 8);
    assert_eq!(consumer["ledger"]["dropped"]["waiting-keyframe"], 0);
    // What an earlier version did not say is as at the start; an unknown reason is an error.
    assert_eq!(
        serde_json::from_str::<Health>("{}").unwrap(),
        Health::default()
    );
    let unknown = text.replace("waiting-keyframe", "boredom");
    assert!(serde_json::from_str::<Health>(&unknown).is_err());
    pipeline.set_state(gst::State::Null).unwrap();
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

/// The application releases the pad, and its receiver is dropped because of that, or before.
#[test]
fn a_pad_is_released_once_by_two() {
    let (pipeline, publisher) =
        launch("videotestsrc ! video/x-raw,width=16,height=16 ! dronetee name=t");
    let tee = pipeline.by_name("t").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..100 {
        let mut receiver = publisher.subscribe("twice").unwrap();
        let pad = tee.static_pad("src_twice").unwrap();
        let gone = pad.downgrade();
        let waiting = std::thread::spawn(move || while receiver.recv().is_some() {});
        tee.release_request_pad(&pad);
        drop(pad);
        waiting.join().unwrap();
        let deadline = Instant::now() + DEADLINE;
        while gone.upgrade().is_some() {
            assert!(Instant::now() < deadline, "somebody holds the pad");
            std::thread::yield_now();
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
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
    assert_eq!(late.close_reason(), Some(CloseReason::Evicted));
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

/// The application and the receiver may both release the pad.
#[test]
fn a_receiver_without_its_pad_is_dropped_without_a_word() {
    static WORDS: AtomicUsize = AtomicUsize::new(0);
    let critical = glib::LogLevels::LEVEL_CRITICAL;
    glib::log_set_handler(Some("GStreamer"), critical, true, false, |_, _, text| {
        eprintln!("{text}");
        let is_it = text.contains("gst_element_release_request_pad");
        WORDS.fetch_add(usize::from(is_it), Ordering::SeqCst);
    });
    let (pipeline, publisher) = launch("appsrc ! video/x-raw ! dronetee name=t");
    let tee = pipeline.by_name("t").unwrap();
    let receiver = publisher.subscribe("twice").unwrap();
    tee.release_request_pad(&tee.static_pad("src_twice").unwrap());
    drop(receiver);
    assert_eq!(WORDS.load(Ordering::SeqCst), 0);
}

#[test]
fn a_message_is_told_by_its_consumer() {
    let line = "videotestsrc is-live=true ! dronetee name=t \
         t.src_bad ! identity name=breaks error-after=2 ! fakesink t.src_good ! fakesink";
    let (pipeline, publisher) = launch(line);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let patience = gst::ClockTime::from_seconds(DEADLINE.as_secs());
    let error = bus.timed_pop_filtered(patience, &[gst::MessageType::Error]);
    let error = error.unwrap();
    assert_eq!(publisher.consumer_of(&error).as_deref(), Some("bad"));
    let tee = pipeline.by_name("t").unwrap();
    let own = gst::message::Eos::builder().src(&tee).build();
    assert_eq!(publisher.consumer_of(&own), None);
    pipeline.set_state(gst::State::Null).unwrap();
}
