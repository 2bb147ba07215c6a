// SPDX-License-Identifier: MPL-2.0
//! One round's pipeline: sources, one or two `dronetee`s, their consumers, what hangs behind them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use crate::fault::{fault, note, note_world, wait_until, watch};
use crate::ledger::{self, Told, check_element, count};
use crate::receiver::Receiver;
use crate::rng::Rng;
use crate::sink::{self, Branch};
use crate::source::{self, Source};
use crate::witness::{Marks, Passage};

/// What a synchronous bus handler does at the next message.
pub(crate) enum Errand {
    ReadAll,
    Release(gst::Pad),
    Remove(gst::Pad),
    Request(Option<String>),
    Unlink(gst::Pad),
    Depth(u32),
}

/// What the bus handler of one element shares with the driver.
#[derive(Default)]
pub(crate) struct Handler {
    pub(crate) errands: Mutex<VecDeque<Errand>>,
    /// Pads that it requested.
    pub(crate) requested: Mutex<Vec<gst::Pad>>,
    pub(crate) told: Told,
}

/// What feeds a `dronetee`.
pub(crate) enum Feed {
    Own(Source),
    /// Elements of the pipeline.
    Elements,
}

pub(crate) struct Tee {
    pub(crate) element: gst::Element,
    pub(crate) feed: Feed,
    pub(crate) is_coded: bool,
    pub(crate) marks: Arc<Marks>,
    pub(crate) handler: Arc<Handler>,
    pub(crate) marks_before: u64,
}

pub(crate) struct Consumer {
    pub(crate) tee: usize,
    pub(crate) pad: gst::Pad,
    pub(crate) passage: Arc<Passage>,
    pub(crate) branch: Option<Branch>,
    pub(crate) blocks: Vec<gst::PadProbeId>,
    /// It was linked to an element that holds a frame until its other inputs have one too.
    may_hang: bool,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) tees: Vec<Tee>,
    pub(crate) consumers: Vec<Consumer>,
    /// Branches without a link.
    pub(crate) orphans: Vec<Branch>,
    pub(crate) receivers: Vec<Receiver>,
    /// Branches whose pad an errand takes away.
    pub(crate) leaving: Vec<(gst::Pad, Branch)>,
    /// Calls that other threads make meanwhile.
    calls: Vec<std::thread::JoinHandle<()>>,
    pub(crate) next_name: u64,
    pub(crate) next_link: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let pipeline = gst::Pipeline::new();
        pipeline.set_auto_flush_bus(false);
        let mut world = Self {
            tees: Vec::new(),
            consumers: Vec::new(),
            orphans: Vec::new(),
            receivers: Vec::new(),
            leaving: Vec::new(),
            calls: Vec::new(),
            next_name: 0,
            next_link: 0,
            pipeline,
            rng: Rng::new(rng.next()),
        };
        let count = if world.rng.once_in(4) { 2 } else { 1 };
        for index in 0..count {
            world.add_tee(index);
        }
        world.install_handler();
        let feeds = world
            .tees
            .iter()
            .map(|tee| match (&tee.feed, tee.is_coded) {
                (Feed::Own(_), false) => "raw",
                (Feed::Own(_), true) => "H.264",
                (Feed::Elements, false) => "videotestsrc",
                (Feed::Elements, true) => "x264enc",
            });
        note_world(format!("fed by {:?}", feeds.collect::<Vec<_>>()));
        watch("start the pipeline", || {
            world.pipeline.set_state(gst::State::Playing)
        })
        .ok();
        for tee in &world.tees {
            if let Feed::Own(source) = &tee.feed {
                source.go_on();
            }
        }
        world
    }

    fn add_tee(&mut self, index: usize) {
        let element = gst::ElementFactory::make("dronetee")
            .name(format!("tee{index}"))
            .build()
            .unwrap();
        self.pipeline.add(&element).unwrap();
        let sink = element.static_pad("sink").unwrap();
        let marks = Arc::new(Marks::default());
        marks.install(&sink);
        let is_coded = self.rng.once_in(3);
        let feed = match self.rng.below(4) {
            0 => {
                feed_by_elements(&self.pipeline, is_coded, &sink);
                Feed::Elements
            }
            _ => {
                let formats = if is_coded {
                    source::coded()
                } else {
                    source::raw()
                };
                let source = Source::start(&format!("source{index}"), formats, &sink);
                source.pause();
                Feed::Own(source)
            }
        };
        element.set_property(
            "drop-messages-interval",
            *self.rng.pick(&[0_u32, 1, 10, 1000]),
        );
        self.tees.push(Tee {
            element,
            feed,
            is_coded,
            marks,
            handler: Arc::default(),
            marks_before: 0,
        });
    }

    fn install_handler(&self) {
        let tees = self.tees.iter();
        let tees = tees.map(|tee| (tee.element.downgrade(), tee.handler.clone()));
        let tees: Vec<_> = tees.collect();
        let bus = self.pipeline.bus().unwrap();
        bus.set_sync_handler(move |_, message| {
            let of = |(tee, _): &&(glib::WeakRef<gst::Element>, _)| {
                message.src().is_some()
                    && tee.upgrade().as_ref().map(Cast::upcast_ref) == message.src()
            };
            if let Some((tee, handler)) = tees.iter().find(of)
                && let Some(structure) = message.structure()
                && message.type_() == gst::MessageType::Element
                && let Some(tee) = tee.upgrade()
            {
                handler.told.note(structure);
                let errand = handler.errands.lock().unwrap().pop_front();
                if let Some(errand) = errand {
                    watch("a handler's errand", || handler.run(&tee, errand));
                }
            }
            gst::BusSyncReply::Drop
        });
    }

    pub(crate) fn name(&mut self, of: &str) -> String {
        self.next_name += 1;
        format!("{of}{}", self.next_name)
    }

    /// Makes a call, in half of the cases by a thread of its own.
    pub(crate) fn call(&mut self, what: &str, call: impl FnOnce() + Send + 'static) {
        self.calls.retain(|one| !one.is_finished());
        if self.rng.once_in(2) || self.calls.len() > 3 {
            return watch(what, call);
        }
        let what = what.to_owned();
        let calling = std::thread::Builder::new().name("stress:call".into());
        let calling = calling.spawn(move || watch(&what, call)).unwrap();
        self.calls.push(calling);
    }

    /// Waits for the calls of other threads.
    pub(crate) fn join_calls(&mut self) {
        for call in self.calls.drain(..) {
            watch("join a call", || call.join()).unwrap();
        }
    }

    /// Takes over a pad that was requested.
    pub(crate) fn adopt(&mut self, tee: usize, pad: gst::Pad) {
        let passage = Arc::new(Passage {
            name: pad.name().into(),
            marks: self.tees[tee].marks.clone(),
            ..Passage::default()
        });
        passage.install(&pad);
        self.consumers.push(Consumer {
            tee,
            pad,
            passage,
            branch: None,
            blocks: Vec::new(),
            may_hang: false,
        });
    }

    pub(crate) fn adopt_requested(&mut self) {
        for tee in 0..self.tees.len() {
            let requested = std::mem::take(&mut *self.tees[tee].handler.requested.lock().unwrap());
            for pad in requested {
                self.adopt(tee, pad);
            }
        }
    }

    /// A branch of any kind.
    pub(crate) fn new_branch(&mut self, is_coded: bool) -> Option<Branch> {
        let name = self.name("branch");
        let pipeline = self.pipeline.clone();
        let rng = &mut self.rng;
        match rng.below(12) {
            0..5 => Some(sink::bare(&name, rng)),
            5..10 => sink::chain(&name, &pipeline, is_coded, rng),
            10 => {
                let factory = match is_coded {
                    true => *rng.pick(&["funnel", "input-selector"]),
                    false => *rng.pick(&["funnel", "input-selector", "compositor"]),
                };
                let factory = factory.to_owned();
                sink::input(&name, &pipeline, &factory, rng)
            }
            _ => sink::proxy(&name, &pipeline),
        }
    }

    /// Links; a branch that can not be linked becomes an orphan.
    pub(crate) fn link(&mut self, consumer: usize, branch: Branch, checks: gst::PadLinkCheck) {
        self.next_link += 1;
        let link = self.next_link;
        let Some(at) = self.consumers.get_mut(consumer) else {
            self.orphans.push(branch);
            return;
        };
        at.may_hang |= branch.hub.is_some();
        branch.witness.link.store(link, Ordering::SeqCst);
        at.passage.link.store(link, Ordering::SeqCst);
        let linked = watch("link", || at.pad.link_full(&branch.head, checks));
        match linked {
            Ok(_) if at.branch.is_none() => at.branch = Some(branch),
            _ => self.orphans.push(branch),
        }
    }

    pub(crate) fn unlink(&mut self, consumer: usize) -> Option<Branch> {
        let at = self.consumers.get_mut(consumer)?;
        let branch = at.branch.take()?;
        watch("unlink", || at.pad.unlink(&branch.head)).ok();
        Some(branch)
    }

    pub(crate) fn controls(&self) -> impl Iterator<Item = &Branch> {
        let linked = self.consumers.iter().filter_map(|one| one.branch.as_ref());
        let leaving = self.leaving.iter().map(|(_, branch)| branch);
        linked.chain(&self.orphans).chain(leaving)
    }

    /// No branch of elements sticks: they could not be stopped.
    pub(crate) fn unstick(&mut self, also_bare: bool) {
        for branch in self.controls() {
            if also_bare || !branch.is_bare() {
                branch.control.unstick();
            }
        }
    }

    /// Takes out what can not be stopped and started again.
    pub(crate) fn drop_run_once(&mut self) {
        for consumer in 0..self.consumers.len() {
            let branch = self.consumers[consumer].branch.as_ref();
            if branch.is_some_and(Branch::runs_once) {
                let branch = self.unlink(consumer);
                self.orphans.extend(branch);
            }
        }
        let all = self.orphans.drain(..);
        let (gone, kept): (Vec<_>, Vec<_>) = all.partition(Branch::runs_once);
        self.orphans = kept;
        for branch in gone {
            branch.dispose(&self.pipeline);
        }
    }

    pub(crate) fn unblock(&mut self) {
        for consumer in &mut self.consumers {
            for block in consumer.blocks.drain(..) {
                consumer.pad.remove_probe(block);
            }
        }
    }

    /// To be called when a `dronetee` is stopped, before it starts again.
    pub(crate) fn begin_life(&mut self, tee: usize) {
        let told = &self.tees[tee].handler.told;
        told.begin_life();
        if self.tees[tee].element.property("post-drop-messages") {
            told.mute(false);
        }
        self.tees[tee].marks_before = self.tees[tee].marks.count();
        for consumer in self.consumers.iter().filter(|one| one.tee == tee) {
            *consumer.passage.missed.lock().unwrap() = None;
            let pushes = consumer.passage.pushes.load(Ordering::SeqCst);
            consumer
                .passage
                .pushes_before
                .store(pushes, Ordering::SeqCst);
        }
    }

    /// What has to hold at any time.
    pub(crate) fn check(&self) {
        for (index, tee) in self.tees.iter().enumerate() {
            let pushes: Vec<_> = self
                .consumers
                .iter()
                .filter(|one| one.tee == index)
                .map(|one| one.passage.own_pushes())
                .collect();
            let (stats, pads) = watch("stats", || check_element(&tee.element));
            let came = tee.marks.count() - tee.marks_before;
            let published = count(&stats, "published");
            if published > came {
                fault(format!("{came} frames came in, but: {stats}"));
            }
            let own = self.consumers.iter().filter(|one| one.tee == index);
            for (consumer, before) in own.zip(pushes) {
                let name = consumer.pad.name();
                let is_it = |pad: &&gst::Structure| pad.get::<String>("pad").unwrap() == name;
                let Some(pad) = pads.iter().find(is_it) else {
                    continue;
                };
                consumer.check(pad, before);
                if count(pad, "in") == 0 {
                    // It has not joined.
                    continue;
                }
                let missed = published as i64 - count(pad, "in") as i64;
                let known = consumer.passage.missed.lock().unwrap().replace(missed);
                if let Some(known) = known
                    && missed > known
                {
                    fault(format!(
                        "frames did not arrive, {known} then {missed} were missed: {pad}"
                    ));
                }
            }
        }
    }

    /// Everybody takes, and the pipeline plays.
    pub(crate) fn mend(&mut self) {
        self.unblock();
        // It may never go on after a second stream.
        self.drop_run_once();
        self.unstick(true);
        for branch in self.controls() {
            branch.control.set(sink::Mode::Takes);
        }
        self.join_calls();
        for tee in &self.tees {
            let mut errands = tee.handler.errands.lock().unwrap();
            errands.retain(|errand| !matches!(errand, Errand::Unlink(_)));
        }
        watch("play", || self.pipeline.set_state(gst::State::Playing)).ok();
        for element in self.controls().flat_map(|branch| &branch.elements) {
            watch("play a branch", || element.sync_state_with_parent()).ok();
        }
        for tee in &self.tees {
            let Feed::Own(source) = &tee.feed else {
                continue;
            };
            source.set_period(Duration::from_millis(2));
            if source.has_ended() {
                source.order(source::Order::Stream);
            }
        }
        self.drop_standing();
    }

    /// Takes out the branches of elements of GStreamer's that keep a push for good.
    fn drop_standing(&mut self) {
        let stands =
            |branch: &Branch| branch.may_stand_still() && !branch.is_free(Duration::from_secs(2));
        for consumer in 0..self.consumers.len() {
            if self.consumers[consumer].branch.as_ref().is_some_and(stands) {
                let branch = self.unlink(consumer);
                self.orphans.extend(branch);
            }
        }
        let all = self.orphans.drain(..);
        let (gone, kept): (Vec<_>, Vec<_>) = all.partition(stands);
        self.orphans = kept;
        for branch in gone {
            note(format!("{} stands still", branch.name));
            branch.dispose(&self.pipeline);
        }
    }

    /// A branch that takes gets frames.
    pub(crate) fn check_progress(&mut self, consumer: usize) {
        let Some(at) = self.consumers.get(consumer) else {
            return;
        };
        if at.may_hang {
            return;
        }
        let (pad, tee) = (at.pad.clone(), at.tee);
        let Feed::Own(_) = &self.tees[tee].feed else {
            return;
        };
        self.mend();
        if let Some(branch) = self.unlink(consumer) {
            self.orphans.push(branch);
        }
        for name in ["max-age", "max-lag", "max-size-time"] {
            pad.set_property(name, 0_u64);
        }
        if pad.find_property("enabled").is_some() {
            pad.set_property("enabled", true);
        }
        if !pad.is_active() {
            watch("activate", || pad.set_active(true)).ok();
        }
        let name = self.name("witness");
        let branch = sink::plain(&name);
        let control = branch.control.clone();
        self.link(consumer, branch, gst::PadLinkCheck::DEFAULT);
        let element = self.tees[tee].element.clone();
        let what = || {
            format!(
                "{}: a linked sink that takes gets no frames: {} of {}, {:?}",
                pad.name(),
                pad.property::<gst::Structure>("stats"),
                element.property::<gst::Structure>("stats"),
                element.state(gst::ClockTime::ZERO),
            )
        };
        wait_until(what, || control.taken.load(Ordering::SeqCst) >= 3);
    }

    /// The source rests, all take: what was pushed is what the accounts say.
    pub(crate) fn check_at_rest(&mut self) {
        let is_own = |tee: &Tee| matches!(tee.feed, Feed::Own(_));
        if !self.tees.iter().all(is_own) {
            return;
        }
        self.mend();
        let pads = self.consumers.iter().filter(|one| !one.may_hang);
        let pads: Vec<_> = pads.map(|one| one.pad.clone()).collect();
        for tee in &self.tees {
            let Feed::Own(source) = &tee.feed else { return };
            source.pause();
        }
        for pad in &pads {
            let what = || {
                format!(
                    "an empty queue: {}",
                    pad.property::<gst::Structure>("stats")
                )
            };
            wait_until(what, || {
                let stats = pad.property::<gst::Structure>("stats");
                ledger::check_pad(&stats);
                count(&stats, "in-flight") == 0 && count(&stats, "current-level-buffers") == 0
            });
        }
        for tee in &self.tees {
            let published = tee.element.property::<u64>("published");
            let came = tee.marks.count() - tee.marks_before;
            if published != came {
                fault(format!("{came} frames came in, {published} were published"));
            }
        }
        self.check();
        for tee in &self.tees {
            if let Feed::Own(source) = &tee.feed {
                source.go_on();
            }
        }
    }
}

impl Passage {
    pub(crate) fn own_pushes(&self) -> u64 {
        let before = self.pushes_before.load(Ordering::SeqCst);
        self.pushes.load(Ordering::SeqCst) - before
    }
}

impl Consumer {
    /// Compares the accounts with what a probe saw; `before` is what it had seen before them.
    fn check(&self, stats: &gst::StructureRef, before: u64) {
        let after = self.passage.own_pushes();
        let out = count(stats, "out");
        if out > after {
            fault(format!("{after} frames were pushed, but: {stats}"));
        }
        let lost = ["flushing", "not-linked", "eos", "error"];
        let lost = lost.map(|reason| count(stats, &format!("dropped-{reason}")));
        let most = out + count(stats, "in-flight") + lost.iter().sum::<u64>();
        if before > most {
            fault(format!("{before} frames were pushed, but: {stats}"));
        }
    }
}

impl Handler {
    fn run(&self, tee: &gst::Element, errand: Errand) {
        match errand {
            Errand::ReadAll => read_all(tee),
            Errand::Release(pad) => tee.release_request_pad(&pad),
            Errand::Remove(pad) => drop(tee.remove_pad(&pad)),
            Errand::Request(name) => {
                let name = name.unwrap_or_else(|| "src_%u".into());
                let pad = tee.request_pad_simple(&name);
                self.requested.lock().unwrap().extend(pad);
            }
            Errand::Unlink(pad) => {
                if let Some(peer) = pad.peer() {
                    let _ = pad.unlink(&peer);
                }
            }
            Errand::Depth(depth) => tee.set_property("depth", depth),
        }
    }
}

/// Reads every property of the element and of its pads.
pub(crate) fn read_all(tee: &gst::Element) {
    check_element(tee);
    let read = |object: &glib::Object| {
        for spec in object.list_properties() {
            if spec.flags().contains(glib::ParamFlags::READABLE) {
                object.property_value(spec.name());
            }
        }
    };
    read(tee.upcast_ref());
    for pad in tee.pads() {
        read(pad.upcast_ref());
    }
}

fn feed_by_elements(pipeline: &gst::Pipeline, is_coded: bool, sink: &gst::Pad) {
    let launch = match is_coded {
        false => {
            "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=200/1 ! identity"
        }
        true => {
            "videotestsrc is-live=true ! video/x-raw,format=I420,width=64,height=48,framerate=100/1 \
             ! x264enc tune=zerolatency key-int-max=12 speed-preset=ultrafast ! h264parse \
             ! video/x-h264,stream-format=byte-stream,alignment=au ! identity"
        }
    };
    let bin = gst::parse::bin_from_description(launch, true).unwrap();
    pipeline.add(&bin).unwrap();
    bin.static_pad("src").unwrap().link(sink).unwrap();
}

impl Consumer {
    /// The last accounts of a pad that has left.
    pub(crate) fn check_released(&self) {
        let stats = self.pad.property::<gst::Structure>("stats");
        ledger::check_pad(&stats);
        for name in ["current-level-buffers", "in-flight"] {
            if count(&stats, name) != 0 {
                fault(format!("it was released: {stats}"));
            }
        }
    }
}
