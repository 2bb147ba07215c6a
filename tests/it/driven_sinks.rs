// SPDX-License-Identifier: MPL-2.0
//! Sinks that frames are driven into, and that do what a sink had better not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gstdronetee::{CloseReason, Driven, Frame, FrameReceiver, Stop};

/// A receiver with frames 0 to 4.
fn filled() -> (Source, FrameReceiver) {
    let source = Source::started(None);
    let frames = source.publisher.consumer("a").depth(8).subscribe().unwrap();
    (0..5).for_each(|_| source.publish());
    (source, frames)
}

#[test]
fn a_sink_may_drive_by_the_same_stop() {
    let source = Source::started(None);
    let [mut outer, mut inner] =
        ["outer", "inner"].map(|name| source.publisher.subscribe(name).unwrap());
    source.publish();
    let (stop, (came, coming)) = (Stop::new(), mpsc::channel());
    let own = stop.clone();
    let driving = std::thread::spawn(move || {
        let mut sink = |_: Frame| {
            let mut refuse = |_: Frame| Err(());
            assert_eq!(inner.drive_to(&mut refuse, &own), Err(()));
            came.send(()).unwrap();
            Ok::<_, ()>(())
        };
        outer.drive_to(&mut sink, &own)
    });
    coming.recv_timeout(DEADLINE).unwrap();
    // The outer one waits for a frame, or is about to.
    std::thread::park_timeout(std::time::Duration::from_millis(20));
    stop.stop();
    assert_eq!(driving.join().unwrap(), Ok(Driven::Stopped));
}

#[test]
fn a_sink_that_panics_leaves_the_receiver_as_it_was() {
    let (_source, mut frames) = filled();
    let stop = Stop::new();
    let mut count = 0;
    let mut panics = |_: Frame| {
        count += 1;
        assert!(count < 2, "a sink that panics, on purpose");
        Ok::<_, ()>(())
    };
    let driven = catch_unwind(AssertUnwindSafe(|| frames.drive_to(&mut panics, &stop)));
    assert!(driven.is_err());
    let mut seen = Vec::new();
    let own = stop.clone();
    let mut stops = |frame: Frame| {
        seen.push(frame.seq());
        if frame.seq() == 3 {
            own.stop();
        }
        Ok::<_, ()>(())
    };
    assert_eq!(frames.drive_to(&mut stops, &stop), Ok(Driven::Stopped));
    assert_eq!(seen, [2, 3]);
    assert_eq!(frames.recv().unwrap().seq(), 4);
    assert!(frames.ledger().balances());
}

type End = fn(&gst::Element, &gstdronetee::FramePublisher);

#[test]
fn a_sink_may_end_what_it_is_driven_by() {
    let ends: [(CloseReason, End, u32); 3] = [
        // What waits is still taken.
        (
            CloseReason::PublisherClosed,
            |_, publisher| publisher.close(),
            5,
        ),
        (
            CloseReason::Stopped,
            |tee, _| {
                tee.set_state(gst::State::Null).unwrap();
            },
            1,
        ),
        (
            CloseReason::Released,
            |tee, _| {
                tee.release_request_pad(&tee.static_pad("src_a").unwrap());
            },
            1,
        ),
    ];
    for (reason, end, expected) in ends {
        let (source, mut frames) = filled();
        let mut count = 0;
        let mut sink = |_: Frame| {
            count += 1;
            end(&source.tee, &source.publisher);
            Ok::<_, ()>(())
        };
        let driven = frames.drive_to(&mut sink, &Stop::new());
        assert_eq!(driven, Ok(Driven::Closed(reason)));
        assert_eq!(count, expected, "{reason:?}");
    }
}
