// SPDX-License-Identifier: MPL-2.0
//! The ways to wait for frames: iterators, deadlines, futures, `select!`.

use std::time::{Duration, Instant};

use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{CloseReason, FramePublisher, FrameReceiver, Next, RecvError};

/// What an application keeps may go to any thread, be shared by threads and be printed.
const _: () = {
    const fn plain<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    const fn error<T: std::error::Error + Send + Sync + 'static>() {}
    plain::<FrameReceiver>();
    plain::<Next<'_>>();
    plain::<gstdronetee::Iter<'_>>();
    plain::<gstdronetee::TryIter<'_>>();
    plain::<gstdronetee::IntoIter>();
    plain::<gstdronetee::Plane>();
    plain::<gstdronetee::Rows<'_>>();
    plain::<gstdronetee::ReferenceTimestamp>();
    plain::<gstdronetee::Notices>();
    plain::<gstdronetee::NextNotice<'_>>();
    plain::<gstdronetee::Notice>();
    plain::<gstdronetee::Stop>();
    plain::<gstdronetee::Driven>();
    error::<gstdronetee::NoticeError>();
    error::<gstdronetee::DriveError<gstdronetee::Error>>();
};

fn seqs(frames: impl Iterator<Item = gstdronetee::Frame>) -> Vec<u64> {
    frames.map(|frame| frame.seq()).collect()
}

#[test]
fn a_receiver_is_iterated_over() {
    let source = Source::started(None);
    let mut frames = source.publisher.consumer("a").depth(8).subscribe().unwrap();
    assert_eq!(frames.try_iter().count(), 0);
    (0..3).for_each(|_| source.publish());
    assert_eq!(seqs(frames.try_iter()), [0, 1, 2]);
    (0..3).for_each(|_| source.publish());
    let mut seen = Vec::new();
    for frame in &mut frames {
        seen.push(frame.seq());
        if seen.len() == 2 {
            break;
        }
    }
    assert_eq!(seen, [3, 4]);
    source.end();
    assert_eq!(seqs(frames.iter()), [5]);
    assert_eq!(frames.close_reason(), Some(CloseReason::Eos));
    source.begin(None);
    source.publish();
    source.end();
    assert_eq!(seqs(frames.into_iter()), [6]);
    // Iterated to its end, it is gone.
    assert_eq!(source.publisher.health().consumers.len(), 0);
}

#[test]
fn a_deadline_is_kept_and_a_frame_that_is_there_is_not_missed() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    let past = Instant::now();
    assert_eq!(frames.recv_deadline(past).unwrap_err(), RecvError::Empty);
    let soon = Instant::now() + Duration::from_millis(20);
    assert_eq!(frames.recv_deadline(soon).unwrap_err(), RecvError::Empty);
    assert!(Instant::now() >= soon);
    source.publish();
    assert_eq!(frames.recv_deadline(past).unwrap().seq(), 0);
    source.end();
    let ended = RecvError::Closed(CloseReason::Eos);
    assert_eq!(frames.recv_deadline(past).unwrap_err(), ended);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}

/// A wait is given up again and again while frames come as fast as they can: none is lost by that, none
/// comes twice, and the accounts are exact.
#[test]
fn a_wait_that_is_cancelled_takes_no_frame() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    let line = "videotestsrc num-buffers=2000 ! video/x-raw,width=16,height=16 ! dronetee name=t";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let publisher = FramePublisher::new(&pipeline.by_name("t").unwrap()).unwrap();
    let mut frames = publisher.consumer("a").depth(64).subscribe().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (seen, lost, cancelled) = runtime().block_on(async {
        let (mut seen, mut lost, mut cancelled, mut next) = (0, 0, 0_u64, 0);
        loop {
            tokio::select! {
                biased;
                frame = frames.next() => {
                    let Some(frame) = frame else { break };
                    assert_eq!(frame.seq(), next + frame.lost_before());
                    next = frame.seq() + 1;
                    seen += 1;
                    lost += frame.lost_before();
                }
                () = tokio::task::yield_now() => cancelled += 1,
            }
            if seen % 3 == 0 {
                // Polled once and dropped.
                tokio::select! {
                    biased;
                    () = std::future::ready(()) => cancelled += 1,
                    _ = frames.next() => unreachable!(),
                }
            }
        }
        (seen, lost, cancelled)
    });
    assert!(cancelled > 0);
    assert_eq!(frames.close_reason(), Some(CloseReason::Eos));
    let ledger = publisher.health().consumers[0].ledger;
    assert_eq!((ledger.frames_in, ledger.frames_out), (2000, seen));
    assert_eq!(ledger.dropped.total(), 2000 - seen);
    assert!(lost <= ledger.dropped.total() && ledger.balances());
    pipeline.set_state(gst::State::Null).unwrap();
}

type End = fn(&Source);

#[test]
fn a_task_that_waits_is_woken_by_each_end() {
    let source = Source::started(None);
    let ends: [(CloseReason, End); 3] = [
        (CloseReason::Eos, |source| source.end()),
        (CloseReason::Stopped, |source| source.set(gst::State::Null)),
        (CloseReason::Released, |source| {
            let pad = source.tee.static_pad("src_a").unwrap();
            source.tee.release_request_pad(&pad);
        }),
    ];
    let runtime = runtime();
    for (reason, end) in ends {
        source.set(gst::State::Playing);
        source.begin(None);
        let mut frames = source.publisher.subscribe("a").unwrap();
        let task = runtime.spawn(async move {
            let next = frames.next().await;
            (next.is_none(), frames.close_reason())
        });
        end(&source);
        let told = runtime.block_on(async { tokio::time::timeout(DEADLINE, task).await });
        assert_eq!(told.unwrap().unwrap(), (true, Some(reason)));
    }
}
