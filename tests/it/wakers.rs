// SPDX-License-Identifier: MPL-2.0
//! Wakers that misbehave, receivers that go where they are not expected to, and executors.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::wait_for;
use crate::source::{DEADLINE, Source};
use futures_core::Stream;
use gst::prelude::*;
use gstdronetee::{Frame, FrameReceiver, Notice, Notices, RecvError};

struct Call<F>(F);

impl<F: Fn() + Send + Sync> Wake for Call<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn waker(call: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Call(call)))
}

fn poll(frames: &mut FrameReceiver, waker: &Waker) -> Poll<Option<Frame>> {
    Pin::new(frames).poll_next(&mut Context::from_waker(waker))
}

fn poll_notice(notices: &mut Notices, waker: &Waker) -> Poll<Option<Notice>> {
    Pin::new(notices).poll_next(&mut Context::from_waker(waker))
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let source = Source::started(None);
    let mut frames = source.publisher.subscribe("a").unwrap();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let [first, second] = [1, 2].map(|name| {
        let woken = woken.clone();
        waker(move || woken.lock().unwrap().push(name))
    });
    assert!(poll(&mut frames, &first).is_pending());
    assert!(poll(&mut frames, &second).is_pending());
    source.publish();
    assert!(poll(&mut frames, &second).is_ready());
    assert!(poll(&mut frames, &first).is_pending());
    // A look without a waker takes none away.
    assert_eq!(frames.try_recv().unwrap_err(), RecvError::Empty);
    source.publish();
    assert_eq!(*woken.lock().unwrap(), [2, 1]);
}

#[test]
fn a_waker_that_panics_harms_no_other_consumer() {
    let source = Source::started(None);
    let [mut bad, mut good] = ["bad", "good"].map(|name| source.publisher.subscribe(name).unwrap());
    let panics = waker(|| panic!("a waker that panics, on purpose"));
    let (tell, told) = mpsc::channel();
    let tells = waker(move || tell.send(()).unwrap());
    for _ in 0..3 {
        assert!(poll(&mut bad, &panics).is_pending());
        assert!(poll(&mut good, &tells).is_pending());
        source.publish();
        told.recv_timeout(DEADLINE).unwrap();
        assert!(poll(&mut good, &tells).is_ready());
        assert!(poll(&mut bad, &panics).is_ready());
    }
    assert!(poll(&mut bad, &panics).is_pending());
    source.publisher.close();
    assert!(matches!(poll(&mut bad, &panics), Poll::Ready(None)));
}

#[test]
fn a_waker_that_panics_ends_the_notices_of_no_other() {
    let source = Source::started(None);
    let [mut bad, mut good] = [(); 2].map(|()| source.publisher.notices().unwrap());
    let panics = waker(|| panic!("a waker that panics, on purpose"));
    assert!(poll_notice(&mut bad, &panics).is_pending());
    let frames = source.publisher.consumer("a").depth(1).subscribe().unwrap();
    (0..5).for_each(|_| source.publish());
    let first = good.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(first, Notice::Dropped(_)), "{first:?}");
    while poll_notice(&mut bad, &panics).is_ready() {}
    drop(frames);
    // The thread that reports is still there, and those on the bus come too.
    while !matches!(good.recv_timeout(DEADLINE).unwrap(), Notice::Summary(_)) {}
    while poll_notice(&mut bad, &panics).is_ready() {}
    drop(source);
    assert_eq!(good.recv(), None);
    assert_eq!(poll_notice(&mut bad, &panics), Poll::Ready(None));
}

/// All that a waker may call: it is woken with no lock held.
#[test]
fn a_waker_may_call_all_of_it() {
    let source = Source::started(None);
    let publisher = source.publisher.clone();
    let other = Arc::new(Mutex::new(source.publisher.subscribe("other").unwrap()));
    let (own, woken) = (other.clone(), Arc::new(AtomicUsize::new(0)));
    let count = woken.clone();
    let calls = waker(move || {
        count.fetch_add(1, Ordering::SeqCst);
        assert_eq!(publisher.health().consumers.len(), 2);
        let mut other = own.lock().unwrap();
        assert!(other.try_recv().is_ok());
        other.set_depth(3).unwrap();
        let mut third = publisher.subscribe("third").unwrap();
        assert_eq!(third.try_recv().unwrap_err(), RecvError::Empty);
        publisher.request_keyframe();
        publisher.replay();
    });
    let mut frames = source.publisher.subscribe("a").unwrap();
    for _ in 0..10 {
        assert!(poll(&mut frames, &calls).is_pending());
        source.publish();
        assert!(poll(&mut frames, &calls).is_ready());
    }
    assert_eq!(woken.load(Ordering::SeqCst), 10);
    let ledger = other.lock().unwrap().ledger();
    assert_eq!(ledger.frames_out + ledger.in_flight, 10);
}

/// Whether there was one. A receiver that goes wakes its own waker, which looks into the slot too: it is
/// dropped when the slot is free again.
fn drops(slot: &Mutex<Option<FrameReceiver>>) -> bool {
    let taken = slot.lock().unwrap().take();
    taken.is_some()
}

#[test]
fn a_receiver_may_be_dropped_in_its_waker_and_in_a_handler() {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let slot = Arc::<Mutex<Option<FrameReceiver>>>::default();
    let (own, publisher) = (slot.clone(), source.publisher.clone());
    bus.set_sync_handler(move |_, message| {
        if message.has_name("dronetee-drop") && drops(&own) {
            drop(publisher.subscribe("another").unwrap());
        }
        gst::BusSyncReply::Drop
    });
    for _ in 0..20 {
        let frames = source.publisher.consumer("a").depth(1).subscribe();
        *slot.lock().unwrap() = Some(frames.unwrap());
        (0..5).for_each(|_| source.publish());
        wait_for("the handler", || slot.lock().unwrap().is_none());

        let mut frames = source.publisher.subscribe("b").unwrap();
        let own = slot.clone();
        let waker = waker(move || _ = drops(&own));
        assert!(poll(&mut frames, &waker).is_pending());
        *slot.lock().unwrap() = Some(frames);
        source.publish();
        assert!(slot.lock().unwrap().is_none());
        wait_for("the handler's", || source.publisher.subscribers() == 0);
    }
}

/// Each way to wait in turn, while frames come: none is missed and none comes twice.
#[test]
fn all_ways_to_wait_may_be_mixed() {
    let source = Source::started(None);
    let mut frames = source.publisher.consumer("a").depth(7).subscribe().unwrap();
    let (mut next, mut seen) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..5_000).for_each(|_| source.publish());
            source.end();
        });
        for way in (0_u64..).map(|n| n * n % 11 % 6) {
            let got = match way {
                0 => frames.try_recv(),
                1 => frames.recv_timeout(Duration::from_micros(20)),
                2 => frames.recv_deadline(std::time::Instant::now()),
                3 => match poll(&mut frames, Waker::noop()) {
                    Poll::Ready(Some(frame)) => Ok(frame),
                    _ => continue,
                },
                4 => {
                    drop(frames.next());
                    continue;
                }
                _ => frames.try_iter().next().ok_or(RecvError::Empty),
            };
            match got {
                Ok(frame) => {
                    assert_eq!(frame.seq(), next + frame.lost_before());
                    next = frame.seq() + 1;
                    seen += 1;
                }
                Err(RecvError::Empty) => {}
                Err(RecvError::Closed(_)) => break,
            }
        }
    });
    let ledger = frames.ledger();
    assert_eq!((ledger.frames_in, ledger.frames_out), (5_000, seen));
    assert_eq!(ledger.dropped.total(), 5_000 - seen);
}

/// 200 tasks that subscribe themselves, each in a `select!`, on one thread and on two.
#[test]
fn tasks_of_each_kind_of_runtime_get_their_frames() {
    let several = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build();
    let single = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    for runtime in [several.unwrap(), single.unwrap()] {
        let source = Source::started(None);
        let publisher = &source.publisher;
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                wait_for("all to join", || publisher.subscribers() == 200);
                (0..100).for_each(|_| source.publish());
                source.end();
            });
            let accounts = runtime.block_on(async {
                let tasks: Vec<_> = (0..200)
                    .map(|n| tokio::spawn(count(publisher.clone(), format!("task{n}"))))
                    .collect();
                let mut accounts = Vec::new();
                for task in tasks {
                    accounts.push(task.await.unwrap());
                }
                accounts
            });
            publishing.join().unwrap();
            for (seen, ledger) in accounts {
                assert_eq!((ledger.frames_in, ledger.frames_out), (100, seen));
                assert!(ledger.balances());
            }
        });
        // A runtime that goes takes its receivers along.
        let mut frames = source.publisher.subscribe("last").unwrap();
        runtime.spawn(async move { while frames.next().await.is_some() {} });
        drop(runtime);
        assert_eq!(source.publisher.subscribers(), 0);
    }
}

async fn count(publisher: gstdronetee::FramePublisher, name: String) -> (u64, gstdronetee::Ledger) {
    let mut frames = publisher.consumer(&name).depth(64).subscribe().unwrap();
    let mut timer = tokio::time::interval(Duration::from_millis(3));
    let mut seen = 0;
    loop {
        tokio::select! {
            frame = frames.next() => match frame {
                Some(_) => seen += 1,
                None => return (seen, frames.ledger()),
            },
            _ = timer.tick() => {}
        }
    }
}
