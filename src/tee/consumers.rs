// SPDX-License-Identifier: MPL-2.0
//! How src pads come and go.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::output::Member;
use super::props::PadSettings;
use super::{CAT, DroneTee, DroneTeePad, imp, lock};

/// The names of pads that are on their way.
#[derive(Debug, Default)]
pub(super) struct Names {
    next_index: AtomicU32,
    adding: Mutex<Vec<String>>,
}

impl Names {
    /// True if nobody else has the name, or is about to.
    fn reserve(&self, element: &DroneTee, name: &str) -> bool {
        let mut adding = lock(&self.adding);
        let is_free = element.static_pad(name).is_none() && adding.iter().all(|one| one != name);
        if is_free {
            adding.push(name.to_owned());
        }
        is_free
    }

    fn reserve_any(&self, element: &DroneTee) -> String {
        loop {
            let index = self.next_index.fetch_add(1, Ordering::Relaxed);
            let name = format!("src_{index}");
            if self.reserve(element, &name) {
                return name;
            }
        }
    }

    fn release(&self, name: &str) {
        let mut adding = lock(&self.adding);
        adding.retain(|one| one != name);
    }
}

/// `src_` and letters, digits, `_` and `-`.
pub(super) fn is_valid_name(name: &str) -> bool {
    name.strip_prefix("src_").is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

impl DroneTee {
    /// The src pads.
    pub(crate) fn consumers(&self) -> Vec<DroneTeePad> {
        self.src_pads()
            .into_iter()
            .filter_map(|pad| pad.downcast().ok())
            .collect()
    }
}

impl imp::DroneTee {
    /// A new src pad; with `receiver` settings one that no branch is behind.
    pub(super) fn add_consumer(
        &self,
        templ: &gst::PadTemplate,
        name: Option<&str>,
        receiver: Option<PadSettings>,
    ) -> Option<DroneTeePad> {
        let name = match name {
            None => self.names.reserve_any(&self.obj()),
            Some(name) if !is_valid_name(name) => {
                gst::error!(
                    CAT,
                    imp = self,
                    "'{name}' is no valid name for a consumer's pad"
                );
                return None;
            }
            Some(name) if !self.names.reserve(&self.obj(), name) => {
                gst::error!(CAT, imp = self, "There is a pad '{name}' already");
                return None;
            }
            Some(name) => name.to_owned(),
        };
        let pad = self.new_pad(templ, &name, receiver.is_some());
        self.join(&pad, receiver);
        let added = self.begin(&pad);
        self.names.release(&name);
        if let Err(error) = added {
            gst::error!(CAT, imp = self, "No pad '{name}': {error}");
            // Closing a pad that never worked can not fail in a way that matters.
            let _ = pad.set_active(false);
            pad.imp().leave();
            if pad.parent().is_some() {
                let _ = self.obj().remove_pad(&pad);
            }
            return None;
        }
        self.obj().child_added(&pad, &name);
        self.obj().notify("num-src-pads");
        if pad.imp().is_receiver() {
            // Branches have upstream ask by RECONFIGURE.
            self.renew_if_outgrown();
        }
        Some(pad)
    }

    fn join(&self, pad: &DroneTeePad, receiver: Option<PadSettings>) {
        let settings = receiver.clone().unwrap_or_default();
        let limits = settings.limits(self.settings().depth);
        let consumer = settings.consumer;
        let label = pad.imp().label_for(consumer);
        let member = Member {
            tee: self.obj().downgrade(),
            stream: self.stream.clone(),
            helpers: self.helpers.clone(),
            reporter: self.reporter().clone(),
            id: self.stream.join(label, limits),
        };
        pad.imp().join(member, receiver);
    }

    fn new_pad(&self, templ: &gst::PadTemplate, name: &str, is_receiver: bool) -> DroneTeePad {
        gst::PadBuilder::<DroneTeePad>::from_template(templ)
            .name(name)
            .flags(gst::PadFlags::PROXY_CAPS)
            .link_function_if_some(is_receiver.then_some(super::receiver::refuse_link))
            // Without a parent yet when the element is running.
            .activatemode_function(|pad, _parent, _mode, active| pad.imp().activate(active))
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |tee| tee.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |tee| tee.src_query(pad, query))
            })
            .build()
    }

    /// Activates the pad if the element runs, and adds it.
    fn begin(&self, pad: &DroneTeePad) -> Result<(), glib::BoolError> {
        if self.runs() {
            pad.set_active(true)?;
        }
        self.obj().add_pad(pad)?;
        if !self.runs() {
            // The element stopped between the two, and did not see it.
            pad.set_active(false)?;
        }
        if pad.is_active() && pad.imp().id().is_some_and(|id| self.stream.is_idle(id)) {
            // The element started between the two, and did not see it.
            pad.imp()
                .activate(true)
                .map_err(|error| glib::bool_error!("{error}"))?;
        }
        Ok(())
    }

    /// It runs, or is about to.
    fn runs(&self) -> bool {
        let next = match self.obj().pending_state() {
            gst::State::VoidPending => self.obj().current_state(),
            pending => pending,
        };
        next >= gst::State::Paused
    }

    pub(super) fn remove_consumer(&self, pad: &DroneTeePad) {
        // The application and a receiver that is dropped may both release it.
        if !pad.imp().begin_release() {
            return;
        }
        self.leave(pad);
        if let Err(error) = self.obj().remove_pad(pad) {
            gst::warning!(CAT, obj = pad, "Not removed: {error}");
        }
        self.left(pad);
    }

    /// The pad was removed: by `gst_element_remove_pad()`, if it was not released.
    pub(super) fn consumer_removed(&self, pad: &DroneTeePad) {
        if pad.imp().begin_release() {
            self.leave(pad);
            self.left(pad);
        }
    }

    fn leave(&self, pad: &DroneTeePad) {
        self.note_leaving(pad);
        // A pad that does not let itself be stopped is removed all the same.
        let _ = pad.set_active(false);
        pad.imp().leave();
    }

    fn left(&self, pad: &DroneTeePad) {
        self.obj().child_removed(pad, &pad.name());
        self.obj().notify("num-src-pads");
        self.reporter().send_if_alone();
    }
}
