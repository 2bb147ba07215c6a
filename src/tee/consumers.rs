// SPDX-License-Identifier: MPL-2.0
//! How src pads come and go.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::output::Member;
use super::props::PadSettings;
use super::{CAT, DroneTee, DroneTeePad, imp, lock};

/// Why there is no pad for a consumer. Nothing is left of it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not `src_` and letters, digits, `_` and `-`.
    InvalidName,
    /// Who has the pad's or the consumer's name.
    NameTaken(String),
    NotActivated(glib::BoolError),
    NotAdded(glib::BoolError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidName => f.write_str("that is no valid name for a consumer's pad"),
            Self::NameTaken(by) => f.write_str(by),
            Self::NotActivated(error) => write!(f, "it was not activated: {error}"),
            Self::NotAdded(error) => write!(f, "it was not added: {error}"),
        }
    }
}

/// The names that the pads and their consumers have, from before a pad is added until it leaves.
#[derive(Debug, Default)]
pub(super) struct Names {
    next_index: AtomicU32,
    taken: Mutex<Vec<Named>>,
}

#[derive(Debug)]
struct Named {
    pad: String,
    consumer: String,
}

impl Names {
    /// Takes both names if no other pad has one of them.
    fn reserve(&self, element: &DroneTee, pad: &str, consumer: &str) -> Result<(), Refusal> {
        let mut taken = lock(&self.taken);
        // A pad that has let its names go may still be there for a moment.
        if element.static_pad(pad).is_some() || taken.iter().any(|named| named.pad == pad) {
            let by = format!("there is a pad '{pad}' already");
            return Err(Refusal::NameTaken(by));
        }
        is_free(&taken, pad, consumer).map_err(Refusal::NameTaken)?;
        taken.push(Named {
            pad: pad.to_owned(),
            consumer: consumer.to_owned(),
        });
        Ok(())
    }

    fn reserve_any(&self, element: &DroneTee) -> String {
        loop {
            let index = self.next_index.fetch_add(1, Ordering::Relaxed);
            let name = format!("src_{index}");
            if self
                .reserve(element, &name, &default_consumer(&name))
                .is_ok()
            {
                return name;
            }
        }
    }

    /// Another name for the pad's consumer, which `set` writes down; or who has it.
    ///
    /// The lock of the names is held over that of the pad's settings, so that of two names that
    /// are given at once the same one stays here and there.
    pub(super) fn rename(
        &self,
        pad: &str,
        consumer: &str,
        set: impl FnOnce(),
    ) -> Result<(), String> {
        let mut taken = lock(&self.taken);
        is_free(&taken, pad, consumer)?;
        // A pad that has left keeps its name to itself.
        if let Some(own) = taken.iter_mut().find(|named| named.pad == pad) {
            own.consumer = consumer.to_owned();
        }
        set();
        Ok(())
    }

    fn release(&self, pad: &str) {
        lock(&self.taken).retain(|named| named.pad != pad);
    }
}

/// Whether another pad's consumer is called so.
fn is_free(taken: &[Named], pad: &str, consumer: &str) -> Result<(), String> {
    let has_it = |named: &&Named| named.pad != pad && named.consumer == consumer;
    taken.iter().find(has_it).map_or(Ok(()), |other| {
        Err(format!(
            "the consumer of pad '{}' is called '{consumer}' already",
            other.pad
        ))
    })
}

/// The pad's name without `src_`; a number alone keeps it.
pub(super) fn default_consumer(pad: &str) -> String {
    match pad.strip_prefix("src_") {
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => pad.to_owned(),
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
    ) -> Result<DroneTeePad, Refusal> {
        let added = self.try_add_consumer(templ, name, receiver);
        if let Err(refusal) = &added {
            let name = name.unwrap_or("src_%u");
            gst::error!(CAT, imp = self, "No pad '{name}': {refusal}");
        }
        added
    }

    fn try_add_consumer(
        &self,
        templ: &gst::PadTemplate,
        name: Option<&str>,
        receiver: Option<PadSettings>,
    ) -> Result<DroneTeePad, Refusal> {
        let own = receiver.as_ref().and_then(|own| own.consumer.clone());
        // GStreamer's helpers pass the template's own name on, which means any.
        let name = match name.filter(|name| *name != templ.name_template()) {
            None => self.names.reserve_any(&self.obj()),
            Some(name) if !is_valid_name(name) => return Err(Refusal::InvalidName),
            Some(name) => {
                let consumer = own.unwrap_or_else(|| default_consumer(name));
                self.names.reserve(&self.obj(), name, &consumer)?;
                name.to_owned()
            }
        };
        let pad = self.new_pad(templ, &name, receiver.is_some());
        self.join(&pad, receiver);
        if let Err(refusal) = self.begin(&pad) {
            // Closing a pad that never worked can not fail in a way that matters.
            let _ = pad.set_active(false);
            pad.imp().leave();
            self.names.release(&name);
            if pad.parent().is_some() {
                let _ = self.obj().remove_pad(&pad);
            }
            return Err(refusal);
        }
        self.obj().child_added(&pad, &name);
        self.obj().notify("num-src-pads");
        if pad.imp().is_receiver() {
            // Branches have upstream ask by RECONFIGURE.
            self.renew_if_outgrown();
        }
        Ok(pad)
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
            .link_function_if_some(is_receiver.then_some(super::receivers::refuse_link))
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
    fn begin(&self, pad: &DroneTeePad) -> Result<(), Refusal> {
        if self.runs() {
            pad.set_active(true).map_err(Refusal::NotActivated)?;
        }
        self.obj().add_pad(pad).map_err(Refusal::NotAdded)?;
        if !self.runs() {
            // The element stopped between the two, and did not see it.
            pad.set_active(false).map_err(Refusal::NotActivated)?;
        }
        if pad.is_active() && pad.imp().id().is_some_and(|id| self.stream.is_idle(id)) {
            // The element started between the two, and did not see it.
            let activated = pad.imp().activate(true);
            activated.map_err(|error| Refusal::NotActivated(glib::bool_error!("{error}")))?;
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
        // A pad that does not let itself be stopped is removed all the same.
        let _ = pad.set_active(false);
        pad.imp().leave();
        if let Some(id) = pad.imp().id() {
            self.receiver_leaves(id);
        }
        // A handler that hears of the removal may give them to another pad.
        self.names.release(&pad.name());
    }

    fn left(&self, pad: &DroneTeePad) {
        self.obj().child_removed(pad, &pad.name());
        self.obj().notify("num-src-pads");
        self.reporter().send_if_alone();
    }
}

#[cfg(test)]
mod tests {
    use super::default_consumer;

    #[test]
    fn consumers_are_named_after_their_pads() {
        assert_eq!(default_consumer("src_detection_client"), "detection_client");
        assert_eq!(default_consumer("src_0"), "src_0");
        assert_eq!(default_consumer("src_2nd"), "2nd");
    }
}
