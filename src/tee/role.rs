// SPDX-License-Identifier: MPL-2.0
//! What the element does in a sink's place for consumers in this process.
//!
//! A bin says STREAM_START and EOS when all its sinks have, and sends seeks, LATENCY and queries to
//! its sinks. No sink is behind a receiver, so the element is one: from the first receiver on until
//! it is stopped. It stays one when the last receiver is dropped, or a pipeline that has no other
//! sink would not end.
//!
//! EOS is said when each receiver was handed the end. A receiver that does not call for as long as
//! makes a consumer `stalled` is not waited for, nor one that was evicted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use glib::prelude::*;
use gst::prelude::*;

use super::{lock, now};
use crate::fanout::ConsumerId;

/// When a receiver called last, monotonic ns. The receiver writes it.
pub(super) type LastCall = Arc<AtomicU64>;

/// Who of the element's helpers, states and receivers writes what is said at each method.
#[derive(Default)]
pub(super) struct AsSink {
    /// Held over the core's lock, and over the object locks of elements.
    role: Mutex<Role>,
    changed: Condvar,
}

#[derive(Default)]
struct Role {
    /// Between start and stop.
    runs: bool,
    /// A sink says EOS in PLAYING only.
    playing: bool,
    is_sink: bool,
    /// A helper is at it, which posts in order.
    busy: bool,
    receivers: Vec<Receiver>,
    stream_start: Option<gst::Event>,
    /// STREAM_START was posted.
    start_told: bool,
    end: Option<End>,
}

struct Receiver {
    id: ConsumerId,
    last_call: LastCall,
    /// It was handed the end.
    done: bool,
}

/// The end that has come to the sink pad.
struct End {
    event: gst::Event,
    at: u64,
    /// All that are waited for have it.
    reached: bool,
}

/// What is to be posted next.
pub(super) enum Due {
    StreamStart(gst::Event),
    End,
}

impl Role {
    fn has_work(&self) -> bool {
        let ends = self.end.as_ref().is_some_and(|end| !end.reached);
        self.is_sink && (ends || self.stream_start.is_some() && !self.start_told)
    }

    /// True if a helper has to be started.
    fn needs_helper(&mut self) -> bool {
        self.has_work() && !std::mem::replace(&mut self.busy, true)
    }

    fn forget_stream(&mut self) {
        self.stream_start = None;
        self.start_told = false;
        self.end = None;
    }

    /// How long to wait for receivers; zero when the end is reached.
    fn patience_left(
        &self,
        end: &End,
        patience: u64,
        is_served: impl Fn(ConsumerId) -> bool,
    ) -> u64 {
        let missing = self.receivers.iter().filter(|one| !one.done);
        let left = missing.filter(|one| is_served(one.id)).map(|one| {
            let since = one.last_call.load(Ordering::Relaxed).max(end.at);
            since.saturating_add(patience).saturating_sub(now())
        });
        left.max().unwrap_or(0)
    }
}

impl AsSink {
    /// A receiver that was handed the end `event`.
    pub(super) fn handed(&self, id: ConsumerId, event: &gst::Event) {
        let mut role = lock(&self.role);
        // It may be the end of a stream before.
        let is_it = |end: &End| end.event.as_ptr() == event.as_ptr();
        if role.end.as_ref().is_some_and(is_it)
            && let Some(receiver) = role.receivers.iter_mut().find(|one| one.id == id)
        {
            receiver.done = true;
            self.changed.notify_all();
        }
    }

    /// A receiver was handed its eviction.
    pub(super) fn look_again(&self) {
        // The helper looks under the lock.
        drop(lock(&self.role));
        self.changed.notify_all();
    }

    /// Events in the order in which they come to the sink pad, before receivers can take them;
    /// true if a helper has to be started.
    pub(super) fn note(&self, event: &gst::Event) -> bool {
        let mut role = lock(&self.role);
        match event.type_() {
            gst::EventType::StreamStart => {
                role.forget_stream();
                role.stream_start = Some(event.clone());
            }
            gst::EventType::FlushStart | gst::EventType::FlushStop => role.end = None,
            gst::EventType::Eos => {
                for receiver in &mut role.receivers {
                    receiver.done = false;
                }
                role.end = Some(End {
                    event: event.clone(),
                    at: now(),
                    reached: false,
                });
            }
            _ => return false,
        }
        self.changed.notify_all();
        role.needs_helper()
    }

    /// Waits until something is to be posted; nothing when all is, or has become void.
    pub(super) fn next(
        &self,
        patience: u64,
        is_served: impl Fn(ConsumerId) -> bool,
    ) -> Option<Due> {
        let mut role = lock(&self.role);
        while role.has_work() {
            if !std::mem::replace(&mut role.start_told, true)
                && let Some(start) = role.stream_start.clone()
            {
                return Some(Due::StreamStart(start));
            }
            let end = role.end.as_ref().filter(|end| !end.reached);
            let left = end.map(|end| role.patience_left(end, patience, &is_served));
            match left {
                Some(0) => return Some(Due::End),
                Some(left) => {
                    let left = Duration::from_nanos(left);
                    let waited = self.changed.wait_timeout(role, left);
                    role = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {}
            }
        }
        role.busy = false;
        None
    }

    /// The end is reached; what to post if it is to be posted now.
    pub(super) fn reach(&self) -> Option<gst::Event> {
        let mut role = lock(&self.role);
        let playing = role.playing;
        let end = role.end.as_mut().filter(|end| !end.reached)?;
        end.reached = true;
        playing.then(|| end.event.clone())
    }

    /// As a sink, the element says EOS again each time that it goes to PLAYING at the end.
    pub(super) fn set_playing(&self, playing: bool) -> Option<gst::Event> {
        let mut role = lock(&self.role);
        role.playing = playing;
        let end = role.end.as_ref().filter(|end| end.reached)?;
        (playing && role.is_sink).then(|| end.event.clone())
    }

    pub(super) fn set_running(&self, runs: bool, element: &gst::Element) {
        let mut role = lock(&self.role);
        role.forget_stream();
        role.runs = runs;
        role.playing = false;
        // A helper of the run before that hangs in a handler is left behind.
        role.busy &= !runs;
        self.update(&mut role, element);
        self.changed.notify_all();
    }

    /// True if a helper has to be started.
    pub(super) fn join(&self, id: ConsumerId, last_call: LastCall, element: &gst::Element) -> bool {
        let mut role = lock(&self.role);
        role.receivers.push(Receiver {
            id,
            last_call,
            done: false,
        });
        self.update(&mut role, element);
        role.needs_helper()
    }

    pub(super) fn leave(&self, id: ConsumerId, element: &gst::Element) {
        let mut role = lock(&self.role);
        role.receivers.retain(|one| one.id != id);
        self.update(&mut role, element);
        self.changed.notify_all();
    }

    fn update(&self, role: &mut Role, element: &gst::Element) {
        let is_sink = !role.receivers.is_empty() || role.is_sink && role.runs;
        if std::mem::replace(&mut role.is_sink, is_sink) != is_sink {
            mark(element, is_sink);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.role).runs
    }

    pub(super) fn is_sink(&self) -> bool {
        lock(&self.role).is_sink
    }
}

/// Flags the element as a sink or not, and the bins that it makes sinks by that: a bin looks at the
/// flag of an element only when that is added or removed.
fn mark(element: &gst::Element, is_sink: bool) {
    const SINK: gst::ElementFlags = gst::ElementFlags::SINK;
    if is_sink {
        element.set_element_flags(SINK);
    } else {
        element.unset_element_flags(SINK);
    }
    let Some(bin) = element.parent().and_downcast::<gst::Bin>() else {
        return;
    };
    if bin.suppressed_flags().contains(SINK) {
        return;
    }
    let has_sink = || {
        let children = bin.children();
        children
            .iter()
            .any(|child| child.element_flags().contains(SINK))
    };
    if bin.element_flags().contains(SINK) != is_sink && (is_sink || !has_sink()) {
        mark(bin.upcast_ref(), is_sink);
    }
}
