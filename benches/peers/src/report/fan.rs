// SPDX-License-Identifier: MPL-2.0
//! The contenders behind one interface: frames go in, each consumer's thread calls its function with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arcly_stream::{CodecId, MediaFrame, StreamHandle};
use bytes::Bytes;
use gst::prelude::*;
use gst_utils::StreamProducer;
use gstdronetee::FramePublisher;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::ends::{begin, gray, leaky_queue, sink_pad, stamped};

/// What a consumer does with a frame.
pub(crate) type Take = Box<dyn FnMut(gst::Buffer) + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DroneTee,
    Receivers,
    Tee,
    StreamProducer,
    Broadcast,
    Arcly,
    /// The threads are woken, and that is all.
    WakeUps,
    /// A queue behind a lock, and no consumer.
    Append,
}

/// Those that hand frames to consumers.
pub(crate) const ALL: [Kind; 6] = [
    Kind::DroneTee,
    Kind::Receivers,
    Kind::Tee,
    Kind::StreamProducer,
    Kind::Broadcast,
    Kind::Arcly,
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DroneTee => "dronetee",
            Self::Receivers => "dronetee, FrameReceiver",
            Self::Tee => "tee ! queue leaky",
            Self::StreamProducer => "StreamProducer",
            Self::Broadcast => "tokio broadcast",
            Self::Arcly => "arcly-stream",
            Self::WakeUps => "floor: bare wake-ups",
            Self::Append => "floor: append under a lock",
        }
    }
}

/// A contender at work.
pub(crate) struct Fan {
    publish: Box<dyn Fn(gst::Buffer)>,
    add: Box<dyn FnMut(Take)>,
    /// Ends the stream; then the threads end.
    stop: Box<dyn FnOnce()>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// What a stream is like.
#[derive(Clone)]
pub(crate) struct Stream {
    /// Frames that may wait for a consumer.
    pub(crate) depth: u32,
    pub(crate) caps: gst::Caps,
    pub(crate) gop_cache: u32,
}

impl Stream {
    pub(crate) fn raw() -> Self {
        Self {
            depth: 4,
            caps: gray(),
            gop_cache: 0,
        }
    }
}

impl Fan {
    pub(crate) fn start(kind: Kind, stream: &Stream) -> Self {
        match kind {
            Kind::DroneTee => dronetee(stream),
            Kind::Receivers => receivers(stream),
            Kind::Tee => tee(stream),
            Kind::StreamProducer => stream_producer(stream),
            Kind::Broadcast => broadcast(stream),
            Kind::Arcly => arcly(stream),
            Kind::WakeUps => wake_ups(),
            Kind::Append => append(stream),
        }
    }

    pub(crate) fn publish(&self, frame: gst::Buffer) {
        (self.publish)(frame);
    }

    pub(crate) fn add(&mut self, take: impl FnMut(gst::Buffer) + Send + 'static) {
        (self.add)(Box::new(take));
    }

    pub(crate) fn stop(self) {
        drop(self.publish);
        drop(self.add);
        (self.stop)();
        let threads = std::mem::take(&mut *self.threads.lock().expect("threads"));
        for thread in threads {
            thread.join().expect("a consumer");
        }
    }
}

type Threads = Arc<Mutex<Vec<JoinHandle<()>>>>;

fn keep(threads: &Threads, thread: JoinHandle<()>) {
    threads.lock().expect("threads").push(thread);
}

fn consumer(take: Take) -> gst::Pad {
    let take = Mutex::new(take);
    sink_pad("consumer", move |buffer| {
        (take.lock().expect("a consumer"))(buffer);
        Ok(gst::FlowSuccess::Ok)
    })
}

fn make(factory: &str) -> gst::Element {
    gst::ElementFactory::make(factory).build().expect("element")
}

fn into_pad(sink: gst::Pad) -> Box<dyn Fn(gst::Buffer)> {
    Box::new(move |buffer| {
        let _ = sink.chain(buffer);
    })
}

fn own_element(stream: &Stream) -> gst::Element {
    gst::ElementFactory::make("dronetee")
        .property("depth", stream.depth)
        .property("gop-cache", stream.gop_cache)
        .build()
        .expect("dronetee")
}

fn dronetee(stream: &Stream) -> Fan {
    let element = own_element(stream);
    element.set_state(gst::State::Playing).expect("state");
    let sink = element.static_pad("sink").expect("sink");
    begin(&sink, Some(&stream.caps));
    let requests = element.clone();
    let mut outs = Vec::new();
    Fan {
        publish: into_pad(sink),
        add: Box::new(move |take| {
            let out = consumer(take);
            let pad = requests.request_pad_simple("src_%u").expect("pad");
            pad.link(&out).expect("link");
            outs.push(out);
        }),
        stop: Box::new(move || {
            element.set_state(gst::State::Null).expect("state");
        }),
        threads: Threads::default(),
    }
}

fn receivers(stream: &Stream) -> Fan {
    let element = own_element(stream);
    element.set_state(gst::State::Playing).expect("state");
    let sink = element.static_pad("sink").expect("sink");
    begin(&sink, Some(&stream.caps));
    let publisher = FramePublisher::new(&element).expect("a dronetee");
    let threads = Threads::default();
    let kept = threads.clone();
    let mut number = 0;
    Fan {
        publish: into_pad(sink),
        add: Box::new(move |mut take| {
            number += 1;
            let mut frames = publisher.subscribe(&format!("c{number}")).expect("a name");
            let serve = move || {
                while let Some(frame) = frames.recv() {
                    take(frame.buffer().clone());
                }
            };
            keep(&kept, std::thread::spawn(serve));
        }),
        stop: Box::new(move || {
            element.set_state(gst::State::Null).expect("state");
        }),
        threads,
    }
}

fn tee(stream: &Stream) -> Fan {
    let tee = make("tee");
    tee.set_state(gst::State::Playing).expect("state");
    let sink = tee.static_pad("sink").expect("sink");
    begin(&sink, Some(&stream.caps));
    let elements = Arc::new(Mutex::new(Vec::new()));
    let (kept, requests, depth) = (elements.clone(), tee.clone(), stream.depth);
    let mut outs = Vec::new();
    Fan {
        publish: into_pad(sink),
        add: Box::new(move |take| {
            let out = consumer(take);
            let queue = leaky_queue(depth);
            let src = queue.static_pad("src").expect("src");
            src.link(&out).expect("link");
            queue.set_state(gst::State::Playing).expect("state");
            let pad = requests.request_pad_simple("src_%u").expect("pad");
            let input = queue.static_pad("sink").expect("sink");
            pad.link(&input).expect("link");
            outs.push(out);
            kept.lock().expect("elements").push(queue);
        }),
        stop: Box::new(move || {
            for element in elements.lock().expect("elements").drain(..) {
                element.set_state(gst::State::Null).expect("state");
            }
            tee.set_state(gst::State::Null).expect("state");
        }),
        threads: Threads::default(),
    }
}

/// An appsink that hands to an appsrc for each consumer, which is the callback of an appsink behind it.
fn stream_producer(stream: &Stream) -> Fan {
    let entry = gst_app::AppSink::builder().build();
    let settings = gst_utils::streamproducer::ProducerSettings { sync: false };
    let producer = StreamProducer::with(&entry, settings);
    entry.set_state(gst::State::Playing).expect("state");
    let sink = entry.static_pad("sink").expect("sink");
    begin(&sink, Some(&stream.caps));
    let pipelines = Arc::new(Mutex::new(Vec::new()));
    let (kept, depth) = (pipelines.clone(), stream.depth);
    Fan {
        publish: into_pad(sink),
        add: Box::new(move |mut take| {
            let src = gst_app::AppSrc::builder().build();
            let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                take(sample.buffer_owned().ok_or(gst::FlowError::Error)?);
                Ok(gst::FlowSuccess::Ok)
            });
            let out = gst_app::AppSink::builder()
                .sync(false)
                .callbacks(callbacks.build())
                .build();
            let pipeline = gst::Pipeline::new();
            pipeline
                .add_many([src.upcast_ref::<gst::Element>(), out.upcast_ref()])
                .expect("add");
            src.link(&out).expect("link");
            let settings = gst_utils::streamproducer::ConsumerSettings {
                max_buffer: u64::from(depth),
                ..Default::default()
            };
            let link = producer.add_consumer_with(&src, settings).expect("new");
            pipeline.set_state(gst::State::Playing).expect("state");
            kept.lock().expect("pipelines").push((pipeline, link));
        }),
        stop: Box::new(move || {
            entry.set_state(gst::State::Null).expect("state");
            for (pipeline, link) in pipelines.lock().expect("pipelines").drain(..) {
                pipeline.set_state(gst::State::Null).expect("state");
                drop(link);
            }
        }),
        threads: Threads::default(),
    }
}

fn broadcast(stream: &Stream) -> Fan {
    let (sender, _) = broadcast::channel::<gst::Buffer>(stream.depth as usize);
    let subscribe = sender.clone();
    let threads = Threads::default();
    let kept = threads.clone();
    Fan {
        publish: Box::new(move |buffer| {
            let _ = sender.send(buffer);
        }),
        add: Box::new(move |mut take| {
            let mut frames = subscribe.subscribe();
            let serve = move || {
                loop {
                    match frames.blocking_recv() {
                        Ok(frame) => take(frame),
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            };
            keep(&kept, std::thread::spawn(serve));
        }),
        stop: Box::new(|| {}),
        threads,
    }
}

struct Owner(gst::buffer::MappedBuffer<gst::buffer::Readable>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Its frames are its own: the bytes are the buffer's, flags and times are copied.
fn arcly(stream: &Stream) -> Fan {
    let bus = StreamHandle::new("drone".into(), "camera".into(), stream.depth as usize);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("runtime");
    let runtime = Arc::new(runtime);
    let subscribe = bus.clone();
    let threads = Threads::default();
    let kept = threads.clone();
    Fan {
        publish: Box::new(move |buffer| {
            let time = buffer.pts().map_or(0, gst::ClockTime::nseconds) as i64;
            let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            let mapped = buffer.into_mapped_buffer_readable().expect("readable");
            let pixels = Bytes::from_owner(Owner(mapped));
            let frame = MediaFrame::new_video(time, time, pixels, CodecId::H264, is_key);
            let _ = bus.publish_frame(frame);
        }),
        add: Box::new(move |mut take| {
            let mut frames = subscribe.subscribe_resilient();
            let runtime = runtime.clone();
            let serve = move || {
                runtime.block_on(async {
                    while let Some(frame) = frames.recv().await {
                        let time = frame.pts as u64;
                        let mut buffer = gst::Buffer::from_slice(frame.data.clone());
                        let own = buffer.get_mut().expect("new");
                        own.set_offset(time);
                        own.set_pts(gst::ClockTime::from_nseconds(time));
                        take(buffer);
                    }
                });
            };
            keep(&kept, std::thread::spawn(serve));
        }),
        stop: Box::new(|| {}),
        threads,
    }
}

/// The stamp in an atomic, and the threads unparked: what the kernel takes for it.
fn wake_ups() -> Fan {
    const END: u64 = u64::MAX;
    let latest = Arc::new(AtomicU64::new(0));
    let threads = Threads::default();
    let (stamps, woken) = (latest.clone(), threads.clone());
    let wake = move |stamp| {
        stamps.store(stamp, Ordering::Release);
        let threads = woken.lock().expect("threads");
        threads.iter().for_each(|thread| thread.thread().unpark());
    };
    let (end, kept) = (wake.clone(), threads.clone());
    Fan {
        publish: Box::new(move |buffer| wake(buffer.offset())),
        add: Box::new(move |mut take| {
            let latest = latest.clone();
            let serve = move || {
                let mut seen = 0;
                loop {
                    match latest.load(Ordering::Acquire) {
                        END => return,
                        stamp if stamp == seen => std::thread::park(),
                        stamp => {
                            seen = stamp;
                            take(stamped(stamp));
                        }
                    }
                }
            };
            keep(&kept, std::thread::spawn(serve));
        }),
        stop: Box::new(move || end(END)),
        threads,
    }
}

fn append(stream: &Stream) -> Fan {
    let depth = stream.depth as usize;
    let queue = Mutex::new(VecDeque::new());
    Fan {
        publish: Box::new(move |buffer| {
            let mut queue = queue.lock().expect("queue");
            queue.push_back(buffer);
            let old = (queue.len() > depth).then(|| queue.pop_front());
            drop(queue);
            drop(old);
        }),
        add: Box::new(|_| {}),
        stop: Box::new(|| {}),
        threads: Threads::default(),
    }
}
