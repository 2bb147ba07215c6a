// SPDX-License-Identifier: MPL-2.0
//! What is behind a src pad: pads and elements that take frames, stick, are slow, or fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use gst::prelude::*;

use crate::fault::watch;
use crate::rng::Rng;
use crate::witness::Witness;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Takes,
    /// Does not return from a frame until the mode changes.
    Sticks,
    /// Milliseconds a frame.
    Slow(u64),
    Answers(gst::FlowError),
}

impl Mode {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let flows = [
            gst::FlowError::Error,
            gst::FlowError::NotNegotiated,
            gst::FlowError::Eos,
            gst::FlowError::NotLinked,
            gst::FlowError::Flushing,
            gst::FlowError::CustomError,
        ];
        match rng.below(8) {
            0..3 => Self::Takes,
            3..5 => Self::Sticks,
            5 | 6 => Self::Slow(1 + rng.below(40) as u64),
            _ => Self::Answers(*rng.pick(&flows)),
        }
    }
}

/// What the driver has a sink do.
#[derive(Default)]
pub(crate) struct Control {
    mode: Mutex<Mode>,
    changed: Condvar,
    pub(crate) taken: AtomicU64,
}

impl Control {
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
        self.changed.notify_all();
    }

    /// A sink that sticks takes again.
    pub(crate) fn unstick(&self) {
        let mut mode = self.mode.lock().unwrap();
        if *mode == Mode::Sticks {
            *mode = Mode::Takes;
        }
        self.changed.notify_all();
    }

    fn take(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        let sticks = |mode: &mut Mode| *mode == Mode::Sticks;
        let mode = *self
            .changed
            .wait_while(self.mode.lock().unwrap(), sticks)
            .unwrap();
        match mode {
            Mode::Slow(time) => std::thread::sleep(Duration::from_millis(time)),
            Mode::Answers(flow) => return Err(flow),
            _ => {}
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(gst::FlowSuccess::Ok)
    }

    /// Puts the control before an element.
    fn install(self: &Arc<Self>, pad: &gst::Pad) {
        let control = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            match control.take() {
                Ok(_) => gst::PadProbeReturn::Ok,
                Err(flow) => {
                    info.data = None;
                    info.flow_res = Err(flow);
                    gst::PadProbeReturn::Handled
                }
            }
        });
    }
}

/// What hangs, or could hang, behind a src pad.
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) head: gst::Pad,
    pub(crate) witness: Arc<Witness>,
    pub(crate) control: Arc<Control>,
    pub(crate) elements: Vec<gst::Element>,
    /// It is an input of this element, which others share.
    pub(crate) hub: Option<gst::Element>,
    /// A pipeline of its own, fed by a proxysink.
    pub(crate) beyond: Option<gst::Pipeline>,
}

/// How a bare pad answers.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Plain,
    Narrow,
    Pool,
    Refuses,
    Slow,
}

/// A sink pad without an element.
pub(crate) fn bare(name: &str, rng: &mut Rng) -> Branch {
    let manner = rng.pick(&[
        Manner::Plain,
        Manner::Plain,
        Manner::Narrow,
        Manner::Pool,
        Manner::Refuses,
        Manner::Slow,
    ]);
    bare_as(name, *manner)
}

/// One that takes all.
pub(crate) fn plain(name: &str) -> Branch {
    bare_as(name, Manner::Plain)
}

fn bare_as(name: &str, manner: Manner) -> Branch {
    let control = Arc::new(Control::default());
    let taking = control.clone();
    let head = gst::Pad::builder(gst::PadDirection::Sink)
        .name(name)
        .chain_function(move |_, _, _| taking.take())
        .event_function(|_, _, _| true)
        .query_function(move |pad, parent, query| answer(manner, pad, parent, query))
        .build();
    let witness = Arc::new(Witness::default());
    witness.install(&head);
    head.set_active(true).unwrap();
    Branch {
        name: name.to_owned(),
        kind: format!("bare {manner:?}"),
        head,
        witness,
        control,
        elements: Vec::new(),
        hub: None,
        beyond: None,
    }
}

fn answer(
    manner: Manner,
    pad: &gst::Pad,
    parent: Option<&gst::Object>,
    query: &mut gst::QueryRef,
) -> bool {
    // Slow in answering whether it takes caps would be slow outside of its stream lock, in the middle of a push.
    if matches!(manner, Manner::Slow) && query.type_() != gst::QueryType::AcceptCaps {
        std::thread::sleep(Duration::from_millis(30));
    }
    match query.view_mut() {
        gst::QueryViewMut::Caps(caps) => {
            let own = match manner {
                Manner::Narrow => gst::Caps::from_iter([
                    gst::Structure::builder("video/x-raw")
                        .field("height", gst::IntRange::new(1, 32))
                        .build(),
                    gst::Structure::new_empty("video/x-h264"),
                ]),
                _ => gst::Caps::new_any(),
            };
            let filtered = match caps.filter() {
                Some(filter) => own.intersect_with_mode(filter, gst::CapsIntersectMode::First),
                None => own,
            };
            caps.set_result(&filtered);
            true
        }
        gst::QueryViewMut::AcceptCaps(accept) => {
            accept.set_result(true);
            true
        }
        gst::QueryViewMut::Allocation(allocation) => {
            if let Manner::Pool = manner {
                allocation.add_allocation_pool(None::<&gst::BufferPool>, 512, 3, 0);
                allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
            }
            !matches!(manner, Manner::Refuses)
        }
        gst::QueryViewMut::Custom(_) => !matches!(manner, Manner::Refuses),
        _ => gst::Pad::query_default(pad, parent, query),
    }
}

/// Launch lines of branches, for raw video and for H.264.
const RAW: [&str; 13] = [
    "fakesink async=false sync=false",
    "queue ! fakesink async=false sync=false",
    "queue ! fakesink async=false sync=true",
    "queue leaky=downstream max-size-buffers=2 ! fakesink async=false sync=false",
    "multiqueue max-size-buffers=3 ! fakesink async=false sync=false",
    "identity sleep-time=2000 ! fakesink async=false sync=false",
    "valve name=valve ! queue ! fakesink async=false sync=false",
    "identity error-after=20 ! fakesink async=false sync=false",
    "fakesink async=false sync=false num-buffers=30",
    "videoconvert ! videoscale ! video/x-raw,width=8,height=8 ! fakesink async=false sync=false",
    "queue ! tee name=split ! queue ! fakesink async=false sync=false split. ! queue ! fakesink async=false",
    "queue ! dronetee name=inner ! queue ! fakesink async=false inner. ! fakesink async=false",
    "queue ! fakesink async=true sync=true",
];
const CODED: [&str; 9] = [
    "fakesink async=false sync=false",
    "queue ! fakesink async=false sync=false",
    "queue ! h264parse ! fakesink async=false sync=false",
    "queue ! h264parse ! avdec_h264 ! fakesink async=false sync=false",
    "h264parse ! avdec_h264 max-threads=1 ! fakesink async=false sync=false",
    "queue ! h264parse ! openh264dec ! fakesink async=false sync=false",
    "multiqueue ! h264parse config-interval=-1 ! fakesink async=false sync=false",
    "identity error-after=20 ! fakesink async=false sync=false",
    "queue ! dronetee name=inner gop-cache=30 ! queue ! fakesink async=false inner. ! fakesink async=false",
];
const SPLIT: &str =
    "queue ! h264parse ! splitmuxsink async-finalize=false max-size-time=500000000 location=";

/// Where splitmuxsink writes to.
pub(crate) fn recordings() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("dronetee-stress-{}", std::process::id()))
}

/// A chain of elements, as a bin or element by element.
pub(crate) fn chain(
    name: &str,
    pipeline: &gst::Pipeline,
    is_coded: bool,
    rng: &mut Rng,
) -> Option<Branch> {
    let mut line = match is_coded {
        false => (*rng.pick(&RAW)).to_owned(),
        true => (*rng.pick(&CODED)).to_owned(),
    };
    if is_coded && rng.once_in(8) {
        let folder = recordings();
        let _ = std::fs::create_dir_all(&folder);
        line = format!("{SPLIT}{}/{name}-%03d.mp4", folder.display());
    }
    if rng.once_in(5) && gst::ElementFactory::find("dronebranch").is_some() {
        line = format!("dronebranch description=\"{line}\" restart-delay=20000000");
    }
    let bin = gst::parse::bin_from_description(&line, true).ok()?;
    bin.set_property("name", name);
    let head = bin.static_pad("sink")?;
    let control = Arc::new(Control::default());
    let target = head.downcast_ref::<gst::GhostPad>()?.target()?;
    let witness = Arc::new(Witness::default());
    witness.install(&head);
    control.install(&target);
    pipeline.add(&bin).ok()?;
    watch("sync_state_with_parent", || bin.sync_state_with_parent()).ok();
    Some(Branch {
        name: name.to_owned(),
        kind: line,
        head,
        witness,
        control,
        elements: vec![bin.upcast()],
        hub: None,
        beyond: None,
    })
}

/// An input, behind a queue or by itself, of an element that several branches share.
pub(crate) fn input(
    name: &str,
    pipeline: &gst::Pipeline,
    factory: &str,
    rng: &mut Rng,
) -> Option<Branch> {
    let hub_name = format!("hub-{factory}");
    let hub = match pipeline.by_name(&hub_name) {
        Some(hub) => hub,
        None => {
            let hub = gst::ElementFactory::make(factory)
                .name(&hub_name)
                .build()
                .ok()?;
            let sink = gst::ElementFactory::make("fakesink")
                .property("async", false)
                .build()
                .ok()?;
            pipeline.add_many([&hub, &sink]).ok()?;
            hub.link(&sink).ok()?;
            for element in [&sink, &hub] {
                watch("sync_state_with_parent", || {
                    element.sync_state_with_parent()
                })
                .ok();
            }
            hub
        }
    };
    let input = hub.request_pad_simple("sink_%u")?;
    let mut elements = Vec::new();
    let mut head = input.clone();
    if !rng.once_in(3) {
        let queue = gst::ElementFactory::make("queue").name(name).build().ok()?;
        pipeline.add(&queue).ok()?;
        queue.static_pad("src")?.link(&input).ok()?;
        watch("sync_state_with_parent", || queue.sync_state_with_parent()).ok();
        head = queue.static_pad("sink")?;
        elements.push(queue);
    }
    let control = Arc::new(Control::default());
    let witness = Arc::new(Witness::default());
    witness.install(&head);
    control.install(&head);
    Some(Branch {
        name: name.to_owned(),
        kind: format!("input of {factory}"),
        head,
        witness,
        control,
        elements,
        hub: Some(hub),
        beyond: None,
    })
}

/// A queue and a proxysink, and a second pipeline that takes from it.
pub(crate) fn proxy(name: &str, pipeline: &gst::Pipeline) -> Option<Branch> {
    let make = |factory| gst::ElementFactory::make(factory).build().ok();
    let queue = gst::ElementFactory::make("queue").name(name).build().ok()?;
    let (proxysink, proxysrc) = (make("proxysink")?, make("proxysrc")?);
    pipeline.add_many([&queue, &proxysink]).ok()?;
    queue.link(&proxysink).ok()?;
    let beyond = gst::Pipeline::new();
    let fakesink = gst::ElementFactory::make("fakesink")
        .property("async", false)
        .build()
        .ok()?;
    beyond.add_many([&proxysrc, &fakesink]).ok()?;
    proxysrc.link(&fakesink).ok()?;
    proxysrc.set_property("proxysink", &proxysink);
    watch("set_state(beyond)", || {
        beyond.set_state(gst::State::Playing)
    })
    .ok()?;
    for element in [&proxysink, &queue] {
        watch("sync_state_with_parent", || {
            element.sync_state_with_parent()
        })
        .ok();
    }
    let head = queue.static_pad("sink")?;
    let control = Arc::new(Control::default());
    let witness = Arc::new(Witness::default());
    witness.install(&head);
    control.install(&head);
    Some(Branch {
        name: name.to_owned(),
        kind: "queue ! proxysink".into(),
        head,
        witness,
        control,
        elements: vec![queue, proxysink],
        hub: None,
        beyond: Some(beyond),
    })
}

impl Branch {
    pub(crate) fn is_bare(&self) -> bool {
        self.elements.is_empty() && self.hub.is_none()
    }

    /// It can not be started a second time, whatever is in front of it.
    pub(crate) fn runs_once(&self) -> bool {
        self.kind.contains("splitmuxsink")
    }

    /// What was pushed into it comes back in time.
    pub(crate) fn is_free(&self, patience: Duration) -> bool {
        let (sender, free) = std::sync::mpsc::channel();
        let head = self.head.clone();
        std::thread::spawn(move || {
            drop(head.stream_lock());
            let _ = sender.send(());
        });
        free.recv_timeout(patience).is_ok()
    }

    /// A queue of GStreamer's takes a STREAM_START for the end of its EOS although its thread has still
    /// to stop after that EOS: a full one then keeps what is pushed into it for good, as behind `tee`.
    pub(crate) fn may_stand_still(&self) -> bool {
        match self.kind.contains("drone") {
            // A thread that is in the push of an inner one is another matter.
            true => self.has_paused_queue(),
            false => self.kind.contains("queue"),
        }
    }

    fn has_paused_queue(&self) -> bool {
        let bins = self
            .elements
            .iter()
            .filter_map(|element| element.downcast_ref::<gst::Bin>());
        self.elements.iter().any(is_paused_queue) || bins.into_iter().any(has_paused_queue)
    }

    /// It can not be stopped and started again: it never can, or a proxysrc's queue stands still and keeps the thread that
    /// would have to stop.
    pub(crate) fn stops_for_good(&self) -> bool {
        self.runs_once()
            || self
                .beyond
                .as_ref()
                .is_some_and(|beyond| has_paused_queue(beyond.upcast_ref()))
    }

    /// Takes it out of the pipeline; it must not be linked.
    pub(crate) fn dispose(self, pipeline: &gst::Pipeline) {
        self.control.set(Mode::Takes);
        if self.is_bare() {
            watch("deactivate a bare sink", || self.head.set_active(false)).ok();
        }
        if let Some(beyond) = &self.beyond {
            watch("stop beyond", || beyond.set_state(gst::State::Null)).ok();
        }
        for element in &self.elements {
            watch("stop a branch", || element.set_state(gst::State::Null)).ok();
            pipeline.remove(element).ok();
        }
        if let Some(hub) = &self.hub {
            let inputs = hub.sink_pads();
            let own = |pad: &&gst::Pad| !pad.is_linked() || **pad == self.head;
            for pad in inputs.iter().filter(own) {
                watch("release an input", || hub.release_request_pad(pad));
            }
        }
    }
}

fn has_paused_queue(bin: &gst::Bin) -> bool {
    bin.iterate_recurse()
        .into_iter()
        .flatten()
        .any(|element| is_paused_queue(&element))
}

fn is_paused_queue(element: &gst::Element) -> bool {
    let is_queue = element
        .factory()
        .is_some_and(|factory| factory.name() == "queue");
    let is_paused = |pad: gst::Pad| pad.task_state() == gst::TaskState::Paused;
    is_queue && element.static_pad("src").is_some_and(is_paused)
}
