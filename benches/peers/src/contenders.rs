// SPDX-License-Identifier: MPL-2.0
//! Who is compared, each with three receivers that note how long a frame took.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arcly_stream::{CodecId, MediaFrame, StreamHandle};
use bytes::Bytes;
use futures_core::Stream as _;
use gst::prelude::*;
use gst_utils::StreamProducer;
use gstdronetee::{FramePublisher, FrameReceiver};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::WARM_UP;
use crate::ends::{begin, gray, nanos, stamped};

pub(crate) type Histogram = hdrhistogram::Histogram<u64>;
/// Publishes a frame with that stamp; dropping it ends the stream.
type Publish = Box<dyn Fn(u64)>;
/// Ends the receivers and says what they noted.
type Finish = Box<dyn FnOnce() -> Histogram>;

pub(crate) const RECEIVERS: usize = 3;
/// Frames that may wait for a receiver, dronetee's default.
const DEPTH: usize = 4;

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) how: &'static str,
    pub(crate) own: bool,
    pub(crate) start: fn() -> (Publish, Finish),
}

pub(crate) const ALL: [Contender; 7] = [
    Contender {
        name: "dronetee",
        how: "threads",
        own: true,
        start: dronetee_threads,
    },
    Contender {
        name: "dronetee",
        how: "tokio tasks",
        own: true,
        start: dronetee_tasks,
    },
    Contender {
        name: "tokio broadcast",
        how: "threads",
        own: false,
        start: broadcast_threads,
    },
    Contender {
        name: "tokio broadcast",
        how: "tokio tasks",
        own: false,
        start: broadcast_tasks,
    },
    Contender {
        name: "arcly subscribe_resilient",
        how: "tasks",
        own: false,
        start: arcly_tasks,
    },
    Contender {
        name: "StreamProducer",
        how: "appsink",
        own: false,
        start: stream_producer,
    },
    Contender {
        name: "only three wake-ups",
        how: "threads",
        own: true,
        start: wake_ups,
    },
];

static PIXELS: [u8; 64] = [0; 64];

fn histogram() -> Histogram {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds")
}

fn note(histogram: &mut Histogram, stamp: u64) {
    let now = nanos();
    if stamp > WARM_UP {
        histogram.saturating_record(now - stamp);
    }
}

fn merge(all: impl IntoIterator<Item = Histogram>) -> Histogram {
    let mut merged = histogram();
    for one in all {
        merged.add(one).expect("the same bounds");
    }
    merged
}

fn join(threads: Vec<JoinHandle<Histogram>>) -> Histogram {
    merge(
        threads
            .into_iter()
            .map(|thread| thread.join().expect("receiver")),
    )
}

fn threads<R: Send + 'static>(
    receivers: Vec<R>,
    receive: fn(&mut R) -> Option<u64>,
) -> Vec<JoinHandle<Histogram>> {
    let spawn = |mut receiver: R| {
        std::thread::spawn(move || {
            let mut histogram = histogram();
            while let Some(stamp) = receive(&mut receiver) {
                note(&mut histogram, stamp);
            }
            histogram
        })
    };
    receivers.into_iter().map(spawn).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("runtime")
}

/// Runs `receive` for each receiver as a task; how to get what they noted.
fn tasks<R: Send + 'static, F>(
    receivers: Vec<R>,
    receive: impl Fn(R) -> F + Copy,
) -> impl FnOnce() -> Histogram
where
    F: Future<Output = Histogram> + Send + 'static,
{
    let runtime = runtime();
    let tasks: Vec<_> = receivers
        .into_iter()
        .map(|receiver| runtime.spawn(receive(receiver)))
        .collect();
    move || {
        merge(
            tasks
                .into_iter()
                .map(|task| runtime.block_on(task).expect("receiver")),
        )
    }
}

// ---- dronetee ------------------------------------------------------------------------------

fn dronetee() -> (gst::Element, Publish, Vec<FrameReceiver>) {
    let tee = gst::ElementFactory::make("dronetee")
        .build()
        .expect("dronetee");
    let publisher = FramePublisher::new(&tee).expect("a dronetee");
    let receivers = (0..RECEIVERS).map(|n| publisher.subscribe(&n.to_string()).expect("name"));
    let receivers = receivers.collect();
    tee.set_state(gst::State::Playing).expect("state");
    let sink = tee.static_pad("sink").expect("sink");
    begin(&sink, Some(&gray()));
    let publish = move |stamp| {
        sink.chain(stamped(stamp)).expect("flow");
    };
    (tee, Box::new(publish), receivers)
}

fn dronetee_threads() -> (Publish, Finish) {
    let (tee, publish, receivers) = dronetee();
    let threads = threads(receivers, |frames| Some(frames.recv()?.buffer().offset()));
    let finish = move || {
        tee.set_state(gst::State::Null).expect("state");
        join(threads)
    };
    (publish, Box::new(finish))
}

fn dronetee_tasks() -> (Publish, Finish) {
    let (tee, publish, receivers) = dronetee();
    let noted = tasks(receivers, |mut frames: FrameReceiver| async move {
        let mut histogram = histogram();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut frames).poll_next(cx)).await {
            note(&mut histogram, frame.buffer().offset());
        }
        histogram
    });
    let finish = move || {
        tee.set_state(gst::State::Null).expect("state");
        noted()
    };
    (publish, Box::new(finish))
}

// ---- tokio and arcly -----------------------------------------------------------------------

fn broadcast() -> (Publish, Vec<broadcast::Receiver<gst::Buffer>>) {
    let (sender, first) = broadcast::channel(DEPTH);
    let mut receivers = vec![first];
    receivers.resize_with(RECEIVERS, || sender.subscribe());
    let publish = move |stamp| {
        sender.send(stamped(stamp)).expect("receivers");
    };
    (Box::new(publish), receivers)
}

fn broadcast_threads() -> (Publish, Finish) {
    let (publish, receivers) = broadcast();
    let threads = threads(receivers, |frames| {
        loop {
            match frames.blocking_recv() {
                Ok(frame) => return Some(frame.offset()),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    (publish, Box::new(move || join(threads)))
}

fn broadcast_tasks() -> (Publish, Finish) {
    let (publish, receivers) = broadcast();
    let noted = tasks(
        receivers,
        |mut frames: broadcast::Receiver<gst::Buffer>| async move {
            let mut histogram = histogram();
            loop {
                match frames.recv().await {
                    Ok(frame) => note(&mut histogram, frame.offset()),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return histogram,
                }
            }
        },
    );
    (publish, Box::new(noted))
}

fn arcly_tasks() -> (Publish, Finish) {
    let stream = StreamHandle::new("drone".into(), "camera".into(), DEPTH);
    let receivers = (0..RECEIVERS)
        .map(|_| stream.subscribe_resilient())
        .collect();
    let noted = tasks(
        receivers,
        |mut frames: arcly_stream::bus::Subscription| async move {
            let mut histogram = histogram();
            while let Some(frame) = frames.recv().await {
                note(&mut histogram, frame.pts as u64);
            }
            histogram
        },
    );
    let publish = move |stamp: u64| {
        let time = stamp as i64;
        let pixels = Bytes::from_static(&PIXELS);
        let frame = MediaFrame::new_video(time, time, pixels, CodecId::H264, true);
        stream.publish_frame(frame).expect("receivers");
    };
    (Box::new(publish), Box::new(noted))
}

// ---- gstreamer-utils -----------------------------------------------------------------------

/// An appsink that hands to three appsrc, each with an appsink whose callback, in the appsrc's
/// thread, is the receiver: one thread less on the way than pulling from it.
fn stream_producer() -> (Publish, Finish) {
    let entry = gst_app::AppSink::builder().build();
    let settings = gst_utils::streamproducer::ProducerSettings { sync: false };
    let producer = StreamProducer::with(&entry, settings);
    let receivers: Vec<_> = (0..RECEIVERS)
        .map(|_| appsrc_to_appsink(&producer))
        .collect();
    entry.set_state(gst::State::Playing).expect("state");
    let sink = entry.static_pad("sink").expect("sink");
    begin(&sink, Some(&gray()));
    let publish = move |stamp| {
        sink.chain(stamped(stamp)).expect("flow");
    };
    let finish = move || {
        entry.set_state(gst::State::Null).expect("state");
        let noted = receivers.into_iter().map(|(pipeline, link, histogram)| {
            pipeline.set_state(gst::State::Null).expect("state");
            drop(link);
            let histogram = histogram.lock().expect("histogram");
            histogram.clone()
        });
        merge(noted)
    };
    (Box::new(publish), Box::new(finish))
}

type Receiver = (
    gst::Pipeline,
    gst_utils::ConsumptionLink,
    Arc<Mutex<Histogram>>,
);

fn appsrc_to_appsink(producer: &StreamProducer) -> Receiver {
    let histogram = Arc::new(Mutex::new(histogram()));
    let noted = histogram.clone();
    let src = gst_app::AppSrc::builder().build();
    let sink = gst_app::AppSink::builder()
        .sync(false)
        .callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let stamp = sample.buffer().ok_or(gst::FlowError::Error)?.offset();
                    note(&mut noted.lock().expect("histogram"), stamp);
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        )
        .build();
    let pipeline = gst::Pipeline::new();
    pipeline
        .add_many([src.upcast_ref::<gst::Element>(), sink.upcast_ref()])
        .expect("add");
    src.link(&sink).expect("link");
    let settings = gst_utils::streamproducer::ConsumerSettings {
        max_buffer: DEPTH as u64,
        ..Default::default()
    };
    let link = producer.add_consumer_with(&src, settings).expect("new");
    pipeline.set_state(gst::State::Playing).expect("state");
    (pipeline, link, histogram)
}

// ---- the floor -----------------------------------------------------------------------------

/// The stamp in an atomic, and the threads unparked: what the kernel takes for it.
fn wake_ups() -> (Publish, Finish) {
    const END: u64 = u64::MAX;
    let latest = Arc::new(AtomicU64::new(0));
    let receivers = (0..RECEIVERS).map(|_| (latest.clone(), 0)).collect();
    let threads = threads(receivers, |(latest, seen): &mut (Arc<AtomicU64>, u64)| {
        loop {
            match latest.load(Ordering::Acquire) {
                END => return None,
                stamp if stamp != *seen => {
                    *seen = stamp;
                    return Some(stamp);
                }
                _ => std::thread::park(),
            }
        }
    });
    let unpark: Vec<_> = threads.iter().map(|t| t.thread().clone()).collect();
    let (stamps, others) = (latest.clone(), unpark.clone());
    let publish = move |stamp| {
        stamps.store(stamp, Ordering::Release);
        others.iter().for_each(std::thread::Thread::unpark);
    };
    let finish = move || {
        latest.store(END, Ordering::Release);
        unpark.iter().for_each(std::thread::Thread::unpark);
        join(threads)
    };
    (Box::new(publish), Box::new(finish))
}
