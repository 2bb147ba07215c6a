// SPDX-License-Identifier: MPL-2.0
//! The element as a composer: what arrives at its pads goes to the part that owns the state.
//!
//! A frame's way: [`sink_chain`](DroneTee::sink_chain) → `fanout.publish` → `output/task.rs` → out.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::OnceCell;

use super::answers::{Answers, Scene};
use super::guard::{Broken, Guarded};
use super::helpers::Helpers;
use super::input::{self, Flow, Input, keyframe_time};
use super::negotiation::latency::is_defined;
use super::observers::Observer;
use super::output::pads::{self, Pads, Request};
use super::output::{Refusal, flush};
use super::props::{PadSettings, Settings, SharedSettings};
use super::receivers::{Handle, Place, ReceiverLimits, Replayed, closing_event, refuse_link};
use super::voices::Voices;
use super::{CAT, DroneTeePad, Item, Stream, latency, now, pool, stats};
use crate::dronebranch;
use crate::facts::{CloseReason, Health, Metadata};
use crate::fanout::{Answer, Kept};

/// How long a stop waits in all: for pushes to return, for messages to be sent, for helpers.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

pub struct DroneTee {
    pub(super) sinkpad: gst::Pad,
    pub(super) stream: Arc<Stream>,
    pub(super) settings: SharedSettings,
    input: Arc<Input>,
    pads: Pads,
    answers: Answers,
    helpers: Helpers,
    /// Set once, as soon as there is an element to tell of.
    voices: OnceCell<Voices>,
    broken: Broken,
}

impl Guarded for DroneTee {
    fn broken(&self) -> &Broken {
        &self.broken
    }
}

impl DroneTee {
    pub(super) fn new(sinkpad: gst::Pad) -> Self {
        let stream = Arc::new(Stream::new());
        let (settings, helpers) = (SharedSettings::default(), Helpers::default());
        Self {
            sinkpad,
            pads: Pads::new(&stream, &settings, &helpers),
            settings,
            input: Arc::default(),
            answers: Answers::new(stream.clone(), helpers.clone()),
            helpers,
            stream,
            voices: OnceCell::new(),
            broken: Broken::default(),
        }
    }

    fn voices(&self) -> &Voices {
        self.voices.get_or_init(|| {
            let (element, sinkpad) = (self.obj(), &self.sinkpad);
            let (stream, settings) = (&self.stream, &self.settings);
            Voices::new(
                &element,
                sinkpad,
                stream,
                settings,
                &self.input,
                &self.helpers,
            )
        })
    }

    fn scene(&self) -> Scene {
        let Settings {
            depth,
            gop_cache,
            max_held,
            ..
        } = self.settings.get();
        Scene {
            pads: pads::all(&self.obj()),
            caps: self.input.caps(),
            depth,
            gop_cache,
            max_held,
        }
    }

    // ---- from upstream ---------------------------------------------------------------------

    pub(super) fn sink_chain(&self, pad: &gst::Pad, buffer: gst::Buffer) -> Flow {
        gst::trace!(CAT, obj = pad, "{buffer:?}");
        let now = now();
        let noted = self.input.note_frame(&buffer, now);
        if noted.is_of_another_pool {
            pool::note(&self.stream, pad, &buffer);
        }
        let published = self.stream.publish(buffer, noted.info, now);
        if !noted.due.is_nothing() {
            self.voices().watch.look(noted.due);
        }
        if let Some(watch) = published.watch {
            pool::watch(&self.stream, pad, watch);
        }
        if published.request_keyframe {
            gst::debug!(CAT, obj = pad, "A consumer waits for a keyframe");
            pad.push_event(input::keyframe_request());
        }
        if published.answer == Answer::Ok {
            return Ok(gst::FlowSuccess::Ok);
        }
        let comes_back = || self.obj().src_pads().iter().any(dronebranch::is_behind);
        match published.answer {
            // Upstream goes on while a branch that keeps its failures is restarted.
            Answer::Failed(_) if comes_back() => Ok(gst::FlowSuccess::Ok),
            answer => input::flow(answer, || self.settings.get().allow_not_linked),
        }
    }

    pub(super) fn sink_chain_list(&self, pad: &gst::Pad, list: gst::BufferList) -> Flow {
        let mut flow = Ok(gst::FlowSuccess::Ok);
        for buffer in list.iter_owned() {
            flow = self.sink_chain(pad, buffer);
        }
        flow
    }

    pub(super) fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "{event:?}");
        let Voices {
            bin_side, watch, ..
        } = self.voices();
        bin_side.note(&event);
        let noted = self.input.note_event(&event);
        if let Some(caps) = noted.new_format {
            pool::note_format(&self.stream, &caps);
        }
        watch.look(noted.due);
        match event.type_() {
            gst::EventType::FlushStart => {
                flush::start(&self.stream, &pads::all(&self.obj()), &event);
            }
            gst::EventType::FlushStop => {
                flush::stop(&self.stream, &pads::all(&self.obj()), &event);
            }
            _ if event.is_serialized() => self.stream.publish_event(Item::Event(event), now()),
            _ => self.pass_around(event),
        }
        true
    }

    /// An event that is not serialized goes around the frames.
    fn pass_around(&self, event: gst::Event) {
        if event.is_sticky() {
            if self.input.is_repeated(&event) {
                return;
            }
            self.stream.note_sticky(&Item::Event(event.clone()));
        }
        for pad in pads::all(&self.obj()) {
            if let Some(branch) = pad.imp().branch() {
                branch.send_around(event.clone());
            }
        }
    }

    pub(super) fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let scene = self.scene();
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let answer = self.answers.caps(&scene, caps.filter_owned().as_ref());
                caps.set_result(&answer);
            }
            gst::QueryViewMut::AcceptCaps(accept) => {
                let caps = accept.caps_owned();
                let accepted = self.answers.accepts_caps(&scene, &caps);
                if !accepted {
                    gst::warning!(CAT, obj = pad, "No consumer accepts {caps:?}");
                }
                accept.set_result(accepted);
            }
            gst::QueryViewMut::Allocation(allocation) => {
                // A pool may come of it, or have another size afterwards.
                self.input.forget_pool();
                self.answers.allocation(&scene, allocation);
                gst::debug!(CAT, obj = pad, "Answering {allocation:?}");
            }
            gst::QueryViewMut::Drain(drain) => return self.answers.drain(&scene, drain),
            gst::QueryViewMut::Scheduling(_) => {
                return gst::Pad::query_default(pad, Some(&*self.obj()), query);
            }
            _ => return self.answers.any(&scene, query),
        }
        true
    }

    // ---- from a branch ---------------------------------------------------------------------

    pub(super) fn src_event(&self, pad: &DroneTeePad, event: gst::Event) -> bool {
        gst::debug!(CAT, obj = pad, "{event:?}");
        match event.view() {
            gst::EventView::Qos(qos) => {
                // One consumer's lateness is not the others': it stops here.
                pad.imp().note_qos(qos);
                return true;
            }
            gst::EventView::Reconfigure(_) => {
                if let Some(branch) = pad.imp().branch() {
                    branch.reconfigure();
                }
                if self.input.caps().is_some() {
                    self.reconsider_caps(pad, event);
                    return true;
                }
            }
            gst::EventView::Latency(latency) if is_defined(latency.structure(), "latency") => {
                if let Some(branch) = pad.imp().branch() {
                    branch.sync(pad).note_latency(latency.latency());
                }
                self.voices().watch.look_at_latency(pad);
            }
            _ if gst_video::ForceKeyUnitEvent::is(&event) => {
                let (id, at) = (pad.imp().id(), keyframe_time(&event));
                if !id.is_some_and(|id| self.stream.may_request_keyframe(id, at, now())) {
                    return true;
                }
            }
            _ => {}
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// RECONFIGURE from a branch goes upstream if it has to, which a helper finds out: the branch is not
    /// asked from within its own event, as it may hold its locks.
    fn reconsider_caps(&self, pad: &DroneTeePad, event: gst::Event) {
        let (element, pad) = (self.obj().clone(), pad.clone());
        self.helpers.run(move || {
            let own = element.imp();
            if own.answers.must_renegotiate(&own.scene(), &pad) {
                own.sinkpad.push_event(event);
            }
        });
    }

    pub(super) fn src_query(&self, pad: &DroneTeePad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) if pad.imp().is_receiver() => {
                // What looks for a free pad to link goes on to the next.
                caps.set_result(&gst::Caps::new_empty());
                true
            }
            gst::QueryViewMut::Latency(_) => {
                let depth = pad.imp().depth(self.settings.get().depth);
                latency::answer(&self.sinkpad, query, || self.input.frame_duration(), depth)
            }
            gst::QueryViewMut::Scheduling(scheduling) => {
                scheduling.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    // ---- consumers -------------------------------------------------------------------------

    /// A new src pad; with `receiver` settings one that no branch is behind.
    pub(super) fn add_consumer(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        receiver: Option<PadSettings>,
    ) -> Result<DroneTeePad, Refusal> {
        let element = self.obj().downgrade();
        let request = Request {
            template,
            name,
            receiver,
            reporter: &self.voices().reporter,
            changed: Box::new(move || {
                if let Some(element) = element.upgrade() {
                    element.imp().pad_changed();
                }
            }),
        };
        let make = |name: &str, is_receiver| self.new_pad(template, name, is_receiver);
        let pad = self.pads.add(&self.obj(), request, make)?;
        if pad.imp().is_receiver() {
            // Branches have upstream ask by RECONFIGURE.
            self.renew_if_outgrown();
        }
        Ok(pad)
    }

    fn new_pad(&self, template: &gst::PadTemplate, name: &str, is_receiver: bool) -> DroneTeePad {
        gst::PadBuilder::<DroneTeePad>::from_template(template)
            .name(name)
            .flags(gst::PadFlags::PROXY_CAPS)
            .link_function_if_some(is_receiver.then_some(refuse_link))
            // Without a parent yet when the element is running.
            .activatemode_function(|pad, _parent, _mode, active| pad.imp().activate(active))
            .event_function(|pad, parent, event| {
                Self::guarded(parent, || false, |tee| tee.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::guarded(parent, || false, |tee| tee.src_query(pad, query))
            })
            .build()
    }

    pub(super) fn remove_consumer(&self, pad: &DroneTeePad) {
        self.pads
            .remove(&self.obj(), pad, || self.receiver_left(pad));
    }

    pub(super) fn consumer_removed(&self, pad: &DroneTeePad) {
        self.pads
            .removed(&self.obj(), pad, || self.receiver_left(pad));
    }

    fn receiver_left(&self, pad: &DroneTeePad) {
        if let Some(id) = pad.imp().id() {
            self.voices().bin_side.leave(&self.obj(), id);
        }
    }

    /// A pad `src_<name>` whose consumer is called `name`, for the application itself.
    pub(crate) fn add_receiver(
        &self,
        name: &str,
        limits: ReceiverLimits,
    ) -> Result<Place, Refusal> {
        let not_added = |why: &'static str| move || Refusal::NotAdded(glib::bool_error!("{why}"));
        let template = self.obj().pad_template("src_%s");
        let template = template.ok_or_else(not_added("There is no template for it"))?;
        let settings = limits.settings(name);
        let pad_name = format!("src_{name}");
        let pad = self.add_consumer(&template, Some(&pad_name), Some(settings))?;
        let (tee, own) = (self.obj().clone(), pad.clone());
        let leave = move || {
            // Not by GStreamer's own call, to which a pad that is released already is a mistake.
            tee.imp().remove_consumer(&own);
            // A handler of the application's may have released it before it had joined.
            tee.imp().receiver_left(&own);
        };
        let place = Place::new(&self.obj(), pad, &self.voices().bin_side, leave);
        place.ok_or_else(not_added("It has no consumer"))
    }

    // ---- settings and what is read ---------------------------------------------------------

    pub(super) fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.settings.set(change);
        self.stream
            .set_gop_capacity(|| self.settings.get().gop_cache.into());
        self.stream
            .set_max_held(|| self.settings.get().max_held.into(), now());
        for pad in pads::all(&self.obj()) {
            pad.imp().apply();
        }
        self.pad_changed();
    }

    /// Brings to the core what depends on the settings of all pads.
    fn pad_changed(&self) {
        self.apply_report();
        self.renew_if_outgrown();
    }

    /// As all settings, these are read under the core's lock, so that of two that are made at once
    /// the last one stays.
    fn apply_report(&self) {
        let pads = pads::all(&self.obj());
        let observed = self.voices().observers.has_any();
        self.stream.set_report(|| {
            let notifies = pads.iter().any(|pad| !pad.imp().is_silent());
            self.settings.get().report(notifies || observed)
        });
    }

    /// Has upstream ask again if its pool may be too small now.
    fn renew_if_outgrown(&self) {
        if self.answers.is_pool_too_small(&self.scene()) {
            gst::debug!(CAT, imp = self, "Upstream has to ask for ALLOCATION again");
            self.sinkpad.push_event(gst::event::Reconfigure::new());
        }
    }

    pub(super) fn stats(&self) -> gst::Structure {
        stats::element_stats(&self.stream, &pads::all(&self.obj()), &self.input)
    }

    pub(crate) fn health(&self) -> Health {
        let pads = pads::all(&self.obj());
        stats::health(&self.stream, &pads, &self.input, self.runs())
    }

    fn runs(&self) -> bool {
        self.obj().current_state() >= gst::State::Paused
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.input.metadata(&self.stream.totals(now()), self.runs())
    }

    /// The caps of the frames that come now.
    pub(crate) fn caps(&self) -> Option<gst::Caps> {
        self.input.caps()
    }

    /// What is kept for late joiners, in order; each frame with what shows that it is out.
    pub(crate) fn replay(&self) -> Replayed {
        let kept = self.stream.replay().into_iter().map(|one| {
            let handle = match &one {
                Kept::Frame { number, .. } => Some(Handle::of_kept(&self.stream, *number)),
                Kept::Event(_) => None,
            };
            (one, handle)
        });
        kept.collect()
    }

    /// Frames that arrived.
    pub(crate) fn published(&self) -> u64 {
        self.stream.totals(now()).published
    }

    // ---- what the application has it do ----------------------------------------------------

    /// Ends the stream for all consumers, with what tells a receiver why. The next start is a new
    /// stream.
    pub(crate) fn close(&self, reason: CloseReason) {
        let bin_side = &self.voices().bin_side;
        // The state of an element that starts is still READY when its receivers wait for frames.
        if !bin_side.is_running() {
            // A receiver that waits for the start learns that there is none.
            return self.stream.dismiss();
        }
        let end = closing_event(reason);
        bin_side.note(&end);
        self.stream.close(Item::Event(end), now());
    }

    /// Asks upstream for a keyframe at once; false if it was asked less than a second ago, or does not
    /// take the request.
    pub(crate) fn request_keyframe(&self) -> bool {
        self.stream.request_keyframe(now()) && self.sinkpad.push_event(input::keyframe_request())
    }

    /// From now on the observer hears all that is to be told.
    pub(crate) fn observe(&self, observer: Weak<dyn Observer>) {
        let Voices {
            reporter,
            observers,
            ..
        } = self.voices();
        let mark = observers.add(observer);
        self.apply_report();
        self.stream.mark(mark, now());
        reporter.send_if_alone();
    }

    // ---- states ----------------------------------------------------------------------------

    pub(super) fn start(&self) -> Result<(), gst::StateChangeError> {
        self.stream.reset();
        self.input.reset();
        self.answers.reset();
        let Voices {
            reporter, bin_side, ..
        } = self.voices();
        bin_side.set_running(&self.obj(), true);
        let pads = pads::all(&self.obj());
        pads.iter().for_each(|pad| pad.imp().reset());
        self.apply_report();
        reporter.start().map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ["No thread: {error}"]);
            gst::StateChangeError
        })?;
        // Requested while the state changed, and so reset after they had joined.
        let mut active = pads.iter().filter(|pad| pad.is_active());
        active.try_for_each(|pad| {
            let activated = pad.imp().activate(true);
            activated.map_err(|_| gst::StateChangeError)
        })
    }

    pub(super) fn stop(&self) {
        let Voices {
            reporter, bin_side, ..
        } = self.voices();
        bin_side.set_running(&self.obj(), false);
        self.stream.end_watch();
        // Its buffers go back to upstream, which may have to give up its memory.
        self.stream.forget_gop();
        let deadline = Instant::now() + STOP_PATIENCE;
        for pad in pads::all(&self.obj()) {
            if !pad.imp().wait_left(deadline) {
                gst::warning!(
                    CAT,
                    obj = pad,
                    "The branch has not returned, it is left behind"
                );
            }
            if let Some(id) = pad.imp().id() {
                self.stream.summarize(id, now());
            }
        }
        reporter.wait_sent(deadline);
        reporter.stop(deadline);
        self.helpers.wait_done(deadline);
    }

    pub(super) fn set_playing(&self, playing: bool) {
        self.voices().bin_side.set_playing(&self.obj(), playing);
        self.stream.set_playing(playing, now());
    }

    /// What a bin sends to its sinks goes upstream; false if the element is none.
    pub(super) fn takes_as_sink(&self, event: &gst::Event) -> bool {
        self.voices().bin_side.takes(&self.obj(), event)
    }

    pub(super) fn dispose_voices(&self) {
        self.voices().reporter.stop(Instant::now());
    }
}
