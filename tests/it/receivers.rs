// SPDX-License-Identifier: MPL-2.0
//! Receivers over starts, stops and restarts, and two of them at once.

use std::cell::RefCell;
use std::sync::mpsc;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{CloseReason, Error, FramePublisher, FrameReceiver, RecvError};

/// Waits in a thread of its own; what came in the end.
fn receive(mut frames: FrameReceiver) -> mpsc::Receiver<bool> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(frames.recv().is_some()));
    told
}

/// What comes when `change` is done again and again until something does.
fn until_told(told: &mpsc::Receiver<bool>, change: impl Fn()) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        change();
        // It may not wait yet.
        if let Ok(told) = told.recv_timeout(Duration::from_millis(5)) {
            return told;
        }
    }
    panic!("hangs");
}

#[test]
fn whoever_waits_for_a_start_that_fails_learns_it() {
    let source = Source::idle();
    let told = receive(source.publisher.subscribe("a").unwrap());
    assert!(!until_told(&told, || source.set(gst::State::Null)));

    gst::init().unwrap();
    let line = "videotestsrc ! dronetee name=t t. ! fakesink state-error=null-to-ready";
    let pipeline = gst::parse::launch(line).unwrap();
    let tee = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("t");
    let publisher = FramePublisher::new(&tee.unwrap()).unwrap();
    let told = receive(publisher.subscribe("a").unwrap());
    let told = until_told(&told, || {
        assert!(pipeline.set_state(gst::State::Playing).is_err());
        pipeline.set_state(gst::State::Null).unwrap();
    });
    assert!(!told);
}

#[test]
fn a_stop_before_the_start_is_no_end_for_who_comes_later() {
    let source = Source::idle();
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.set(gst::State::Null);
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    source.set(gst::State::Playing);
    source.begin(None);
    source.publish();
    assert_eq!(frames.recv().unwrap().seq(), 0);
}

#[test]
fn a_restart_is_a_new_stream() {
    gst::init().unwrap();
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Gray8, 4, 4);
    let caps = info.build().unwrap().to_caps().unwrap();
    let source = Source::started(Some(&caps));
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish();
    let kept = frames.recv_timeout(DEADLINE).unwrap();
    assert_eq!(kept.caps(), Some(&caps));
    source.end();
    assert!(frames.recv().is_none());
    assert_eq!(frames.close_reason(), Some(CloseReason::Eos));
    source.set(gst::State::Null);
    source.set(gst::State::Playing);
    // The end was of the stream before.
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    source.begin(None);
    source.publish();
    let frame = frames.recv_timeout(DEADLINE).unwrap();
    assert_eq!((frame.seq(), frame.lost_before()), (0, 0));
    assert_eq!((kept.run(), frame.run()), (1, 2));
    assert_eq!(frame.caps(), None, "none in this stream");
    assert_eq!(frame.plane(0).unwrap_err(), Error::NotRawVideo);
}

/// The stop falls between two calls, and so does the next start.
#[test]
fn a_restart_behind_the_receiver_s_back_ends_the_stream_once() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish();
    source.publish();
    assert_eq!(frames.recv().unwrap().seq(), 0);
    for _ in 0..2 {
        source.set(gst::State::Null);
        source.set(gst::State::Playing);
        source.begin(None);
        source.publish();
        assert!(frames.recv().is_none(), "the stop is not told");
        assert_eq!(frames.recv().unwrap().seq(), 0);
        assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    }
    source.set(gst::State::Null);
    assert!(frames.recv().is_none());
    source.set(gst::State::Playing);
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty, "told");
}

#[test]
fn the_first_frame_after_a_restart_is_marked() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    let mut next = || {
        source.publish();
        let frame = frames.recv().or_else(|| frames.recv()).unwrap();
        let flags = frame.buffer().flags();
        flags.contains(gst::BufferFlags::DISCONT)
    };
    assert_eq!([next(), next()], [false, false]);
    source.set(gst::State::Null);
    source.set(gst::State::Playing);
    source.begin(None);
    assert_eq!([next(), next()], [true, false]);
}

#[test]
fn what_was_held_over_a_restart_is_not_timed_in_the_new_stream() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish();
    // At least a microsecond of waiting, below which nothing is told apart.
    std::thread::park_timeout(Duration::from_millis(2));
    let _kept = frames.recv().unwrap();
    source.set(gst::State::Null);
    source.set(gst::State::Playing);
    source.begin(None);
    let stopped = RecvError::Closed(CloseReason::Stopped);
    assert_eq!(frames.try_recv().unwrap_err(), stopped);
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    let health = &source.publisher.health().consumers[0];
    assert_eq!(
        (health.ledger.frames_out, health.wait.p99),
        (0, Duration::ZERO)
    );
}

#[test]
fn a_receiver_is_called_as_it_was_asked_for() {
    let source = Source::started(None);
    let frames = source.publisher.subscribe("7").unwrap();
    assert_eq!(frames.consumer(), "7");
    assert_eq!(source.publisher.health().consumers[0].consumer, "7");
}

#[test]
fn a_handler_that_takes_its_time_does_not_hold_up_a_receiver() {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    bus.set_sync_handler(move |_, message| {
        if message.has_name("dronetee-summary") {
            let _ = wait.lock().unwrap().recv_timeout(DEADLINE);
        }
        gst::BusSyncReply::Drop
    });
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.end();
    let begin = Instant::now();
    let ended = RecvError::Closed(CloseReason::Eos);
    assert_eq!(frames.try_recv().unwrap_err(), ended);
    assert!(begin.elapsed() < DEADLINE, "as long as the handler");
    drop(go);
}

/// Receives when its thread has come to its end.
struct Last(Option<(FrameReceiver, mpsc::Sender<RecvError>)>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some((mut frames, tell)) = self.0.take() {
            let got = frames.recv_timeout(Duration::from_millis(1));
            let _ = tell.send(got.unwrap_err());
        }
    }
}

thread_local!(static LAST: RefCell<Last> = const { RefCell::new(Last(None)) });

#[test]
fn a_receiver_works_while_its_thread_ends() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        // To be destroyed after what the receiver keeps for the thread.
        LAST.with(|_| ());
        let _ = frames.recv_timeout(Duration::ZERO);
        LAST.with(|last| last.borrow_mut().0 = Some((frames, tell)));
    });
    assert_eq!(told.recv_timeout(DEADLINE), Ok(RecvError::Empty));
}

#[test]
fn of_two_with_one_name_one_comes_and_the_other_was_never_there() {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let summaries = || {
        let messages = std::iter::from_fn(|| bus.pop());
        messages
            .filter(|message| message.has_name("dronetee-summary"))
            .count()
    };
    for round in 0..200 {
        let start = Barrier::new(2);
        let subscribe = || {
            start.wait();
            source.publisher.subscribe("a")
        };
        let both = std::thread::scope(|scope| {
            let threads = [scope.spawn(subscribe), scope.spawn(subscribe)];
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1, "{round}");
        let taken =
            |one: &Result<_, Error>| one.as_ref().err() == Some(&Error::NameTaken("a".into()));
        assert_eq!(both.iter().filter(|one| taken(one)).count(), 1, "{round}");
        assert_eq!(summaries(), 0, "{round}");
        drop(both);
        let deadline = Instant::now() + DEADLINE;
        while summaries() == 0 {
            assert!(Instant::now() < deadline, "{round}");
        }
    }
}

#[test]
fn an_evicted_receiver_stays_closed_over_a_flush() {
    for flush_first in [false, true] {
        let source = Source::started(None);
        let consumer = source.publisher.consumer("a").depth(1).max_lag(1);
        let mut frames = consumer.subscribe().unwrap();
        if flush_first {
            source.flush();
        }
        (0..6).for_each(|_| source.publish());
        let evicted = RecvError::Closed(CloseReason::Evicted);
        assert_eq!(frames.try_recv().unwrap_err(), evicted);
        source.flush();
        source.publish();
        for _ in 0..2 {
            assert_eq!(frames.try_recv().unwrap_err(), evicted);
        }
    }
}
