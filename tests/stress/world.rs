// SPDX-License-Identifier: MPL-2.0
//! One round's pipeline: sources, one or two `dronetee`s, their consumers, what hangs behind them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::prelude::*;

use crate::fault::{note_world, watch};
use crate::handler::Handler;
use crate::receiver::Receiver;
use crate::rng::Rng;
use crate::sink::{self, Branch};
use crate::source::{self, Source};
use crate::witness::{Marks, Passage};

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
    pub(crate) may_hang: bool,
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
    pub(crate) fn drop_for_good(&mut self) {
        for consumer in 0..self.consumers.len() {
            let branch = self.consumers[consumer].branch.as_ref();
            if branch.is_some_and(Branch::stops_for_good) {
                let branch = self.unlink(consumer);
                self.orphans.extend(branch);
            }
        }
        let all = self.orphans.drain(..);
        let (gone, kept): (Vec<_>, Vec<_>) = all.partition(Branch::stops_for_good);
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
