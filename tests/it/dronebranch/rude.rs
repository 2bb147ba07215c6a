// SPDX-License-Identifier: MPL-2.0
//! A sink with bad manners: `rudesink mode=…`.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, OnceLock};

use glib::prelude::*;
use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;

/// Registers the element.
pub(crate) fn register() {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        gst::Element::register(None, "rudesink", gst::Rank::NONE, RudeSink::static_type()).unwrap();
    });
}

static RELEASED: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// Lets all sinks with this `key` go that hang, now and later.
pub(crate) fn release(key: &str) {
    let mut released = RELEASED.lock().unwrap();
    released.get_or_insert_default().insert(key.to_owned());
    CHANGED.notify_all();
}

fn hang(key: &str) {
    let is_held =
        |keys: &mut Option<HashSet<String>>| !keys.as_ref().is_some_and(|keys| keys.contains(key));
    drop(CHANGED.wait_while(RELEASED.lock().unwrap(), is_held));
}

glib::wrapper! {
    pub(crate) struct RudeSink(ObjectSubclass<imp::RudeSink>)
        @extends gst::Element, gst::Object;
}

mod imp {
    #![allow(unreachable_pub, reason = "the derived properties are public")]
    use super::*;

    #[derive(Default, glib::Properties)]
    #[properties(wrapper_type = super::RudeSink)]
    pub(crate) struct RudeSink {
        /// What it hangs in, words apart by `+`: start, push, eos, teardown; or how it fails at a
        /// frame: error (a message), flow (no message), silent (no EOS message).
        #[property(get, set)]
        mode: Mutex<String>,
        #[property(get, set)]
        key: Mutex<String>,
        /// It hangs, or has hung.
        #[property(get)]
        hung: Mutex<bool>,
        /// It says that it has a clock.
        #[property(get, set = Self::set_clock_flag)]
        clock: Mutex<bool>,
    }

    impl RudeSink {
        fn set_clock_flag(&self, clock: bool) {
            *self.clock.lock().unwrap() = clock;
            self.obj()
                .set_element_flags(gst::ElementFlags::PROVIDE_CLOCK);
        }

        fn is(&self, word: &str) -> bool {
            self.mode
                .lock()
                .unwrap()
                .split('+')
                .any(|mode| mode == word)
        }

        fn may_hang(&self, word: &str) {
            if self.is(word) {
                *self.hung.lock().unwrap() = true;
                let key = self.key.lock().unwrap().clone();
                hang(&key);
            }
        }

        fn chain(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.may_hang("push");
            if self.is("error") {
                gst::element_imp_error!(self, gst::ResourceError::Write, ("Rude"), ["debug"]);
            }
            if self.is("error") || self.is("flow") {
                return Err(gst::FlowError::Error);
            }
            Ok(gst::FlowSuccess::Ok)
        }

        fn event(&self, event: &gst::Event) {
            if event.type_() == gst::EventType::Eos {
                self.may_hang("eos");
                if !self.is("silent") {
                    let eos = gst::message::Eos::builder().src(&*self.obj()).build();
                    let _ = self.obj().post_message(eos);
                }
            }
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for RudeSink {
        const NAME: &'static str = "TestRudeSink";
        type Type = super::RudeSink;
        type ParentType = gst::Element;
    }

    #[glib::derived_properties]
    impl ObjectImpl for RudeSink {
        fn constructed(&self) {
            self.parent_constructed();
            let template = self.obj().pad_template("sink").unwrap();
            let pad = gst::Pad::builder_from_template(&template)
                .chain_function(|_, parent, _| {
                    let sink = parent.unwrap().downcast_ref::<super::RudeSink>().unwrap();
                    sink.imp().chain()
                })
                .event_function(|_, parent, event| {
                    let sink = parent.unwrap().downcast_ref::<super::RudeSink>().unwrap();
                    sink.imp().event(&event);
                    true
                })
                .build();
            self.obj().add_pad(&pad).unwrap();
            self.obj().set_element_flags(gst::ElementFlags::SINK);
        }
    }

    impl GstObjectImpl for RudeSink {}
    impl ElementImpl for RudeSink {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
            Some(METADATA.get_or_init(|| {
                gst::subclass::ElementMetadata::new("Rude sink", "Sink", "Hangs", "Tests")
            }))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
            TEMPLATES.get_or_init(|| {
                let caps = gst::Caps::new_any();
                let (sink, always) = (gst::PadDirection::Sink, gst::PadPresence::Always);
                vec![gst::PadTemplate::new("sink", sink, always, &caps).unwrap()]
            })
        }

        fn provide_clock(&self) -> Option<gst::Clock> {
            self.clock.lock().unwrap().then(gst::SystemClock::obtain)
        }

        fn change_state(
            &self,
            transition: gst::StateChange,
        ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            match transition {
                gst::StateChange::ReadyToPaused => self.may_hang("start"),
                gst::StateChange::PausedToReady => self.may_hang("teardown"),
                _ => {}
            }
            self.parent_change_state(transition)
        }
    }
}
