// SPDX-License-Identifier: MPL-2.0
//! The rows of `docs/arcly.md`: a test for each, called after its first cell, or after what it needs.

use std::time::Duration;

use crate::common::caps;
use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{
    CloseReason, Driven, DropReason, Frame, FramePublisher, Notice, Notices, RecvError, State,
    Stop, StreamState,
};

fn publish(source: &Source, deltas: &[bool]) {
    for delta in deltas {
        let mut buffer = gst::Buffer::from_slice([0; 4]);
        if *delta {
            buffer
                .get_mut()
                .unwrap()
                .set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        source.publish_buffer(buffer);
    }
}

fn keeping(frames: u32) -> Source {
    let source = Source::idle();
    source.tee.set_property("gop-cache", frames);
    source.set(gst::State::Playing);
    source.begin(Some(&caps(8)));
    source
}

fn find<T>(notices: &mut Notices, which: impl Fn(Notice) -> Option<T>) -> T {
    loop {
        if let Some(found) = which(notices.recv_timeout(DEADLINE).unwrap()) {
            return found;
        }
    }
}

/// The table and the tests have the same number of rows.
#[test]
fn every_row_has_a_test() {
    let table = include_str!("../../docs/arcly.md");
    let rows = table.lines().filter(|line| line.starts_with("| ")).count();
    // A head, and a line below it.
    let tests = include_str!("arcly.rs").matches("#[test]\nfn row_").count();
    assert_eq!(rows - 2, tests);
}

#[test]
fn row_publish_frame() {
    let source = Source::started(None);
    source.publish();
    assert_eq!(source.publisher.published(), 1);
}

#[test]
fn row_subscribe() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("name").unwrap();
    source.publish();
    assert_eq!(frames.recv().unwrap().seq(), 0);
}

#[test]
fn row_subscribe_resilient() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("name").unwrap();
    (0..20).for_each(|_| source.publish());
    assert_eq!(frames.recv().unwrap().seq(), 16);
    assert_eq!(frames.recv().unwrap().seq(), 17);
}

#[test]
fn row_size_of_the_ring() {
    let source = Source::started(None);
    let frames = source.publisher.consumer("name").depth(30);
    let frames = frames.subscribe().unwrap();
    frames.set_depth(60).unwrap();
    (0..70).for_each(|_| source.publish());
    assert_eq!(frames.ledger().waiting, 60);
}

#[test]
fn row_dropped() {
    let source = Source::started(None);
    let frames = source.publisher.subscribe("name").unwrap();
    (0..20).for_each(|_| source.publish());
    assert_eq!(frames.ledger().dropped.get(DropReason::Slow), 16);
}

#[test]
fn row_on_subscriber_lagged() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    let mut frames = source.publisher.subscribe("name").unwrap();
    (0..20).for_each(|_| source.publish());
    assert_eq!(frames.recv().unwrap().lost_before(), 16);
    let dropped = find(&mut notices, |notice| match notice {
        Notice::Dropped(dropped) => Some(dropped),
        _ => None,
    });
    assert_eq!(
        (dropped.consumer.as_str(), dropped.reason),
        ("name", DropReason::Slow)
    );
}

#[test]
fn row_max_lag() {
    let source = Source::started(None);
    let mut notices = source.publisher.notices().unwrap();
    let consumer = source.publisher.consumer("name").max_lag(10);
    let mut frames = consumer.subscribe().unwrap();
    (0..40).for_each(|_| source.publish());
    let evicted = RecvError::Closed(CloseReason::Evicted);
    assert_eq!(frames.try_recv().unwrap_err(), evicted);
    let transition = find(&mut notices, |notice| match notice {
        Notice::Evicted(transition) => Some(transition),
        _ => None,
    });
    assert_eq!(transition.consumer, "name");
}

#[test]
fn row_cached_configurations() {
    gst::init().unwrap();
    let header = gst::Buffer::from_slice([1, 2, 3]);
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("codec_data", &header)
        .build();
    let source = Source::started(Some(&caps));
    assert_eq!(source.publisher.headers(), [header]);
}

#[test]
fn row_gop_replay() {
    let source = keeping(60);
    publish(&source, &[false, true, false, true, true]);
    let mut late = source.publisher.subscribe("late").unwrap();
    let other = source.publisher.consumer("other").gop_cache(false);
    let mut other = other.subscribe().unwrap();
    publish(&source, &[true]);
    let seqs = |frames: Vec<Frame>| frames.iter().map(Frame::seq).collect::<Vec<_>>();
    assert_eq!(seqs(late.try_iter().collect()), [2, 3, 4, 5]);
    assert_eq!(seqs(source.publisher.replay()), [2, 3, 4, 5]);
    assert!(!seqs(other.try_iter().collect()).contains(&2));
}

#[test]
fn row_gop_truncated() {
    let source = keeping(2);
    let mut notices = source.publisher.notices().unwrap();
    publish(&source, &[false, true, true, true, true]);
    let truncated = find(&mut notices, |notice| match notice {
        Notice::GopTruncated(truncated) => Some(truncated),
        _ => None,
    });
    assert_eq!((truncated.capacity, truncated.count), (2, 1));
}

#[test]
fn row_request_keyframe() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let line = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! x264enc tune=zerolatency key-int-max=1000 ! dronetee name=t depth=64";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let publisher = FramePublisher::new(&pipeline.by_name("t").unwrap()).unwrap();
    let mut frames = publisher.consumer("name").depth(64).subscribe().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    assert!(frames.recv_timeout(DEADLINE).unwrap().is_keyframe());
    assert!(!frames.recv_timeout(DEADLINE).unwrap().is_keyframe());
    assert!(publisher.request_keyframe());
    assert!(frames.iter().take(600).any(|frame| frame.is_keyframe()));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn row_live_qos() {
    let source = Source::started(None);
    (0..5).for_each(|_| source.publish());
    let health = source.publisher.health();
    assert_eq!((health.published, health.bytes), (5, 80));
    assert!(health.frame_rate > 0.0 && health.bitrate > 0);
}

#[test]
fn row_last_frame() {
    let source = Source::started(None);
    assert_eq!(source.publisher.health().last_frame_age, None);
    source.publish();
    std::thread::park_timeout(Duration::from_millis(2));
    assert!(source.publisher.health().last_frame_age.unwrap() > Duration::ZERO);
}

#[test]
fn row_metadata() {
    let source = keeping(0);
    let metadata = source.publisher.metadata();
    assert_eq!((metadata.width, metadata.height), (Some(8), Some(2)));
    assert_eq!(metadata.media_type.as_deref(), Some("video/x-raw"));
    assert!(metadata.started_at.is_some());
}

#[test]
fn row_number_of_subscribers() {
    let source = Source::started(None);
    let _frames = ["a", "b"].map(|name| source.publisher.subscribe(name).unwrap());
    assert_eq!(source.publisher.subscribers(), 2);
}

#[test]
fn row_state() {
    let source = Source::started(None);
    let frames = source.publisher.subscribe("name").unwrap();
    assert_eq!(source.publisher.state(), StreamState::Waiting);
    source.publish();
    assert_eq!(source.publisher.state(), StreamState::Flowing);
    assert_eq!(frames.state(), State::Ok);
}

#[test]
fn row_close() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("name").unwrap();
    source.publish();
    source.publisher.close();
    assert!(frames.recv().is_some());
    assert!(frames.recv().is_none());
    assert_eq!(frames.close_reason(), Some(CloseReason::PublisherClosed));
}

#[test]
fn row_drive_to() {
    let source = keeping(60);
    publish(&source, &[false, true]);
    let mut seen = Vec::new();
    let mut sink = |frame: Frame| {
        seen.push(frame.seq());
        Ok::<(), std::convert::Infallible>(())
    };
    let mut frames = source.publisher.subscribe("name").unwrap();
    publish(&source, &[true]);
    source.publisher.close();
    let driven = frames.drive_to(&mut sink, &Stop::new());
    assert_eq!(driven, Ok(Driven::Closed(CloseReason::PublisherClosed)));
    assert_eq!(seen, [0, 1, 2]);
}

#[test]
fn row_telemetry_hooks() {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let frames = source.publisher.subscribe("name").unwrap();
    drop(frames);
    let patience = gst::ClockTime::from_seconds(DEADLINE.as_secs());
    let message = bus.timed_pop_filtered(patience, &[gst::MessageType::Element]);
    let notice = Notice::from_message(&message.unwrap()).unwrap();
    assert!(matches!(notice, Notice::Summary(_)), "{notice:?}");
}
