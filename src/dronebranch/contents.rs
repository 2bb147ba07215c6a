// SPDX-License-Identifier: MPL-2.0
//! What is in the cell: elements that the application adds, or what the description says; and the
//! pads that the application or the launch line makes for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;

use super::relinks::Relinks;
use super::{CAT, DroneBranch, content};

/// The content with what a life needs of it.
#[derive(Clone)]
pub(super) struct Stock {
    pub(super) content: gst::Bin,
    /// Its pad where frames go in.
    pub(super) entry: gst::Pad,
    pub(super) relinks: Arc<Relinks>,
    /// How much longer than any other content it may take, ns: it holds branches, which wait for their
    /// own content.
    pub(super) grace: u64,
}

/// The pipeline's latency, as far as it was told.
type Latency = Arc<Mutex<Option<gst::ClockTime>>>;

pub(super) struct Contents {
    /// The bin's only child. Its own state never changes.
    cell: gst::Bin,
    held: Mutex<Held>,
    latency: Latency,
}

#[derive(Default)]
struct Held {
    /// `None`: it was left behind, or can not be built.
    content: Option<gst::Bin>,
    /// Once it is known.
    entry: Option<gst::Pad>,
    relinks: Arc<Relinks>,
}

impl Contents {
    pub(super) fn new(cell: gst::Bin) -> Self {
        Self {
            cell,
            held: Mutex::default(),
            latency: Latency::default(),
        }
    }

    pub(super) fn cell(&self) -> &gst::Bin {
        &self.cell
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn content(&self) -> Option<gst::Bin> {
        self.lock().content.clone()
    }

    pub(super) fn entry(&self) -> Option<gst::Pad> {
        self.lock().entry.clone()
    }

    /// Puts `new` into the cell, in place of what is there; `None` takes it out.
    pub(super) fn replace(&self, new: Option<gst::Bin>) -> Result<(), glib::BoolError> {
        if let Some(new) = &new {
            self.prepare(new);
        }
        let held = Held {
            content: new.clone(),
            ..Held::default()
        };
        let old = std::mem::replace(&mut *self.lock(), held);
        if let Some(old) = old.content {
            self.cell.remove(&old)?;
        }
        new.map_or(Ok(()), |new| self.cell.add(&new))
    }

    /// Has what the new description says; the text says why not.
    pub(super) fn describe(&self, old: Option<&str>, new: Option<&str>) -> Result<(), String> {
        let has_children = |bin: gst::Bin| !bin.children().is_empty();
        if old.is_none() && self.content().is_some_and(has_children) {
            return Err("The bin has elements of its own, and takes no description".to_owned());
        }
        let new = match new.map(content::parse) {
            None => Some(content::new()),
            Some(Ok(content)) => Some(content),
            Some(Err(error)) => {
                // The branch fails with it as it starts: the pipeline may be in flight.
                gst::error!(CAT, obj = self.cell, "Bad description: {error}");
                None
            }
        };
        self.replace(new).map_err(|error| error.message.to_string())
    }

    /// The content and its sink pad, made if need be. For the state thread of a life.
    pub(super) fn provide(&self, description: Option<&str>) -> Result<Stock, glib::Error> {
        if self.content().is_none() {
            let description = description.ok_or_else(|| content::error(LEFT_BEHIND))?;
            self.replace(Some(content::parse(description)?))
                .map_err(|error| content::error(&error.message))?;
        }
        let (content, entry) = (self.content(), self.entry());
        let content = content.ok_or_else(|| content::error(LEFT_BEHIND))?;
        let entry = match entry {
            Some(entry) => entry,
            None => content::entry(&content).map_err(|error| content::error(&error))?,
        };
        let mut held = self.lock();
        held.entry = Some(entry.clone());
        let relinks = held.relinks.clone();
        Ok(Stock {
            grace: grace(&content),
            content,
            entry,
            relinks,
        })
    }

    /// The content hangs. Its threads hang in it, and it is in the middle of a state change: without
    /// the cell's bus and out of its children it can do no harm.
    pub(super) fn leave_behind(&self) {
        let old = std::mem::take(&mut *self.lock());
        if let Some(content) = old.content
            && let Err(error) = self.cell.remove(&content)
        {
            gst::error!(CAT, obj = self.cell, "{error}");
        }
    }

    // ---- elements that the application adds and takes --------------------------------------------

    /// To the content that the bin has without a description.
    pub(super) fn add(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        let content = self.content();
        let content = content.ok_or_else(|| gst::loggable_error!(CAT, "{LEFT_BEHIND}"))?;
        let added = content.add(element);
        added.map_err(|error| gst::loggable_error!(CAT, "{error}"))
    }

    /// `None`: it is none of the content's.
    pub(super) fn remove(&self, element: &gst::Element) -> Option<Result<(), gst::LoggableError>> {
        let parent = element.parent()?.downcast::<gst::Bin>().ok()?;
        let content = self.content().filter(|content| *content == parent)?;
        let removed = content.remove(element);
        Some(removed.map_err(|error| gst::loggable_error!(CAT, "{error}")))
    }

    // ---- latency -----------------------------------------------------------------------------

    pub(super) fn note_latency(&self, latency: gst::ClockTime) {
        *self.latency.lock().unwrap_or_else(PoisonError::into_inner) = Some(latency);
    }

    pub(super) fn latency(&self) -> Option<gst::ClockTime> {
        known(&self.latency)
    }

    /// Content that comes to PLAYING by itself would find out a latency of its own: it takes the
    /// pipeline's, once that is known.
    fn prepare(&self, content: &gst::Bin) {
        let latency = self.latency.clone();
        content.connect("do-latency", false, move |values| {
            let content = values.first()?.get::<gst::Bin>().ok()?;
            let told = known(&latency)
                .map(|latency| content.send_event(gst::event::Latency::new(latency)));
            Some(told.is_some().to_value())
        });
    }

    // ---- the bin's sink pad --------------------------------------------------------------------

    /// Leads a ghost pad of the bin to `gate`; where it led before is where frames go in.
    pub(super) fn adopt(&self, ghost: &gst::GhostPad, gate: &gst::Pad) {
        let target = ghost.target();
        if target.as_ref() == Some(gate) {
            return;
        }
        if gate.is_linked() {
            gst::error!(CAT, obj = ghost, "The branch has a sink pad already");
            return;
        }
        // Clearing a target does not fail.
        let _ = ghost.set_target(None::<&gst::Pad>);
        if let Some(target) = target {
            self.enter_at(target);
        }
        if ghost.set_target(Some(gate)).is_err() {
            gst::error!(CAT, obj = ghost, "The pad can not be linked");
        }
    }

    /// Frames go in at `target`, a pad in the content or one that gst-launch made on the way there.
    fn enter_at(&self, mut target: gst::Pad) {
        let Some(content) = self.content() else {
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

const LEFT_BEHIND: &str = "The content was left behind";

fn known(latency: &Latency) -> Option<gst::ClockTime> {
    *latency.lock().unwrap_or_else(PoisonError::into_inner)
}

fn grace(content: &gst::Bin) -> u64 {
    let all = content::descendants(content);
    let branches = all.iter().filter(|element| element.is::<DroneBranch>());
    let longest = branches.map(|branch| branch.property::<u64>("stop-timeout"));
    let longest = longest.max();
    longest.map_or(0, |longest| longest.saturating_add(GRACE))
}

/// For what the threads of a branch do after they have waited, ns.
const GRACE: u64 = 500_000_000;
