// SPDX-License-Identifier: MPL-2.0
//! What a publisher can be asked: what is kept, what the stream is, and frames driven into a sink.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use crate::common::{Rig, caps, wait_for};
use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{
    CloseReason, DriveError, Driven, DropReason, Error, Frame, FramePublisher, FrameSink, Health,
    State, Stop, StreamState,
};

fn coded(n: u64, delta: bool) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice([n as u8; 4]);
    let own = buffer.get_mut().unwrap();
    own.set_offset(n);
    if delta {
        own.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    buffer
}

fn offsets(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.buffer().offset()).collect()
}

/// Frames 0 to 5, with a keyframe at 0 and 3, of which the last group is kept.
fn kept() -> Source {
    let source = Source::idle();
    source.tee.set_property("gop-cache", 30u32);
    source.set(gst::State::Playing);
    source.begin(Some(&caps(8)));
    (0..6).for_each(|n| source.publish_buffer(coded(n, n % 3 != 0)));
    source
}

#[test]
fn what_is_kept_can_be_had_as_frames() {
    let source = kept();
    let held = source.publisher.health().held;
    let frames = source.publisher.replay();
    assert_eq!(offsets(&frames), [3, 4, 5]);
    assert!(frames[0].is_keyframe() && !frames[1].is_keyframe());
    assert_eq!((frames[0].seq(), frames[0].run()), (3, 1));
    assert!(frames.iter().all(|frame| frame.caps() == Some(&caps(8))));
    assert_eq!(source.publisher.subscribers(), 0);
    // They are out as long as the application has them, also when they are kept no longer.
    source.publish_buffer(coded(6, false));
    assert_eq!(source.publisher.health().held, held + 1);
    drop(frames);
    assert_eq!(source.publisher.health().held, 1);
    source.tee.set_property("gop-cache", 0u32);
    assert!(source.publisher.replay().is_empty());
}

/// A camera has to free its buffers before it can be opened again.
#[test]
fn what_is_kept_goes_with_a_stop() {
    let source = kept();
    let mut buffer = coded(6, false);
    source.publish_buffer(buffer.clone());
    source.set(gst::State::Ready);
    assert!(buffer.get_mut().is_some());
    assert!(source.publisher.replay().is_empty());
    assert_eq!(source.publisher.health().held, 0);
}

#[test]
fn a_consumer_may_join_without_what_is_kept() {
    let source = kept();
    let consumer = |name| source.publisher.consumer(name).depth(8);
    let mut with = consumer("with").subscribe().unwrap();
    let mut without = consumer("without").gop_cache(false).subscribe().unwrap();
    source.publish_buffer(coded(6, false));
    let seqs = |frames: &mut gstdronetee::FrameReceiver| -> Vec<u64> {
        frames.try_iter().map(|frame| frame.seq()).collect()
    };
    assert_eq!(seqs(&mut with), [3, 4, 5, 6]);
    assert_eq!(seqs(&mut without), [6]);
    assert_eq!(without.ledger().frames_in, 1);
}

/// Collects, and fails at a frame.
#[derive(Default)]
struct Collector {
    offsets: Vec<u64>,
    fails_at: Option<u64>,
    ends: u32,
    came: Option<mpsc::Sender<u64>>,
}

impl FrameSink for Collector {
    type Error = String;

    fn frame(&mut self, frame: Frame) -> Result<(), String> {
        let offset = frame.buffer().offset();
        if self.fails_at == Some(offset) {
            return Err(format!("no room for {offset}"));
        }
        self.offsets.push(offset);
        if let Some(came) = &self.came {
            came.send(offset).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        self.ends += 1;
        Ok(())
    }
}

#[test]
fn a_sink_gets_what_is_kept_and_then_what_comes() {
    let source = kept();
    let (came, coming) = mpsc::channel();
    let mut sink = Collector {
        came: Some(came),
        ..Collector::default()
    };
    let publisher = source.publisher.clone();
    let driving = std::thread::spawn(move || {
        let driven = publisher.drive_to("recorder", &mut sink, &Stop::new());
        (driven, sink)
    });
    for _ in 0..3 {
        coming.recv_timeout(DEADLINE).unwrap();
    }
    source.publish_buffer(coded(6, false));
    source.publish_buffer(coded(7, true));
    source.end();
    let (driven, sink) = driving.join().unwrap();
    assert_eq!(driven, Ok(Driven::Closed(CloseReason::Eos)));
    assert_eq!((sink.offsets, sink.ends), (vec![3, 4, 5, 6, 7], 1));
    // The consumer has left with it.
    assert_eq!(source.publisher.subscribers(), 0);
}

#[test]
fn driving_stops_when_it_is_told_to_and_when_the_sink_fails() {
    let source = kept();
    let (came, coming) = mpsc::channel();
    let mut sink = Collector {
        came: Some(came),
        ..Collector::default()
    };
    let stop = Stop::new();
    let (publisher, own) = (source.publisher.clone(), stop.clone());
    let driving = std::thread::spawn(move || {
        let driven = publisher.drive_to("recorder", &mut sink, &own);
        (driven, sink.ends)
    });
    for _ in 0..3 {
        coming.recv_timeout(DEADLINE).unwrap();
    }
    // It waits for a frame, or is about to.
    stop.stop();
    assert_eq!(driving.join().unwrap(), (Ok(Driven::Stopped), 1));
    assert!(stop.is_stopped());

    let mut sink = Collector {
        fails_at: Some(4),
        ..Collector::default()
    };
    let failed = source
        .publisher
        .drive_to("recorder", &mut sink, &Stop::new());
    assert_eq!(failed, Err(DriveError::Sink("no room for 4".into())));
    assert_eq!((sink.offsets, sink.ends), (vec![3], 0));
    let taken = source.publisher.subscribe("recorder").unwrap();
    let mut any = |_: Frame| Ok::<(), String>(());
    let error = source.publisher.drive_to("recorder", &mut any, &stop);
    let error = error.unwrap_err();
    assert_eq!(
        error,
        DriveError::Subscribe(Error::NameTaken("recorder".into()))
    );
    assert!(error.to_string().contains("recorder"));
    drop(taken);
    // One that is stopped already takes no frame.
    let none = source.publisher.drive_to("recorder", &mut any, &stop);
    assert_eq!(none, Ok(Driven::Stopped));
}

#[test]
fn the_stream_is_described() {
    let source = Source::idle();
    let publisher = &source.publisher;
    assert_eq!(publisher.state(), StreamState::Stopped);
    assert_eq!((publisher.caps(), publisher.metadata().run), (None, 0));
    let before = SystemTime::now();
    source.set(gst::State::Playing);
    assert_eq!(publisher.state(), StreamState::Waiting);
    source.begin(Some(&caps(8)));
    source.publish();
    let metadata = publisher.metadata();
    assert_eq!(metadata.state, StreamState::Flowing);
    assert_eq!(metadata.run, 1);
    assert!(metadata.started_at.unwrap() >= before);
    assert_eq!(metadata.media_type.as_deref(), Some("video/x-raw"));
    assert_eq!(metadata.format.as_deref(), Some("GRAY8"));
    assert_eq!((metadata.width, metadata.height), (Some(8), Some(2)));
    assert_eq!(metadata.frame_rate, Some(30.0));
    assert_eq!(metadata.caps, Some(caps(8).to_string()));
    assert_eq!(publisher.caps(), Some(caps(8)));
    assert_eq!(publisher.element().as_ref(), Some(&source.tee));
    assert_eq!(publisher.subscribers(), 0);
    let _frames = publisher.subscribe("a").unwrap();
    assert_eq!(publisher.subscribers(), 1);
    source.end();
    assert_eq!(publisher.state(), StreamState::Ended);
    source.begin(None);
    assert_eq!(publisher.state(), StreamState::Flowing);
    source.set(gst::State::Null);
    assert_eq!(publisher.state(), StreamState::Stopped);
}

#[test]
fn headers_are_those_of_the_caps() {
    gst::init().unwrap();
    let data = gst::Buffer::from_slice([1, 2, 3]);
    let header = gst::Buffer::from_slice([4, 5]);
    let h264 = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("codec_data", &data)
        .field("streamheader", gst::Array::new([&header]))
        .build();
    let source = Source::started(Some(&h264));
    assert_eq!(source.publisher.headers(), [data, header]);
    let raw = Source::started(Some(&caps(8)));
    assert!(raw.publisher.headers().is_empty());
}

#[test]
fn a_keyframe_is_asked_for_at_most_once_a_second() {
    let rig = Rig::started();
    let publisher = FramePublisher::new(&rig.tee).unwrap();
    let asked = || {
        let events = rig.upstream_events.lock().unwrap();
        let requests = events
            .iter()
            .filter(|event| gst_video::ForceKeyUnitEvent::is(event));
        requests.count()
    };
    publisher.request_keyframe();
    assert_eq!(asked(), 1);
    assert!(!publisher.request_keyframe(), "too soon");
    assert_eq!((asked(), publisher.health().keyframe_requests), (1, 1));
}

#[test]
fn limits_can_be_set_while_it_runs() {
    let source = Source::started(Some(&caps(8)));
    let consumer = source.publisher.consumer("a").depth(16);
    let consumer = consumer
        .max_size_bytes(1_000_000)
        .max_size_time(Duration::from_secs(9));
    let mut frames = consumer.subscribe().unwrap();
    let limits = frames.health().limits;
    assert_eq!((limits.depth, limits.max_size_bytes), (16, 1_000_000));
    assert_eq!(limits.max_size_time, Duration::from_secs(9));
    (0..10).for_each(|_| source.publish());
    assert_eq!(frames.ledger().waiting, 10);
    frames.set_depth(6).unwrap();
    assert_eq!(frames.ledger().waiting, 6, "at once");
    frames.set_max_size_bytes(3 * 16);
    assert_eq!(frames.ledger().waiting, 3);
    frames.set_max_size_bytes(0);
    frames.set_max_size_time(Duration::from_secs(1)).unwrap();
    frames.set_max_age(Duration::from_secs(2)).unwrap();
    frames.set_max_lag(1000);
    let limits = frames.health().limits;
    assert_eq!((limits.depth, limits.max_lag), (6, 1000));
    assert_eq!(limits.max_age, Duration::from_secs(2));
    for impossible in [
        frames.set_depth(4097),
        frames.set_max_age(Duration::MAX),
        frames.set_max_size_time(Duration::MAX),
    ] {
        assert!(matches!(impossible, Err(Error::InvalidLimit(_))));
    }
    frames.set_depth(0).unwrap();
    assert_eq!(frames.health().limits.depth, 4, "the element's");

    frames.set_enabled(false);
    assert_eq!(frames.state(), State::Disabled);
    source.publish();
    frames.set_enabled(true);
    source.publish();
    let next = frames.try_recv().unwrap();
    assert_eq!(next.seq(), 11);
    let ledger = frames.ledger();
    assert_eq!(ledger.dropped.get(DropReason::Disabled), 3 + 1);
    assert_eq!(next.lost_before(), 11);
    assert!(ledger.balances());
    let (own, all) = (frames.health(), source.publisher.health());
    let listed = all.consumer("a").unwrap();
    assert_eq!((own.ledger, own.limits), (listed.ledger, listed.limits));
    assert_eq!((own.run, own.state), (listed.run, listed.state));
}

#[test]
fn drops_are_shown_by_name() {
    let source = Source::started(None);
    let frames = source.publisher.consumer("a").depth(2).subscribe().unwrap();
    assert_eq!(frames.ledger().dropped.to_string(), "none");
    (0..5).for_each(|_| source.publish());
    let dropped = frames.ledger().dropped;
    assert_eq!(dropped.to_string(), "slow=3");
    assert!(format!("{dropped:?}").contains("\"slow\": 3"));
    assert_eq!(DropReason::from_name("slow"), Some(DropReason::Slow));
    assert_eq!(DropReason::from_name("boredom"), None);
}

/// 200 receivers: none costs a thread, each gets every frame, and all is gone when they are.
#[test]
fn many_receivers_come_and_go_while_frames_flow() {
    let source = Source::started(None);
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let mut receivers: Vec<_> = (0..200)
        .map(|n| {
            source
                .publisher
                .consumer(&format!("r{n}"))
                .depth(16)
                .subscribe()
                .unwrap()
        })
        .collect();
    for _ in 0..10 {
        source.publish();
    }
    for frames in &mut receivers {
        assert_eq!(frames.try_iter().count(), 10);
    }
    // Other tests have threads of their own; 200 more would show.
    assert!(threads() < before + 150);
    drop(receivers);
    let stop = Stop::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.is_stopped() {
                source.publish();
            }
        });
        for _ in 0..500 {
            let mut frames = source.publisher.subscribe("again").unwrap();
            frames.recv_timeout(DEADLINE).unwrap();
        }
        stop.stop();
    });
    wait_for("all to be back", || source.publisher.health().held == 0);
    assert_eq!(source.publisher.subscribers(), 0);
    assert_eq!(source.publisher.health().consumers, []);
}

#[cfg(feature = "serde")]
#[test]
fn the_json_of_health_is_stable() {
    let mut health = Health::default();
    health
        .consumers
        .push(gstdronetee::ConsumerHealth::default());
    let text = serde_json::to_string(&health).unwrap();
    assert_eq!(text, include_str!("health.json").trim_end());
    let read: Health = serde_json::from_str(&text).unwrap();
    assert_eq!(read, health);
    // What a later version adds is no obstacle, nor what an earlier one lacks.
    let later = text.replacen('{', "{\"mood\":\"good\",", 1);
    assert_eq!(serde_json::from_str::<Health>(&later).unwrap(), health);
    let names = [
        serde_json::to_string(&DropReason::WaitingKeyframe).unwrap(),
        serde_json::to_string(&State::NotLinked).unwrap(),
        serde_json::to_string(&CloseReason::PublisherClosed).unwrap(),
        serde_json::to_string(&StreamState::Flowing).unwrap(),
    ];
    let expected = [
        "waiting-keyframe",
        "not-linked",
        "publisher-closed",
        "flowing",
    ];
    assert_eq!(names, expected.map(|name| format!("\"{name}\"")));
}
