// SPDX-License-Identifier: MPL-2.0
//! What is in the cell: elements that the application adds, or what the description says; and the
//! pads that the application or the launch line makes for it.

use std::sync::Weak;

use gst::prelude::*;

use super::content;
use super::course::State;
use super::keeper::Keeper;
use super::{CAT, DroneBranch};

impl Keeper {
    /// Puts `new` into the cell, in place of what is there; `None` takes it out.
    pub(super) fn replace_content(&self, new: Option<gst::Bin>) -> Result<(), glib::BoolError> {
        if let Some(new) = &new {
            self.prepare(new);
        }
        let old = {
            let mut inner = self.lock();
            inner.entry = None;
            std::mem::replace(&mut inner.content, new.clone())
        };
        if let Some(old) = old {
            self.cell.remove(&old)?;
        }
        new.map_or(Ok(()), |new| self.cell.add(&new))
    }

    /// Content that comes to PLAYING by itself would find out a latency of its own: it takes the
    /// pipeline's, once that is known.
    fn prepare(&self, content: &gst::Bin) {
        let keeper = self.weak();
        content.connect("do-latency", false, move |values| {
            let content = values.first()?.get::<gst::Bin>().ok()?;
            let latency = keeper.upgrade().and_then(|keeper| keeper.lock().latency);
            let told = latency.map(|latency| content.send_event(gst::event::Latency::new(latency)));
            Some(told.is_some().to_value())
        });
    }

    /// The content and its sink pad, made if need be. For the state thread of a life.
    pub(super) fn provide_content(&self) -> Result<(gst::Bin, gst::Pad), glib::Error> {
        let (there, entry) = {
            let inner = self.lock();
            (inner.content.clone(), inner.entry.clone())
        };
        let content = match (there, self.settings().description) {
            (Some(content), _) => content,
            (None, Some(description)) => {
                let content = content::parse(&description)?;
                self.replace_content(Some(content.clone()))
                    .map_err(|error| content::error(&error.message))?;
                content
            }
            (None, None) => return Err(content::error("The content was left behind")),
        };
        let entry = match entry {
            Some(entry) => entry,
            None => content::entry(&content).map_err(|error| content::error(&error))?,
        };
        self.lock().entry = Some(entry.clone());
        Ok((content, entry))
    }

    /// The content that elements may be added to.
    pub(super) fn open_content(&self) -> Result<gst::Bin, gst::LoggableError> {
        if self.settings().description.is_some() {
            return Err(gst::loggable_error!(
                CAT,
                "The description says what is in it"
            ));
        }
        let content = self.lock().content.clone();
        content.ok_or_else(|| gst::loggable_error!(CAT, "The content was left behind"))
    }

    // ---- the bin's sink pad --------------------------------------------------------------------

    /// Leads a ghost pad of the bin to the gate; where it led before is where frames go in.
    pub(super) fn adopt(&self, ghost: &gst::GhostPad) {
        let target = ghost.target();
        if target.as_ref() == Some(&self.gate) {
            return;
        }
        if self.gate.is_linked() {
            gst::error!(CAT, obj = ghost, "The branch has a sink pad already");
            return;
        }
        // Clearing a target does not fail.
        let _ = ghost.set_target(None::<&gst::Pad>);
        if let Some(target) = target {
            self.enter_at(target);
        }
        if ghost.set_target(Some(&self.gate)).is_err() {
            gst::error!(CAT, obj = ghost, "The pad can not be linked");
        }
    }

    /// Frames go in at `target`, a pad in the content or one that gst-launch made on the way there.
    fn enter_at(&self, mut target: gst::Pad) {
        let Some(content) = self.lock().content.clone() else {
            return;
        };
        while target.parent().as_ref() == Some(self.cell.upcast_ref())
            && let Some(ghost) = target.downcast_ref::<gst::GhostPad>().cloned()
            && let Some(next) = ghost.target()
        {
            // The gate takes its place. It stays, as the one that made it may take it away.
            let _ = ghost.set_target(None::<&gst::Pad>);
            target = next;
        }
        let is_own = target.parent().as_ref() == Some(content.upcast_ref());
        let entry = match is_own {
            true => Some(target),
            false => content::ghost(&content, &target),
        };
        match entry {
            Some(entry) => self.lock().entry = Some(entry),
            None => gst::error!(CAT, obj = self.cell, "No pad for the content"),
        }
    }
}

/// Leads pads that are added to `branch` to the gate, once it takes frames: before, whatever links it
/// may find that the link is not possible, and take the pads away again.
pub(super) fn adopt_pads(branch: &DroneBranch, keeper: &Weak<Keeper>) {
    let keeper = keeper.clone();
    branch.connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Sink
            && let Some(ghost) = pad.downcast_ref::<gst::GhostPad>()
            && let Some(keeper) = keeper.upgrade()
            && keeper.lock().course.state() != State::Stopped
        {
            keeper.adopt(ghost);
        }
    });
}
