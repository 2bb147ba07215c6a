// SPDX-License-Identifier: MPL-2.0
//! What is in front of a `dronetee`: a pad with a thread of its own, or elements.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use gst::prelude::*;

use crate::fault::watch;
use crate::witness::MARKED;

/// What the thread of the source does between two frames.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Caps(usize),
    Gap,
    Tag(u64),
    Marked(u64),
    /// Frames in one list.
    List(usize),
    /// Frames without a pause.
    Burst(usize),
    Segment,
    /// A serialized query.
    Allocation,
    Drain,
    Eos,
    /// From the beginning: stream-start, caps, segment.
    Stream,
}

#[derive(Default)]
struct State {
    orders: VecDeque<Order>,
    is_ending: bool,
    /// Threads that want it to rest.
    pauses: u32,
    /// The thread waits for the end of a pause.
    is_at_rest: bool,
    begins: bool,
    needs_segment: bool,
    has_ended: bool,
    period: Duration,
    format: usize,
}

/// Frames and caps to send.
pub(crate) struct Format {
    pub(crate) caps: gst::Caps,
    pub(crate) frames: Vec<gst::Buffer>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    formats: Vec<Format>,
    next_frame: AtomicU64,
    /// The next frame is a keyframe.
    wants_key: std::sync::atomic::AtomicBool,
    flushing: Mutex<()>,
    streams: AtomicU64,
}

/// A src pad that pushes by a thread of its own.
pub(crate) struct Source {
    pub(crate) pad: gst::Pad,
    pub(crate) shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Raw video in three sizes.
pub(crate) fn raw() -> Vec<Format> {
    let format = |(width, height): (i32, i32)| {
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", width)
            .field("height", height)
            .field("framerate", gst::Fraction::new(30, 1))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        let frame = gst::Buffer::from_slice(vec![128_u8; (width * height * 3 / 2) as usize]);
        Format {
            caps,
            frames: vec![frame],
        }
    };
    [(16, 16), (32, 16), (64, 48)].map(format).into()
}

/// H.264 in two sizes.
pub(crate) fn coded() -> Vec<Format> {
    [(64, 48), (96, 64)].map(encode).into()
}

fn encode((width, height): (i32, i32)) -> Format {
    let launch = format!(
        "videotestsrc num-buffers=48 ! video/x-raw,format=I420,width={width},height={height},framerate=30/1 \
         ! x264enc tune=zerolatency key-int-max=12 speed-preset=ultrafast ! h264parse \
         ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false max-buffers=0"
    );
    let pipeline = gst::parse::launch(&launch).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap();
    let out = out.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut frames = Vec::new();
    let mut caps = gst::Caps::new_empty();
    while let Ok(sample) = out.pull_sample() {
        caps = sample.caps_owned().unwrap();
        frames.push(sample.buffer_owned().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    Format { caps, frames }
}

impl Source {
    pub(crate) fn start(name: &str, formats: Vec<Format>, sink: &gst::Pad) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                begins: true,
                period: Duration::from_millis(2),
                ..State::default()
            }),
            changed: Condvar::new(),
            formats,
            next_frame: AtomicU64::new(0),
            wants_key: false.into(),
            flushing: Mutex::default(),
            streams: AtomicU64::new(0),
        });
        let [events, queries] = [shared.clone(), shared.clone()];
        let pad = gst::Pad::builder(gst::PadDirection::Src)
            .name(name)
            .event_function(move |pad, _, event| {
                events.answer_event(pad, &event);
                true
            })
            .query_function(move |pad, parent, query| queries.answer(pad, parent, query))
            .build();
        pad.link(sink).unwrap();
        pad.set_active(true).unwrap();
        let (own, pushing) = (shared.clone(), pad.clone());
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || own.run(&pushing))
            .unwrap();
        Self {
            pad,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn order(&self, order: Order) {
        let mut state = self.shared.state.lock().unwrap();
        state.orders.push_back(order);
        self.shared.changed.notify_all();
    }

    pub(crate) fn set_period(&self, period: Duration) {
        self.shared.state.lock().unwrap().period = period;
    }

    pub(crate) fn formats(&self) -> usize {
        self.shared.formats.len()
    }

    pub(crate) fn caps(&self, format: usize) -> gst::Caps {
        self.shared.formats[format].caps.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        let state = self.shared.state.lock().unwrap();
        let ends = |order: &Order| matches!(order, Order::Eos);
        state.has_ended || state.orders.iter().any(ends)
    }

    /// It has sent EOS. A `queue` keeps a serialized query that comes right behind EOS, which is not its own to
    /// keep, and reads it when the next stream starts: no source may ask one there.
    pub(crate) fn is_at_end(&self) -> bool {
        self.shared.state.lock().unwrap().has_ended
    }

    /// Waits until the thread pushes nothing.
    pub(crate) fn pause(&self) {
        watch("pause the source", || self.shared.pause());
    }

    pub(crate) fn go_on(&self) {
        self.shared.go_on();
    }

    /// What is downstream has forgotten the stream.
    pub(crate) fn begin_again(&self) {
        self.shared.state.lock().unwrap().begins = true;
    }

    /// A flush to be made by any thread.
    pub(crate) fn flushing(&self, resets_time: bool) -> impl FnOnce() + Send + use<> {
        let (shared, pad) = (self.shared.clone(), self.pad.clone());
        move || shared.flush(&pad, resets_time)
    }

    pub(crate) fn stop(mut self) {
        self.shared.state.lock().unwrap().is_ending = true;
        self.shared.changed.notify_all();
        let thread = self.thread.take().unwrap();
        watch("join the source", || thread.join()).unwrap();
        watch("deactivate the source", || self.pad.set_active(false)).ok();
    }
}

impl Shared {
    fn pause(&self) {
        let mut state = self.state.lock().unwrap();
        state.pauses += 1;
        let runs = |state: &mut State| !state.is_at_rest && !state.is_ending;
        drop(self.changed.wait_while(state, runs).unwrap());
    }

    fn go_on(&self) {
        self.state.lock().unwrap().pauses -= 1;
        self.changed.notify_all();
    }

    /// As a seekable source does it.
    fn flush(&self, pad: &gst::Pad, resets_time: bool) {
        let _alone = self.flushing.lock().unwrap();
        let start = gst::event::FlushStart::new();
        watch("push FLUSH_START", || pad.push_event(start));
        watch("wait for the source in a flush", || self.pause());
        let stop = gst::event::FlushStop::new(resets_time);
        watch("push FLUSH_STOP", || pad.push_event(stop));
        let mut state = self.state.lock().unwrap();
        // A flush undoes the end of the stream.
        state.has_ended = false;
        state.needs_segment = true;
        state.pauses -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn answer_event(&self, pad: &gst::Pad, event: &gst::Event) {
        match event.view() {
            gst::EventView::Seek(seek) => {
                let (_, flags, ..) = seek.get();
                if flags.contains(gst::SeekFlags::FLUSH) {
                    self.flush(pad, true);
                } else {
                    self.state.lock().unwrap().needs_segment = true;
                }
            }
            _ if gst_video::ForceKeyUnitEvent::is(event) => {
                self.wants_key.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn answer(
        &self,
        pad: &gst::Pad,
        parent: Option<&gst::Object>,
        query: &mut gst::QueryRef,
    ) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::from_mseconds(5), gst::ClockTime::NONE);
                true
            }
            gst::QueryViewMut::Position(position) => {
                let frames = self.next_frame.load(Ordering::SeqCst);
                position.set(gst::ClockTime::from_mseconds(frames * 33));
                true
            }
            gst::QueryViewMut::Custom(_) => true,
            _ => gst::Pad::query_default(pad, parent, query),
        }
    }

    fn run(&self, pad: &gst::Pad) {
        loop {
            let (order, begins, needs_segment, format, period) = {
                let mut state = self.state.lock().unwrap();
                while state.pauses > 0 && !state.is_ending {
                    state.is_at_rest = true;
                    self.changed.notify_all();
                    state = self.changed.wait(state).unwrap();
                }
                state.is_at_rest = false;
                if state.is_ending {
                    state.is_at_rest = true;
                    self.changed.notify_all();
                    return;
                }
                let order = state.orders.pop_front();
                if let Some(Order::Caps(format)) = order {
                    state.format = format;
                }
                if let Some(Order::Stream) = order {
                    state.begins = true;
                }
                let begins = std::mem::take(&mut state.begins);
                if begins {
                    state.has_ended = false;
                }
                let needs_segment = std::mem::take(&mut state.needs_segment);
                if let Some(Order::Eos) = order {
                    state.has_ended = true;
                }
                if state.has_ended && order.is_none() {
                    let patience = Duration::from_millis(1);
                    drop(self.changed.wait_timeout(state, patience).unwrap());
                    continue;
                }
                (order, begins, needs_segment, state.format, state.period)
            };
            if begins {
                if !self.begin(pad, format) {
                    // A flush, or a stop.
                    self.state.lock().unwrap().begins = true;
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else if needs_segment {
                self.segment(pad);
            }
            if let Some(order) = order {
                watch(&format!("push {order:?}"), || self.execute(pad, &order));
                continue;
            }
            self.push(pad, format);
            std::thread::sleep(period);
        }
    }

    fn begin(&self, pad: &gst::Pad, format: usize) -> bool {
        let stream = self.streams.fetch_add(1, Ordering::SeqCst);
        let start = gst::event::StreamStart::builder(&format!("stream-{stream}"))
            .group_id(gst::GroupId::next())
            .build();
        watch("push STREAM_START", || pad.push_event(start));
        self.send_caps(pad, format);
        self.segment(pad)
    }

    fn send_caps(&self, pad: &gst::Pad, format: usize) {
        self.wants_key.store(true, Ordering::SeqCst);
        let caps = gst::event::Caps::new(&self.formats[format].caps);
        watch("push CAPS", || pad.push_event(caps));
    }

    fn segment(&self, pad: &gst::Pad) -> bool {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let segment = gst::event::Segment::new(&segment);
        watch("push SEGMENT", || pad.push_event(segment))
    }

    fn frame(&self, format: usize) -> gst::Buffer {
        let frames = &self.formats[format].frames;
        let mut number = self.next_frame.fetch_add(1, Ordering::SeqCst);
        if self.wants_key.swap(false, Ordering::SeqCst) {
            while !number.is_multiple_of(frames.len() as u64) {
                number = self.next_frame.fetch_add(1, Ordering::SeqCst);
            }
        }
        let mut frame = frames[(number % frames.len() as u64) as usize].clone();
        let own = frame.make_mut();
        let time = gst::ClockTime::from_nseconds(number * 33_333_333);
        own.set_pts(time);
        own.set_dts(time);
        own.set_duration(gst::ClockTime::from_nseconds(33_333_333));
        own.unset_flags(gst::BufferFlags::DISCONT);
        frame
    }

    fn push(&self, pad: &gst::Pad, format: usize) {
        let frame = self.frame(format);
        let flow = watch("push a frame", || pad.push(frame));
        if flow == Err(gst::FlowError::Flushing) {
            // It may have been stopped, and has forgotten the stream then.
            let mut state = self.state.lock().unwrap();
            state.begins = !state.has_ended;
            drop(state);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn execute(&self, pad: &gst::Pad, order: &Order) {
        let format = self.state.lock().unwrap().format;
        let now =
            gst::ClockTime::from_nseconds(self.next_frame.load(Ordering::SeqCst) * 33_333_333);
        match order {
            Order::Caps(format) => self.send_caps(pad, *format),
            Order::Gap => {
                let gap = gst::event::Gap::builder(now).build();
                pad.push_event(gap);
            }
            Order::Tag(n) => {
                let mut tags = gst::TagList::new();
                let title = format!("title {n}");
                let own = tags.get_mut().unwrap();
                own.add::<gst::tags::Title>(&title.as_str(), gst::TagMergeMode::Append);
                pad.push_event(gst::event::Tag::new(tags));
            }
            Order::Marked(n) => {
                let structure = gst::Structure::builder(MARKED).field("n", *n).build();
                pad.push_event(gst::event::CustomDownstream::new(structure));
            }
            Order::List(count) => {
                let mut list = gst::BufferList::new();
                for _ in 0..*count {
                    list.get_mut().unwrap().add(self.frame(format));
                }
                let _ = pad.push_list(list);
            }
            Order::Burst(count) => {
                for _ in 0..*count {
                    let _ = pad.push(self.frame(format));
                }
            }
            Order::Segment => {
                self.segment(pad);
            }
            // See `Source::is_at_end`.
            Order::Allocation | Order::Drain if self.state.lock().unwrap().has_ended => {}
            Order::Allocation => {
                let caps = &self.formats[format].caps;
                let mut query = gst::query::Allocation::new(Some(caps), true);
                pad.peer_query(&mut query);
            }
            Order::Drain => {
                pad.peer_query(&mut gst::query::Drain::new());
            }
            Order::Eos => {
                pad.push_event(gst::event::Eos::new());
            }
            Order::Stream => {}
        }
    }
}
