// SPDX-License-Identifier: MPL-2.0
//! Why a receiver gets no more frames, and a publisher that the application closes.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::common::{Rig, wait_for};
use crate::source::{DEADLINE, Source};
use futures_core::{FusedStream, Stream};
use gst::prelude::*;
use gstdronetee::{
    CloseReason, DropReason, FramePublisher, FrameReceiver, RecvError, State, StreamState,
};

fn closed(reason: CloseReason) -> RecvError {
    RecvError::Closed(reason)
}

/// The numbers of the frames that are there, and why there are no more.
fn rest(frames: &mut FrameReceiver) -> (Vec<u64>, Option<CloseReason>) {
    let seqs = frames.try_iter().map(|frame| frame.seq()).collect();
    (seqs, frames.close_reason())
}

#[test]
fn a_close_ends_each_receiver_behind_what_waits() {
    let source = Source::started(None);
    let mut receivers = ["a", "b"].map(|name| source.publisher.subscribe(name).unwrap());
    (0..3).for_each(|_| source.publish());
    assert_eq!(receivers[0].recv().unwrap().seq(), 0);
    assert_eq!(source.publisher.state(), StreamState::Flowing);
    source.publisher.close();
    assert_eq!(source.publisher.state(), StreamState::Closed);
    // What comes later is counted, and pushes nothing out.
    for _ in 0..9 {
        let flow = source.sink.chain(gst::Buffer::from_slice([0; 4]));
        assert_eq!(flow, Err(gst::FlowError::Eos));
    }
    let reason = Some(CloseReason::PublisherClosed);
    assert_eq!(rest(&mut receivers[0]), (vec![1, 2], reason));
    assert_eq!(rest(&mut receivers[1]), (vec![0, 1, 2], reason));
    for frames in &mut receivers {
        for _ in 0..2 {
            let error = frames.try_recv().unwrap_err();
            assert_eq!(error, closed(CloseReason::PublisherClosed));
        }
        let ledger = frames.ledger();
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.frames_in, ledger.frames_out), (12, 3));
        assert_eq!(ledger.dropped.get(DropReason::Eos), 9);
        assert_eq!(ledger.dropped.total(), 9);
    }
    assert_eq!(source.publisher.published(), 12);
    // One that comes too late is told at once, also after a second close, and other events change nothing.
    source.publisher.close();
    source.begin(None);
    let mut late = source.publisher.subscribe("late").unwrap();
    let error = late.recv_timeout(DEADLINE).unwrap_err();
    assert_eq!(error, closed(CloseReason::PublisherClosed));
    // The next start is a new stream.
    source.set(gst::State::Null);
    source.set(gst::State::Playing);
    source.begin(None);
    source.publish();
    for frames in &mut receivers {
        let next = frames.recv().or_else(|| frames.recv()).unwrap();
        assert_eq!((next.run(), next.seq()), (2, 0));
        assert_eq!(frames.close_reason(), None);
    }
}

#[test]
fn a_flush_does_not_undo_a_close() {
    for during in [false, true] {
        let source = Source::started(None);
        let mut frames = source.publisher.subscribe("a").unwrap();
        source.publish();
        if during {
            source.send(gst::event::FlushStart::new());
            source.publisher.close();
            source.send(gst::event::FlushStop::new(true));
        } else {
            source.publisher.close();
            source.flush();
        }
        let error = frames.recv_timeout(DEADLINE).unwrap_err();
        assert_eq!(error, closed(CloseReason::PublisherClosed), "{during}");
        assert!(frames.ledger().balances());
    }
}

#[test]
fn a_close_reaches_branches_as_eos_and_the_bus() {
    let rig = Rig::started();
    let branch = rig.consumer("branch");
    let publisher = FramePublisher::new(&rig.tee).unwrap();
    let mut frames = publisher.subscribe("receiver").unwrap();
    rig.push_all(0..3);
    publisher.close();
    assert_eq!(rig.push(3), Err(gst::FlowError::Eos));
    wait_for("EOS", || !branch.events(gst::EventType::Eos).is_empty());
    assert_eq!(branch.offsets(), [0, 1, 2]);
    assert_eq!(rest(&mut frames).0, [0, 1, 2]);
    // The element is a sink of its pipeline, for its receiver.
    let patience = gst::ClockTime::from_seconds(DEADLINE.as_secs());
    let eos = rig
        .bus
        .timed_pop_filtered(patience, &[gst::MessageType::Eos]);
    assert!(eos.is_some());
    wait_for("the branch's account", || {
        let health = publisher.health();
        let branch = health.consumer("branch").unwrap();
        branch.ledger.frames_out == 3 && branch.ledger.dropped.get(DropReason::Eos) == 1
    });
}

#[test]
fn a_receiver_that_waits_is_woken_by_a_close() {
    let source = Source::started(None);
    let frames = source.publisher.subscribe("a").unwrap();
    let waiting = std::thread::spawn(move || {
        let mut frames = frames;
        (frames.recv().is_none(), frames.close_reason())
    });
    source.publisher.close();
    let told = waiting.join().unwrap();
    assert_eq!(told, (true, Some(CloseReason::PublisherClosed)));
}

#[test]
fn a_failure_is_told_apart() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish();
    source.publisher.fail();
    let failed = Some(CloseReason::Failed);
    assert_eq!(rest(&mut frames), (vec![0], failed));
    // Upstream's own EOS, which follows, changes nothing.
    source.end();
    assert_eq!(rest(&mut frames), (vec![], failed));

    // A start that is called off.
    let source = Source::idle();
    let mut frames = source.publisher.subscribe("a").unwrap();
    let waiting = std::thread::spawn(move || {
        let error = frames.recv_timeout(DEADLINE).unwrap_err();
        (error, frames.close_reason())
    });
    wait_for("the thread", || {
        source.set(gst::State::Null);
        waiting.is_finished()
    });
    let told = waiting.join().unwrap();
    assert_eq!(told, (closed(CloseReason::Failed), failed));
}

#[test]
fn a_release_is_told_apart_from_a_stop() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.publish();
    assert_eq!(frames.recv().unwrap().seq(), 0);
    let pad = source.tee.static_pad("src_a").unwrap();
    source.tee.release_request_pad(&pad);
    for _ in 0..2 {
        let error = frames.try_recv().unwrap_err();
        assert_eq!(error, closed(CloseReason::Released));
    }
    // Its accounts are still there.
    assert_eq!(frames.ledger().frames_in, 1);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.set(gst::State::Null);
    let error = frames.try_recv().unwrap_err();
    assert_eq!(error, closed(CloseReason::Stopped));
}

/// The pad is stopped before it goes, which is no stop for who waits.
#[test]
fn a_receiver_that_waits_hears_of_its_release() {
    let source = Source::started(None);
    for _ in 0..200 {
        let mut frames = source.publisher.subscribe("a").unwrap();
        let pad = source.tee.static_pad("src_a").unwrap();
        let waiting = std::thread::spawn(move || {
            let next = frames.recv();
            (next.is_none(), frames.close_reason())
        });
        source.tee.release_request_pad(&pad);
        let told = waiting.join().unwrap();
        assert_eq!(told, (true, Some(CloseReason::Released)));
    }
}

#[test]
fn a_stream_is_terminated_from_its_end_until_it_begins_anew() {
    let source = Source::started(None);
    let mut frames = source
        .publisher
        .consumer("a")
        .max_lag(1)
        .depth(1)
        .subscribe()
        .unwrap();
    let poll = |frames: &mut FrameReceiver| {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(frames).poll_next(&mut cx) {
            Poll::Ready(Some(_)) => "frame",
            Poll::Ready(None) => "end",
            Poll::Pending => "nothing",
        }
    };
    assert!(!frames.is_terminated());
    source.publish();
    assert_eq!(poll(&mut frames), "frame");
    source.end();
    // The end is still to be told.
    assert!(!frames.is_terminated());
    assert_eq!(poll(&mut frames), "end");
    assert!(frames.is_terminated());
    // Another stream of the same run.
    source.begin(None);
    assert!(!frames.is_terminated());
    source.publish();
    assert_eq!(poll(&mut frames), "frame");
    source.set(gst::State::Null);
    assert_eq!(poll(&mut frames), "end");
    assert!(frames.is_terminated());
    source.set(gst::State::Playing);
    assert!(!frames.is_terminated());
    source.begin(None);
    source.publish();
    assert_eq!(poll(&mut frames), "frame");
    // Evicted for good.
    (0..5).for_each(|_| source.publish());
    assert_eq!(poll(&mut frames), "end");
    assert!(frames.is_terminated());
    assert_eq!(frames.state(), State::Evicted);
}

/// Between polls of a task nothing tells that it waits, but for this.
#[test]
fn a_stream_that_waits_anew_is_not_terminated() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.end();
    assert!(frames.recv().is_none());
    assert!(frames.is_terminated());
    source.set(gst::State::Null);
    source.set(gst::State::Playing);
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    // `select!` would leave it out, for good where nothing else wakes the task.
    assert!(!frames.is_terminated());
    assert_eq!(frames.close_reason(), None);
}

/// The state of the element is READY yet, when its pads are active already.
#[test]
fn a_close_while_the_element_starts_is_a_close() {
    let source = Source::idle();
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let branch = source.tee.request_pad_simple("src_branch").unwrap();
    let sink = gst::Pad::builder(gst::PadDirection::Sink).name("sink");
    branch.link(&sink.build()).unwrap();
    let publisher = source.publisher.clone();
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::StreamStatus(status) = message.view()
            && status.get().0 == gst::StreamStatusType::Create
        {
            assert!(publisher.element().unwrap().current_state() < gst::State::Paused);
            publisher.close();
        }
        gst::BusSyncReply::Drop
    });
    let mut frames = source.publisher.subscribe("a").unwrap();
    source.set(gst::State::Playing);
    let error = frames.recv_timeout(DEADLINE).unwrap_err();
    assert_eq!(error, closed(CloseReason::PublisherClosed));
    assert_eq!(source.publisher.state(), StreamState::Closed);
}

/// All ends at once, with threads that receive, publish, stop and start: nothing hangs, and what each
/// counted adds up.
#[test]
fn ends_of_all_kinds_hang_nothing() {
    let source = Source::started(None);
    for round in 0..40 {
        let receivers: Vec<_> = (0..4)
            .map(|n| source.publisher.subscribe(&format!("r{n}")).unwrap())
            .collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = receivers
                .into_iter()
                .map(|mut frames| {
                    scope.spawn(move || {
                        let (mut seen, mut lost) = (0, 0);
                        while let Some(frame) = frames.recv() {
                            seen += 1;
                            lost += frame.lost_before();
                        }
                        let ledger = frames.ledger();
                        assert!(ledger.balances(), "{ledger:?}");
                        assert_eq!(ledger.frames_out, seen);
                        assert!(lost <= ledger.dropped.total());
                    })
                })
                .collect();
            let publishing = scope.spawn(|| {
                for _ in 0..50 {
                    let _ = source.sink.chain(gst::Buffer::from_slice([0; 4]));
                }
            });
            if round % 3 == 0 {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            match round % 4 {
                0 => source.publisher.close(),
                1 => source.publisher.fail(),
                2 => source.set(gst::State::Null),
                _ => source.end(),
            }
            for thread in threads {
                thread.join().unwrap();
            }
            publishing.join().unwrap();
        });
        source.set(gst::State::Null);
        source.set(gst::State::Playing);
        source.begin(None);
    }
}
