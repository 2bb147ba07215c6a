// SPDX-License-Identifier: MPL-2.0
//! A receiver as a `Stream`, on tokio.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::source::{DEADLINE, Source};
use futures_core::Stream;
use gst::prelude::*;
use gstdronetee::{Frame, FrameReceiver, Ledger};
use tokio::time::timeout;

/// More than the tests publish, so that nothing is lost.
const DEPTH: u32 = 4096;

fn started() -> Source {
    gst::init().unwrap();
    Source::started(Some(&gst::Caps::builder("video/x-raw").build()))
}

fn subscribe(source: &Source, name: &str) -> FrameReceiver {
    let consumer = source.publisher.consumer(name).depth(DEPTH);
    consumer.subscribe().unwrap()
}

fn ledger(source: &Source, name: &str) -> Ledger {
    let consumers = source.publisher.health().consumers;
    let found = consumers.iter().find(|consumer| consumer.consumer == name);
    found.unwrap().ledger
}

fn consumers(source: &Source) -> i32 {
    source.tee.property("num-src-pads")
}

/// As `StreamExt::next` does it.
async fn next(frames: &mut FrameReceiver) -> Option<Frame> {
    poll_fn(|cx| Pin::new(&mut *frames).poll_next(cx)).await
}

/// Takes all frames, which have to come in order; how many there were.
async fn drain(mut frames: FrameReceiver) -> u64 {
    let mut seen = 0;
    while let Some(frame) = next(&mut frames).await {
        assert_eq!((frame.seq(), frame.lost_before()), (seen, 0));
        seen += 1;
    }
    assert!(next(&mut frames).await.is_none(), "it stays at its end");
    seen
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("not in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_get_every_frame_until_the_end() {
    let source = started();
    let tasks = ["a", "b"].map(|name| tokio::spawn(drain(subscribe(&source, name))));
    let source = Arc::new(source);
    let upstream = source.clone();
    let publishing = tokio::task::spawn_blocking(move || {
        for n in 0..3_000 {
            upstream.publish();
            if n % 100 == 0 {
                // The tasks catch up and have to be woken again.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        upstream.end();
    });
    for task in tasks {
        assert_eq!(in_time(task).await.unwrap(), 3_000);
    }
    in_time(publishing).await.unwrap();
    assert_eq!(consumers(&source), 0, "the tasks dropped their receivers");
}

#[tokio::test(flavor = "current_thread")]
async fn one_thread_serves_several_receivers() {
    let source = started();
    let (a, b) = (subscribe(&source, "a"), subscribe(&source, "b"));
    let publish = async {
        for _ in 0..100 {
            source.publish();
            tokio::task::yield_now().await;
        }
        source.end();
    };
    let ended = in_time(async { tokio::join!(drain(a), drain(b), publish) }).await;
    assert_eq!(ended, (100, 100, ()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_is_lost_when_waiting_is_cancelled() {
    let source = Arc::new(started());
    let mut frames = subscribe(&source, "a");
    for n in 0..300 {
        // Dropped while it waits.
        {
            let mut waiting = pin!(next(&mut frames));
            let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
            assert!(pending.await);
        }
        let upstream = source.clone();
        let publishing = tokio::task::spawn_blocking(move || upstream.publish());
        // Dropped at any moment: before, while or after the frame comes.
        let mut cancelled = 0u64;
        let frame = in_time(async {
            loop {
                let patience = Duration::from_micros(cancelled % 50);
                tokio::select! {
                    frame = next(&mut frames) => break frame.unwrap(),
                    () = tokio::time::sleep(patience) => cancelled += 1,
                    () = tokio::task::yield_now() => cancelled += 1,
                }
            }
        });
        let frame = frame.await;
        assert_eq!((frame.seq(), frame.lost_before()), (n, 0));
        in_time(publishing).await.unwrap();
    }
    let ledger = ledger(&source, "a");
    assert_eq!((ledger.frames_in, ledger.dropped.total()), (300, 0));
    assert!(ledger.balances());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_stop_and_release_end_a_waiting_task() {
    type End = fn(&Source);
    let ends: [(&str, End); 3] = [
        ("end of the stream", Source::end),
        ("stop", |source| {
            source.tee.set_state(gst::State::Null).unwrap();
        }),
        ("release", |source| {
            let pad = source.tee.static_pad("src_a").unwrap();
            source.tee.release_request_pad(&pad);
        }),
    ];
    for (how, end) in ends {
        let source = started();
        let (waits, waiting) = tokio::sync::oneshot::channel();
        let mut frames = subscribe(&source, "a");
        let task = tokio::spawn(async move {
            let mut waits = Some(waits);
            poll_fn(|cx| {
                let polled = Pin::new(&mut frames).poll_next(cx);
                if let Some(waits) = waits.take() {
                    waits.send(polled.is_pending()).unwrap();
                }
                polled
            })
            .await
        });
        assert!(in_time(waiting).await.unwrap(), "{how}");
        end(&source);
        assert!(in_time(task).await.unwrap().is_none(), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_task_releases_its_consumer() {
    let source = started();
    let task = tokio::spawn(drain(subscribe(&source, "a")));
    let other = tokio::spawn(drain(subscribe(&source, "b")));
    assert_eq!(consumers(&source), 2);
    task.abort();
    assert!(in_time(task).await.unwrap_err().is_cancelled());
    assert_eq!(consumers(&source), 1);
    for _ in 0..100 {
        source.publish();
    }
    source.end();
    assert_eq!(in_time(other).await.unwrap(), 100);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_polled_last_is_woken_and_nobody_else() {
    let source = started();
    let mut frames = subscribe(&source, "a");
    let wakes = [Arc::<Wakes>::default(), Arc::default()];
    let wakers = wakes.clone().map(Waker::from);
    let mut poll = |waker: &Waker| {
        let mut cx = Context::from_waker(waker);
        Pin::new(&mut frames).poll_next(&mut cx).is_ready()
    };
    let counts = || wakes.each_ref().map(|wakes| wakes.0.load(Ordering::SeqCst));
    assert!(!poll(&wakers[0]));
    assert!(!poll(&wakers[1]));
    source.publish();
    assert_eq!(counts(), [0, 1]);
    source.publish();
    assert_eq!(counts(), [0, 1], "no task waited");
    assert!(poll(&wakers[0]) && poll(&wakers[0]));
    assert!(!poll(&wakers[0]));
    source.publish();
    assert_eq!(counts(), [1, 1]);
    assert!(poll(&wakers[0]));
    // An event wakes, and is no frame.
    assert!(!poll(&wakers[1]));
    assert!(
        source
            .sink
            .send_event(gst::event::Tag::new(gst::TagList::new()))
    );
    assert_eq!(counts(), [1, 2]);
    assert!(!poll(&wakers[1]));
    source.end();
    assert_eq!(counts(), [1, 3]);
    assert!(poll(&wakers[1]));
}

/// Its owner's code fails.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants it");
    }
}

#[test]
fn a_waker_that_panics_is_its_owners_trouble() {
    let source = started();
    let (mut bad, mut good) = (subscribe(&source, "bad"), subscribe(&source, "good"));
    let wakes = Arc::<Wakes>::default();
    for (frames, waker) in [
        (&mut bad, Waker::from(Arc::new(Panics))),
        (&mut good, Waker::from(wakes.clone())),
    ] {
        let mut cx = Context::from_waker(&waker);
        // The events that are there already come without a wait.
        assert!(Pin::new(frames).poll_next(&mut cx).is_pending());
    }
    source.publish();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    source.publish();
    for frames in [&mut bad, &mut good] {
        assert_eq!(frames.try_recv().unwrap().seq(), 0);
    }
}

#[test]
fn a_look_in_between_does_not_take_the_place_of_who_waits() {
    let source = started();
    let mut frames = subscribe(&source, "a");
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut frames).poll_next(&mut cx).is_pending());
    assert!(frames.try_recv().is_err());
    source.publish();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
}
