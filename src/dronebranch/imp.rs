// SPDX-License-Identifier: MPL-2.0
//! The bin's subclass: properties, children, states, and what the application asks and sends.

use std::sync::{Arc, Mutex, PoisonError};

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::{Lazy, OnceCell};

use super::cell::Cell;
#[cfg(feature = "metrics")]
use super::figures::Figures;
use super::keeper::Keeper;
use super::life::Order;
use super::settings::{self, BranchState};
use super::{CAT, aside, content, supervisor};

#[derive(Default)]
pub struct DroneBranch {
    keeper: OnceCell<Arc<Keeper>>,
    /// The bin's own sink pad, while there is one.
    own_pad: Mutex<Option<gst::GhostPad>>,
    aside: aside::Aside,
}

impl DroneBranch {
    /// Set as the object is constructed; `None` only before.
    pub(super) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.get()
    }

    // ---- the sink pad ------------------------------------------------------------------------

    fn own_pad(&self) -> Option<gst::GhostPad> {
        let own = self.own_pad.lock();
        own.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_own_pad(&self, pad: Option<gst::GhostPad>) {
        *self.own_pad.lock().unwrap_or_else(PoisonError::into_inner) = pad;
    }

    /// The bin has a sink pad from the start, which the application may replace.
    fn ensure_pad(&self) -> Option<gst::Pad> {
        if let Some(pad) = self.obj().sink_pads().into_iter().next() {
            return Some(pad);
        }
        let template = self.obj().pad_template("sink")?;
        let pad = gst::GhostPad::builder_from_template(&template).build();
        self.set_own_pad(Some(pad.clone()));
        self.adopt(&pad);
        let added = self.obj().add_pad(&pad);
        added.ok().map(|()| pad.upcast())
    }

    /// Leads a pad of the bin to the gate.
    fn adopt(&self, pad: &gst::GhostPad) {
        if let Some(keeper) = self.keeper() {
            keeper.contents.adopt(pad, keeper.gate.pad());
        }
    }

    /// A pad was added. It is led to the gate once the branch takes frames: before, whatever links it may
    /// find that the link is not possible, and take the pads away again.
    fn pad_added(&self, pad: &gst::Pad) {
        let starts = |keeper: &Arc<Keeper>| !keeper.shared.lock().is_stopped();
        if pad.direction() == gst::PadDirection::Sink
            && let Some(ghost) = pad.downcast_ref()
            && self.keeper().is_some_and(starts)
        {
            self.adopt(ghost);
        }
    }

    /// Elements that are added come with a pad that the application makes.
    fn make_way(&self) {
        let Some(own) = self.own_pad().filter(|pad| !pad.is_linked()) else {
            return;
        };
        self.set_own_pad(None);
        // Clearing a target does not fail.
        let _ = own.set_target(None::<&gst::Pad>);
        if let Err(error) = self.obj().remove_pad(&own) {
            gst::error!(CAT, imp = self, "{error}");
        }
    }

    // ---- the description -----------------------------------------------------------------------

    fn describe(&self, description: Option<String>) {
        let Some(keeper) = self.keeper() else { return };
        let (_, current, pending) = self.obj().state(gst::ClockTime::ZERO);
        if current.max(pending) > gst::State::Ready {
            gst::error!(
                CAT,
                imp = self,
                "description can be set in NULL and READY only"
            );
            return;
        }
        let old = keeper.shared.settings().description;
        let described = keeper
            .contents
            .describe(old.as_deref(), description.as_deref());
        if let Err(error) = described {
            gst::error!(CAT, imp = self, "{error}");
            return;
        }
        let provided = keeper.contents.provide(description.as_deref());
        keeper
            .shared
            .set(|settings| settings.description = description);
        if let Err(error) = provided {
            gst::debug!(CAT, imp = self, "No content yet: {error}");
        }
        self.ensure_pad();
    }

    /// What the content failed of last, after the path of the element that said so.
    fn last_error(&self, keeper: &Keeper) -> Option<String> {
        let (source, message) = keeper.shared.lock().last_error.clone()?;
        let source = source.unwrap_or_else(|| self.obj().path_string().into());
        Some(format!("{source}: {message}"))
    }

    // ---- states --------------------------------------------------------------------------------

    /// Has the content follow; it takes its time on a thread of its own.
    fn follow(&self, state: gst::State) {
        if let Some(keeper) = self.keeper() {
            keeper.follow(Order {
                state,
                base_time: self.obj().base_time(),
                start_time: self.obj().start_time(),
            });
        }
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let Some(keeper) = self.keeper() else {
            return Ok(());
        };
        self.ensure_pad();
        for pad in self.obj().sink_pads() {
            if let Some(ghost) = pad.downcast_ref() {
                // Its target may have been set after it was added.
                self.adopt(ghost);
            }
        }
        let watch = keeper.prepare();
        let active = keeper.gate.pad().set_active(true).is_ok();
        if !active || supervisor::start(keeper, watch).is_err() {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ["No thread"]);
            return Err(gst::StateChangeError);
        }
        keeper.start();
        Ok(())
    }

    #[cfg(feature = "metrics")]
    pub(super) fn figures(&self) -> Figures {
        let Some(keeper) = self.keeper() else {
            return Figures::default();
        };
        let dropped = keeper.gate.dropped();
        let shared = keeper.shared.lock();
        let (state, counts) = (shared.course.state(), &shared.course.counts);
        Figures {
            state: BranchState::from(state).name(),
            failures: counts.failures,
            restarts: counts.restarts,
            abandoned: counts.abandoned,
            dropped,
        }
    }

    /// A pipeline that stops stops all its branches at a time: each may take its `stop-timeout`.
    fn begin_stop(&self) {
        let mut top = self.obj().clone().upcast::<gst::Object>();
        while let Some(parent) = top.parent() {
            top = parent;
        }
        if let Some(pipeline) = top.downcast_ref::<gst::Bin>()
            && let (_, _, gst::State::Null | gst::State::Ready) =
                pipeline.state(gst::ClockTime::ZERO)
        {
            for branch in content::descendants(pipeline) {
                if let Some(branch) = branch.downcast_ref::<super::DroneBranch>()
                    && !branch.is_locked_state()
                    && let Some(keeper) = branch.imp().keeper()
                {
                    keeper.begin_stop();
                }
            }
        }
        if let Some(keeper) = self.keeper() {
            keeper.begin_stop();
        }
    }

    fn stop(&self) {
        if let Some(keeper) = self.keeper() {
            keeper.finish_stop();
            // Deactivating does not fail.
            let _ = keeper.gate.pad().set_active(false);
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for DroneBranch {
    const NAME: &'static str = "GstDroneBranch";
    type Type = super::DroneBranch;
    type ParentType = gst::Bin;
}

impl ObjectImpl for DroneBranch {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(settings::properties);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        let branch = self.obj();
        let cell = Cell::new();
        let keeper = Keeper::new(&branch, cell.clone().upcast());
        cell.attach(&keeper.shared);
        branch.connect_pad_added(|branch, pad| branch.imp().pad_added(pad));
        // A branch that comes and goes is no clock for the pipeline.
        branch.set_suppressed_flags(
            gst::ElementFlags::PROVIDE_CLOCK | gst::ElementFlags::REQUIRE_CLOCK,
        );
        let made = cell
            .add_pad(keeper.gate.pad())
            .and_then(|()| keeper.contents.replace(Some(content::new())));
        // The keeper is set once.
        let _ = self.keeper.set(keeper);
        if let Err(error) = made {
            gst::error!(CAT, imp = self, "{error}");
        }
        if let Err(error) = self.parent_add_element(cell.upcast_ref()) {
            error.log_with_imp(self);
        }
        self.ensure_pad();
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let Some(keeper) = self.keeper() else { return };
        macro_rules! set {
            ($field:ident) => {{
                // The type was checked by GObject.
                if let Ok(value) = value.get() {
                    keeper.shared.set(|settings| settings.$field = value);
                }
            }};
        }
        match pspec.name() {
            "description" => self.describe(value.get().ok().flatten()),
            "restart" => set!(restart),
            "restart-delay" => set!(restart_delay),
            "restart-delay-max" => set!(restart_delay_max),
            "max-restarts" => set!(max_restarts),
            "stop-timeout" => set!(stop_timeout),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let Some(keeper) = self.keeper() else {
            return pspec.default_value().clone();
        };
        let settings = keeper.shared.settings();
        let counts = || keeper.shared.lock().course.counts;
        match pspec.name() {
            "description" => settings.description.to_value(),
            "restart" => settings.restart.to_value(),
            "restart-delay" => settings.restart_delay.to_value(),
            "restart-delay-max" => settings.restart_delay_max.to_value(),
            "max-restarts" => settings.max_restarts.to_value(),
            "stop-timeout" => settings.stop_timeout.to_value(),
            "state" => BranchState::from(keeper.shared.lock().course.state()).to_value(),
            "failures" => counts().failures.to_value(),
            "restarts" => counts().restarts.to_value(),
            "abandoned" => counts().abandoned.to_value(),
            "dropped" => keeper.gate.dropped().to_value(),
            "last-error" => self.last_error(keeper).to_value(),
            _ => pspec.default_value().clone(),
        }
    }
}

impl GstObjectImpl for DroneBranch {}

impl ElementImpl for DroneBranch {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Branch that keeps its failures",
                "Generic/Bin/Sink",
                "Restarts its content when that fails; the pipeline goes on without it meanwhile",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: Lazy<Vec<gst::PadTemplate>> = Lazy::new(|| {
            // There from the start, and again on request if elements were added without a pad.
            let sink = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Request,
                &gst::Caps::new_any(),
            );
            sink.into_iter().collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        _templ: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        match self.obj().num_sink_pads() {
            0 => self.ensure_pad(),
            _ => {
                gst::error!(CAT, imp = self, "The branch has a sink pad already");
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        if self
            .own_pad()
            .is_some_and(|own| own.upcast_ref::<gst::Pad>() == pad)
        {
            self.set_own_pad(None);
        }
        if let Err(error) = self.obj().remove_pad(pad) {
            gst::error!(CAT, imp = self, "{error}");
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => {
                if let Some(keeper) = self.keeper() {
                    keeper.reset();
                }
            }
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PausedToReady => {
                // Before the pads are stopped, which waits for upstream's thread.
                self.begin_stop();
            }
            _ => {}
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => {
                self.begin_stop();
                self.stop();
            }
            gst::StateChange::PausedToReady => self.stop(),
            _ if transition.next() >= gst::State::Paused => self.follow(transition.next()),
            _ => {}
        }
        // The pipeline waits for nothing here.
        result.map(|_| gst::StateChangeSuccess::Success)
    }

    fn provide_clock(&self) -> Option<gst::Clock> {
        None
    }

    /// What is asked of the content may hang in it.
    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let content = self.keeper().and_then(|keeper| keeper.running_content());
        content.is_some_and(|content| self.aside.query(&content, query))
    }

    fn send_event(&self, event: gst::Event) -> bool {
        let Some(keeper) = self.keeper() else {
            return false;
        };
        if let gst::EventView::Latency(latency) = event.view() {
            keeper.contents.note_latency(latency.latency());
            if let Some(content) = keeper.running_content() {
                // A sink that knows no latency is no failure of the pipeline's.
                self.aside.send_event(&content, event);
                return true;
            }
        }
        if event.is_upstream() {
            // Not through the content, which may be down.
            return keeper.gate.pad().push_event(event);
        }
        let pad = self.obj().sink_pads().into_iter().next();
        pad.is_some_and(|pad| pad.send_event(event))
    }
}

impl BinImpl for DroneBranch {
    fn add_element(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        let Some(keeper) = self.keeper() else {
            return self.parent_add_element(element);
        };
        if keeper.shared.settings().description.is_some() {
            let text = "The description says what is in it";
            return Err(gst::loggable_error!(CAT, "{text}"));
        }
        self.make_way();
        keeper.contents.add(element)
    }

    fn remove_element(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        let removed = self
            .keeper()
            .and_then(|keeper| keeper.contents.remove(element));
        removed.unwrap_or_else(|| self.parent_remove_element(element))
    }
}
