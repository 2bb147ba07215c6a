// SPDX-License-Identifier: MPL-2.0
//! The element as GObject and GStreamer see it: templates, properties, states, ChildProxy.

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

use super::element::DroneTee;
use super::guard::Guarded;
use super::negotiation::caps;
use super::{CAT, now, props, saturated};

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
                Self::guarded(parent, fallback, |tee| tee.sink_chain(pad, buffer))
            })
            .chain_list_function(|pad, parent, list| {
                let fallback = || Err(gst::FlowError::Error);
                Self::guarded(parent, fallback, |tee| tee.sink_chain_list(pad, list))
            })
            .event_function(|pad, parent, event| {
                Self::guarded(parent, || false, |tee| tee.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::guarded(parent, || false, |tee| tee.sink_query(pad, query))
            })
            .build();
        Self::new(sinkpad)
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
        self.dispose_voices();
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
            "max-held" => set!(max_held),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = self.settings.get();
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
            "max-held" => settings.max_held.to_value(),
            "held" => saturated(self.stream.totals(now()).pool.held).to_value(),
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
        let pad = self.add_consumer(templ, name, None).ok()?;
        // A handler that heard of the pad may have released it; the bindings expect one that is there.
        pad.parent().is_some().then(|| pad.upcast())
    }

    fn release_pad(&self, pad: &gst::Pad) {
        if let Some(pad) = pad.downcast_ref() {
            self.remove_consumer(pad);
        }
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if self.takes_as_sink(&event) {
            self.sinkpad.push_event(event)
        } else {
            self.parent_send_event(event)
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start()?;
        }
        if transition == gst::StateChange::PlayingToPaused {
            self.set_playing(false);
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToPlaying if result.is_ok() => self.set_playing(true),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_pad_function_is_an_error_of_the_element() {
        gst::init().unwrap();
        let tee: super::super::DroneTee = glib::Object::new();
        let bus = gst::Bus::new();
        tee.set_bus(Some(&bus));
        let parent = Some(tee.upcast_ref::<gst::Object>());
        let call = |work: fn(&DroneTee) -> u32| DroneTee::guarded(parent, || 0, work);
        let errors = || bus.iter_filtered(&[gst::MessageType::Error]).count();
        assert_eq!((call(|_| 1), errors()), (1, 0));
        assert_eq!((call(|_| panic!("as the test wants")), errors()), (0, 1));
        // From then on each call is an error.
        assert_eq!((call(|_| 1), errors()), (0, 1));
        // The bindings know of it.
        let answer = DroneTee::catch_panic_pad_function(parent, || 0, |_| 1);
        assert_eq!((answer, errors()), (0, 1));
    }
}
