// SPDX-License-Identifier: MPL-2.0
//! A `dronetee` between an upstream pad and consumers' pads that the test commands.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const REASONS: [&str; 10] = [
    "slow",
    "stale",
    "waiting-keyframe",
    "not-linked",
    "flushing",
    "eos",
    "error",
    "evicted",
    "pool",
    "disabled",
];

pub(crate) fn init() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
}

/// Waits until `condition` holds, at most until the deadline.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Holds the thread that comes to it until it is opened.
#[derive(Default)]
pub(crate) struct Turnstile {
    came: AtomicBool,
    open: AtomicBool,
}

impl Turnstile {
    pub(crate) fn pass(&self) {
        self.came.store(true, Ordering::SeqCst);
        wait_for("an open turnstile", || self.open.load(Ordering::SeqCst));
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    #[track_caller]
    pub(crate) fn wait_came(&self) {
        wait_for("a thread at the turnstile", || {
            self.came.load(Ordering::SeqCst)
        });
    }
}

pub(crate) fn caps(width: i32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "GRAY8")
        .field("width", width)
        .field("height", 2)
        .field("framerate", gst::Fraction::new(30, 1))
        .build()
}

/// Frame `n` of 30 a second.
pub(crate) fn frame(n: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice([n as u8; 16]);
    let own = buffer.get_mut().unwrap();
    own.set_pts(gst::ClockTime::SECOND.mul_div_floor(n, 30).unwrap());
    own.set_duration(gst::ClockTime::SECOND / 30);
    own.set_offset(n);
    buffer
}

#[derive(Debug, Clone)]
pub(crate) enum Got {
    Frame(gst::Buffer),
    Event(gst::Event),
}

/// What a consumer does and what it got.
#[derive(Default)]
pub(crate) struct Record {
    got: Mutex<Vec<Got>>,
    stuck: Mutex<bool>,
    unstuck: Condvar,
    flow: Mutex<Option<gst::FlowError>>,
    /// Frames are not kept.
    pub(crate) forgetful: AtomicBool,
    pub(crate) queries: Mutex<Vec<String>>,
}

pub(crate) struct Consumer {
    pub(crate) pad: gst::Pad,
    pub(crate) sink: gst::Pad,
    pub(crate) record: Arc<Record>,
}

/// Answers a query in the consumer's place, or leaves it to the default.
pub(crate) type Answer = Box<dyn Fn(&mut gst::QueryRef) -> Option<bool> + Send + Sync>;

impl Consumer {
    /// A sink pad that records and, while stuck, does not return from a frame.
    pub(crate) fn sink(answer: Option<Answer>) -> (gst::Pad, Arc<Record>) {
        let record = Arc::new(Record::default());
        let [frames, events, queries] = [record.clone(), record.clone(), record.clone()];
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .name("consumer")
            .chain_function(move |_, _, buffer| frames.chain(buffer))
            .event_function(move |_, _, event| {
                events.got.lock().unwrap().push(Got::Event(event));
                true
            })
            .query_function(move |pad, parent, query| {
                let name = query.type_().name().to_string();
                queries.queries.lock().unwrap().push(name);
                let own = answer.as_ref().and_then(|answer| answer(query));
                own.unwrap_or_else(|| match query.view_mut() {
                    gst::QueryViewMut::Caps(caps) => {
                        let all = gst::Caps::new_any();
                        caps.set_result(&caps.filter_owned().unwrap_or(all));
                        true
                    }
                    gst::QueryViewMut::AcceptCaps(accept) => {
                        accept.set_result(true);
                        true
                    }
                    _ => gst::Pad::query_default(pad, parent, query),
                })
            })
            .build();
        sink.set_active(true).unwrap();
        (sink, record)
    }

    pub(crate) fn frames(&self) -> Vec<gst::Buffer> {
        let got = self.record.got.lock().unwrap();
        let frames = got.iter().filter_map(|got| match got {
            Got::Frame(frame) => Some(frame.clone()),
            Got::Event(_) => None,
        });
        frames.collect()
    }

    /// The offsets of the frames that came.
    pub(crate) fn offsets(&self) -> Vec<u64> {
        self.frames().iter().map(|frame| frame.offset()).collect()
    }

    /// What came, in order: names of event types, and numbers of frames.
    pub(crate) fn story(&self) -> Vec<String> {
        let got = self.record.got.lock().unwrap();
        let told = got.iter().map(|got| match got {
            Got::Frame(frame) => frame.offset().to_string(),
            Got::Event(event) => event.type_().name().to_string(),
        });
        told.collect()
    }

    pub(crate) fn events(&self, type_: gst::EventType) -> Vec<gst::Event> {
        let got = self.record.got.lock().unwrap();
        let events = got.iter().filter_map(|got| match got {
            Got::Event(event) if event.type_() == type_ => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }

    pub(crate) fn forget(&self) {
        self.record.got.lock().unwrap().clear();
    }

    /// From now on a push does not return, until [`unstick`](Self::unstick).
    pub(crate) fn stick(&self) {
        *self.record.stuck.lock().unwrap() = true;
    }

    pub(crate) fn unstick(&self) {
        *self.record.stuck.lock().unwrap() = false;
        self.record.unstuck.notify_all();
    }

    pub(crate) fn answer(&self, flow: Option<gst::FlowError>) {
        self.record.answer(flow);
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.pad.property(name)
    }

    pub(crate) fn level(&self) -> u32 {
        self.pad.property("current-level-buffers")
    }

    pub(crate) fn state(&self) -> String {
        self.stats().get("state").unwrap()
    }

    pub(crate) fn stats(&self) -> gst::Structure {
        self.pad.property("stats")
    }

    #[track_caller]
    pub(crate) fn wait_in_flight(&self) {
        wait_for("a frame in flight", || self.count("in-flight") == 1);
    }

    /// Until the consumer is done with all that came.
    #[track_caller]
    pub(crate) fn wait_idle(&self) {
        wait_for("an empty queue", || {
            let stats = self.stats();
            stats.get::<u32>("current-level-buffers").unwrap() == 0
                && stats.get::<u64>("in-flight").unwrap() == 0
        });
        assert_balanced(&self.stats());
    }
}

impl Record {
    pub(crate) fn answer(&self, flow: Option<gst::FlowError>) {
        *self.flow.lock().unwrap() = flow;
    }

    /// All that came, in order.
    pub(crate) fn got_all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if !self.forgetful.load(Ordering::Relaxed) {
            self.got.lock().unwrap().push(Got::Frame(buffer.clone()));
        }
        let stuck = self.stuck.lock().unwrap();
        drop(self.unstuck.wait_while(stuck, |stuck| *stuck).unwrap());
        self.flow
            .lock()
            .unwrap()
            .map_or(Ok(gst::FlowSuccess::Ok), Err)
    }
}

/// `in == out + Σ dropped + waiting + in-flight` in one snapshot.
#[track_caller]
pub(crate) fn assert_balanced(stats: &gst::StructureRef) {
    let count = |name: &str| stats.get::<u64>(name).unwrap();
    let reasons: u64 = REASONS
        .iter()
        .map(|reason| count(&format!("dropped-{reason}")))
        .sum();
    let waiting = u64::from(stats.get::<u32>("current-level-buffers").unwrap());
    assert_eq!(reasons, count("dropped"), "{stats}");
    assert_eq!(
        count("in"),
        count("out") + reasons + waiting + count("in-flight"),
        "{stats}"
    );
}

/// The element, what is upstream of it, and its bus.
pub(crate) struct Rig {
    pub(crate) tee: gst::Element,
    pub(crate) src: gst::Pad,
    pub(crate) upstream_events: Arc<Mutex<Vec<gst::Event>>>,
    pub(crate) bus: gst::Bus,
    consumers: Mutex<Vec<Arc<Record>>>,
}

impl Rig {
    /// In PLAYING, without caps yet.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&gst::Element)) -> Self {
        init();
        let tee = gst::ElementFactory::make("dronetee")
            .name("t")
            // A test that pauses is no source that has starved.
            .property("max-held", u32::MAX)
            .build()
            .unwrap();
        configure(&tee);
        let upstream_events = Arc::<Mutex<Vec<gst::Event>>>::default();
        let events = upstream_events.clone();
        let src = gst::Pad::builder(gst::PadDirection::Src)
            .name("upstream")
            .event_function(move |_, _, event| {
                events.lock().unwrap().push(event);
                true
            })
            .build();
        src.link(&tee.static_pad("sink").unwrap()).unwrap();
        src.set_active(true).unwrap();
        let bus = gst::Bus::new();
        tee.set_bus(Some(&bus));
        tee.set_state(gst::State::Playing).unwrap();
        Self {
            tee,
            src,
            upstream_events,
            bus,
            consumers: Mutex::default(),
        }
    }

    /// With stream-start, caps and segment sent.
    pub(crate) fn started() -> Self {
        let rig = Self::new();
        rig.begin(&caps(8));
        rig
    }

    pub(crate) fn begin(&self, caps: &gst::Caps) {
        assert!(self.src.push_event(gst::event::StreamStart::new("stream")));
        assert!(self.src.push_event(gst::event::Caps::new(caps)));
        self.segment();
    }

    pub(crate) fn segment(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.src.push_event(gst::event::Segment::new(&segment)));
    }

    /// With the segment after it.
    pub(crate) fn flush(&self) {
        for event in [
            gst::event::FlushStart::new(),
            gst::event::FlushStop::new(true),
        ] {
            assert!(self.src.push_event(event));
        }
        self.segment();
    }

    pub(crate) fn consumer(&self, name: &str) -> Consumer {
        self.consumer_with(name, None)
    }

    pub(crate) fn consumer_with(&self, name: &str, answer: Option<Answer>) -> Consumer {
        let pad = self.tee.request_pad_simple(&format!("src_{name}")).unwrap();
        self.link(pad, answer)
    }

    /// A consumer behind a pad that is there already.
    pub(crate) fn link(&self, pad: gst::Pad, answer: Option<Answer>) -> Consumer {
        let (sink, record) = Consumer::sink(answer);
        pad.link(&sink).unwrap();
        self.consumers.lock().unwrap().push(record.clone());
        Consumer { pad, sink, record }
    }

    /// A consumer that is stuck with frame 0 and whose queue of four is full.
    pub(crate) fn full_consumer(&self, name: &str) -> Consumer {
        let consumer = self.consumer(name);
        consumer.stick();
        self.push(0).unwrap();
        consumer.wait_in_flight();
        self.push_all(1..5);
        assert_eq!((consumer.level(), consumer.count("dropped")), (4, 0));
        consumer
    }

    /// A consumer that does not return from its first frame.
    pub(crate) fn stuck_consumer(&self, name: &str) -> Consumer {
        let pad = self.tee.request_pad_simple(&format!("src_{name}")).unwrap();
        let (sink, record) = Consumer::sink(None);
        self.consumers.lock().unwrap().push(record.clone());
        let consumer = Consumer { pad, sink, record };
        consumer.stick();
        consumer.pad.link(&consumer.sink).unwrap();
        consumer.wait_in_flight();
        consumer
    }

    pub(crate) fn push(&self, n: u64) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.src.push(frame(n))
    }

    pub(crate) fn push_all(&self, range: std::ops::Range<u64>) {
        for n in range {
            self.push(n).unwrap();
        }
    }

    /// The element messages of that name that have come.
    pub(crate) fn messages(&self, name: &str) -> Vec<gst::Structure> {
        let mut found = Vec::new();
        while let Some(message) = self.bus.pop() {
            if let Some(structure) = message.structure().filter(|s| s.name() == name) {
                found.push(structure.to_owned());
            }
        }
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for record in self.consumers.lock().unwrap().iter() {
            *record.stuck.lock().unwrap() = false;
            record.unstuck.notify_all();
        }
        self.tee.set_bus(None);
        let _ = self.tee.set_state(gst::State::Null);
    }
}

/// What a camera sends to launch lines that take no sound. GStreamer 1.24 and later may end an `rtspsrc` of which a stream
/// is not linked, before the first frame, with `tee` as with `dronetee`.
pub(crate) fn streams_for_video_lines() -> crate::rtsp_server::Streams {
    if gst::version() < (1, 24, 0, 0) {
        crate::rtsp_server::Streams::VideoAndAudio
    } else {
        crate::rtsp_server::Streams::Video
    }
}
