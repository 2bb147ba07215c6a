// SPDX-License-Identifier: MPL-2.0
//! The element's subclass: templates, properties, request and release, states, ChildProxy.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::{Lazy, OnceCell};

use super::as_sink::AsSink;
use super::consumers::Names;
use super::helpers::Helpers;
use super::negotiation::allocation::Promised;
use super::negotiation::caps;
use super::props::{self, Settings};
use super::reporter::Reporter;
use super::sink::Incoming;
use super::{CAT, DroneTeePad, Stream, lock, now};
use crate::fanout::ReportConfig;

/// How long a stop waits in all: for pushes to return, for messages to be sent, for helpers.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

pub struct DroneTee {
    pub(super) sinkpad: gst::Pad,
    pub(super) stream: Arc<Stream>,
    pub(super) helpers: Helpers,
    settings: Mutex<Settings>,
    incoming: Mutex<Incoming>,
    /// Set once, when the element is made.
    reporter: OnceCell<Arc<Reporter>>,
    /// By the last answer to ALLOCATION.
    promised: Mutex<Promised>,
    pub(super) names: Names,
    pub(super) as_sink: AsSink,
}

impl DroneTee {
    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(super) fn incoming(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.incoming)
    }

    pub(super) fn current_caps(&self) -> Option<gst::Caps> {
        self.incoming().caps.clone()
    }

    pub(super) fn depth_of(&self, pad: &DroneTeePad) -> u32 {
        let depth = pad.imp().settings().limits(self.settings().depth).depth;
        u32::try_from(depth).unwrap_or(props::MAX_DEPTH)
    }

    pub(super) fn note_promised(&self, promised: Promised) {
        *lock(&self.promised) = promised;
    }

    pub(super) fn promised(&self) -> Promised {
        *lock(&self.promised)
    }

    pub(super) fn reporter(&self) -> &Arc<Reporter> {
        self.reporter.get_or_init(|| {
            let weak = self.obj().downgrade();
            let post = move |notice| {
                if let Some(tee) = weak.upgrade() {
                    tee.imp().post(notice);
                }
            };
            Arc::new(Reporter::new(self.stream.clone(), post))
        })
    }

    fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.settings));
        self.stream
            .set_gop_capacity(|| self.settings().gop_cache.into());
        for pad in self.obj().consumers() {
            pad.imp().apply();
        }
        self.apply_report();
        self.renew_if_outgrown();
    }

    /// As all settings, these are read under the core's lock, so that of two that are made at once
    /// the last one stays.
    pub(super) fn apply_report(&self) {
        let pads = self.obj().consumers();
        self.stream.set_report(|| {
            let settings = self.settings();
            let noisy = pads.iter().any(|pad| !pad.imp().is_silent());
            ReportConfig {
                drops: settings.post_drop_messages || settings.qos_messages || noisy,
                messages: settings.post_drop_messages,
                interval: u64::from(settings.drop_messages_interval) * 1_000_000,
                stall_timeout: settings.stall_timeout,
            }
        });
    }

    // ---- states ----------------------------------------------------------------------------

    fn start(&self) -> Result<(), gst::StateChangeError> {
        self.stream.reset();
        *self.incoming() = Incoming::default();
        self.start_as_sink();
        self.note_promised(Promised::NotAsked);
        for pad in self.obj().consumers() {
            pad.imp().reset();
        }
        self.apply_report();
        self.reporter().start().map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Failed, ["No thread: {error}"]);
            gst::StateChangeError
        })?;
        for pad in self.obj().consumers().iter().filter(|pad| pad.is_active()) {
            // Requested while the state changed, and so reset after it had joined.
            pad.imp()
                .activate(true)
                .map_err(|_| gst::StateChangeError)?;
        }
        Ok(())
    }

    fn stop(&self) {
        self.stop_as_sink();
        let deadline = Instant::now() + STOP_PATIENCE;
        let pads = self.obj().consumers();
        for pad in &pads {
            if !pad.imp().wait_left(deadline) {
                gst::warning!(
                    CAT,
                    obj = pad,
                    "The branch has not returned, leaving it behind"
                );
            }
            if let Some(id) = pad.imp().id() {
                self.stream.summarize(id, now());
            }
        }
        self.reporter().wait_sent(deadline);
        self.reporter().stop(deadline);
        self.helpers.wait_done(deadline);
    }
}

#[glib::object_subclass]
impl ObjectSubclass for DroneTee {
    const NAME: &'static str = "GstDroneTee";
    /// With another copy of the crate in the process, see `registration`.
    const ALLOW_NAME_CONFLICT: bool = true;
    type Type = super::DroneTee;
    type ParentType = gst::Element;
    type Interfaces = (gst::ChildProxy,);

    fn with_class(klass: &Self::Class) -> Self {
        let builder = match klass.pad_template("sink") {
            Some(template) => gst::Pad::builder_from_template(&template),
            None => gst::Pad::builder(gst::PadDirection::Sink).name("sink"),
        };
        let sinkpad = builder
            .chain_function(|pad, parent, buffer| {
                let fallback = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, fallback, |tee| tee.sink_chain(pad, buffer))
            })
            .chain_list_function(|pad, parent, list| {
                let fallback = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, fallback, |tee| {
                    tee.sink_chain_list(pad, list)
                })
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |tee| tee.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |tee| tee.sink_query(pad, query))
            })
            .build();
        Self {
            sinkpad,
            stream: Arc::new(Stream::new()),
            helpers: Helpers::default(),
            settings: Mutex::default(),
            incoming: Mutex::default(),
            reporter: OnceCell::new(),
            promised: Mutex::default(),
            names: Names::default(),
            as_sink: AsSink::default(),
        }
    }
}

impl ObjectImpl for DroneTee {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: Lazy<Vec<glib::ParamSpec>> = Lazy::new(props::element);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        if let Err(error) = self.obj().add_pad(&self.sinkpad) {
            gst::error!(CAT, imp = self, "No sink pad: {error}");
        }
        self.obj().connect_pad_removed(|tee, pad| {
            if let Some(pad) = pad.downcast_ref() {
                tee.imp().consumer_removed(pad);
            }
        });
    }

    fn dispose(&self) {
        self.reporter().stop(Instant::now());
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        macro_rules! set {
            ($field:ident) => {{
                // The type was checked by GObject.
                if let Ok(value) = value.get() {
                    self.set(|settings| settings.$field = value);
                }
            }};
        }
        match pspec.name() {
            "depth" => set!(depth),
            "allow-not-linked" => set!(allow_not_linked),
            "gop-cache" => set!(gop_cache),
            "post-drop-messages" => set!(post_drop_messages),
            "drop-messages-interval" => set!(drop_messages_interval),
            "qos-messages" => set!(qos_messages),
            "stall-timeout" => set!(stall_timeout),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings();
        match pspec.name() {
            "depth" => settings.depth.to_value(),
            "published" => self.stream.totals(now()).published.to_value(),
            "dropped" => self.stream.totals(now()).dropped.to_value(),
            "num-src-pads" => i32::from(self.obj().num_src_pads()).to_value(),
            "allow-not-linked" => settings.allow_not_linked.to_value(),
            "gop-cache" => settings.gop_cache.to_value(),
            "post-drop-messages" => settings.post_drop_messages.to_value(),
            "drop-messages-interval" => settings.drop_messages_interval.to_value(),
            "qos-messages" => settings.qos_messages.to_value(),
            "stall-timeout" => settings.stall_timeout.to_value(),
            "stats" => self.stats().to_value(),
            _ => pspec.default_value().clone(),
        }
    }
}

impl GstObjectImpl for DroneTee {}

impl ElementImpl for DroneTee {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: Lazy<gst::subclass::ElementMetadata> = Lazy::new(|| {
            gst::subclass::ElementMetadata::new(
                "Lossy fan-out of frames",
                "Generic/Video",
                "Shares a video stream among consumers; who is slow loses its own oldest frames, counted",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: Lazy<Vec<gst::PadTemplate>> = Lazy::new(|| {
            let request = |name| {
                gst::PadTemplate::with_gtype(
                    name,
                    gst::PadDirection::Src,
                    gst::PadPresence::Request,
                    caps::template(),
                    super::DroneTeePad::static_type(),
                )
            };
            let sink = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                caps::template(),
            );
            [sink, request("src_%u"), request("src_%s")]
                .into_iter()
                .flatten()
                .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        templ: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        self.add_consumer(templ, name, None).ok().map(Cast::upcast)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        if let Some(pad) = pad.downcast_ref() {
            self.remove_consumer(pad);
        }
    }

    fn send_event(&self, event: gst::Event) -> bool {
        let sent = self.send_as_sink(&event);
        sent.unwrap_or_else(|| self.parent_send_event(event))
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start()?;
        }
        if transition == gst::StateChange::PlayingToPaused {
            self.play_as_sink(false);
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToPlaying if result.is_ok() => self.play_as_sink(true),
            gst::StateChange::PausedToReady => self.stop(),
            gst::StateChange::ReadyToPaused if result.is_err() => self.stop(),
            gst::StateChange::ReadyToNull | gst::StateChange::NullToNull => self.stream.dismiss(),
            _ => {}
        }
        result
    }
}

impl ChildProxyImpl for DroneTee {
    fn children_count(&self) -> u32 {
        self.obj().num_src_pads().into()
    }

    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let pads = self.obj().src_pads();
        pads.into_iter().nth(index as usize).map(Cast::upcast)
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        let pad = self.obj().static_pad(name)?;
        (pad.direction() == gst::PadDirection::Src).then(|| pad.upcast())
    }
}
