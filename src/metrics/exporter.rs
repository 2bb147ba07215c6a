// SPDX-License-Identifier: MPL-2.0
//! Which elements there are, and what each is called.

use std::sync::{Arc, Mutex, PoisonError};

use glib::prelude::*;
use gst::prelude::*;

use super::encode::{self, Scrape};
use super::format::{Format, to_prometheus};
use super::hide::hide_passwords;
use crate::api::{Error, FramePublisher};
use crate::dronebranch;

/// The metrics of the elements that were added to it.
///
/// An element is not kept alive, and is gone from the text when it is. It is shown from READY on, with a
/// label `element` that it keeps: its name, if no other element here has it, else the names of its
/// parents too, `pipeline1/camera`.
///
/// May be cloned and used from any thread.
#[derive(Debug, Clone, Default)]
pub struct Exporter(Arc<Mutex<Vec<Known>>>);

#[derive(Debug)]
struct Known {
    element: glib::WeakRef<gst::Element>,
    /// Given when it is first shown: an element gets its name after it was made.
    label: Option<String>,
}

impl Exporter {
    /// One without elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `dronetee` or a `dronebranch`; once more does no harm. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::NotADroneTee`] for any other element.
    pub fn add(&self, element: &gst::Element) -> Result<(), Error> {
        if !dronebranch::is_one(element) {
            FramePublisher::new(element)?;
        }
        self.with_alive(|known, alive| {
            if !alive.contains(element) {
                known.push(Known {
                    element: element.downgrade(),
                    label: None,
                });
            }
        });
        Ok(())
    }

    /// All of it, read now. Waits for no stream, no branch and no handler.
    pub fn text(&self, format: Format) -> String {
        let shown = self.shown();
        let mut scrape = Scrape::default();
        for (element, label) in &shown {
            if let Some(figures) = dronebranch::figures(element) {
                scrape.branches.push((label.clone(), figures));
            } else if let Ok(publisher) = FramePublisher::new(element) {
                scrape.streams.push((label.clone(), publisher.health()));
            }
        }
        let text = encode::open_metrics(scrape);
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => to_prometheus(&text),
        }
    }
}

impl Exporter {
    /// What an element is called, from now on if it has not been yet; `None` for one that was not added.
    pub(crate) fn label_of(&self, element: &gst::Element) -> Option<String> {
        self.with_alive(|known, alive| {
            let index = alive.iter().position(|own| own == element)?;
            Some(label(known, index, element))
        })
    }

    fn shown(&self) -> Vec<(gst::Element, String)> {
        self.with_alive(|known, alive| {
            let mut shown = Vec::new();
            for (index, element) in alive.iter().enumerate() {
                if known[index].label.is_some() || element.current_state() >= gst::State::Ready {
                    shown.push((element.clone(), label(known, index, element)));
                }
            }
            shown
        })
    }

    /// What is known of the elements that are alive, and these, in the same order.
    fn with_alive<R>(&self, look: impl FnOnce(&mut Vec<Known>, &[gst::Element]) -> R) -> R {
        // One of them may be the last reference: let go of after the lock.
        let mut alive = Vec::new();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| {
            let element = known.element.upgrade();
            let is_alive = element.is_some();
            alive.extend(element);
            is_alive
        });
        let seen = look(&mut known, &alive);
        drop(known);
        seen
    }
}

/// The label of `element`, which is known at `index`.
fn label(known: &mut [Known], index: usize, element: &gst::Element) -> String {
    if let Some(label) = &known[index].label {
        return label.clone();
    }
    let is_free = |label: &String| {
        known
            .iter()
            .all(|known| known.label.as_ref() != Some(label))
    };
    let [name, path] = [element.name().to_string(), path(element)];
    let [name, path] = [name, path].map(|label| hide_passwords(&label).into_owned());
    let numbered = (2u64..).map(|n| format!("{path}#{n}"));
    let mut candidates = [name, path.clone()].into_iter().chain(numbered);
    let label = candidates.find(is_free).unwrap_or_default();
    known[index].label = Some(label.clone());
    label
}

/// The names of the element's parents and its own.
fn path(element: &gst::Element) -> String {
    let mut names = vec![element.name().to_string()];
    let mut parent = element.parent();
    while let Some(own) = parent {
        names.push(own.name().to_string());
        parent = own.parent();
    }
    names.reverse();
    names.join("/")
}
