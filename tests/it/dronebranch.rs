// SPDX-License-Identifier: MPL-2.0
//! `dronebranch`: whatever one branch does, the good one beside it loses nothing, the pipeline comes
//! to its end and stops.

mod building;
mod coded;
mod failing;
mod general;
mod hanging;
mod hostile;
mod leaks;
mod opening;
mod relinking;
mod rude;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::common::{DEADLINE, init, wait_for};

/// A camera that makes 100 small frames a second until it is told to end.
pub(crate) const CAMERA: &str = "videotestsrc name=camera is-live=true \
     ! video/x-raw,format=GRAY8,width=16,height=16,framerate=100/1";
/// A consumer of which nothing is lost.
pub(crate) const GOOD: &str = "t.src_good ! fakesink name=good sync=false";

/// A pipeline with a branch that fails and a good one.
pub(crate) struct Flight {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) branch: gst::Element,
    messages: Arc<Mutex<Vec<gst::Message>>>,
}

impl Flight {
    /// Camera, `dronetee`, the good consumer, and `rest`, in which `branch` is the `dronebranch`.
    pub(crate) fn ready(rest: &str) -> Self {
        init();
        rude::register();
        Self::of(&format!(
            "{CAMERA} ! dronetee name=t depth=100 {GOOD} {rest}"
        ))
    }

    pub(crate) fn start(rest: &str) -> Self {
        let flight = Self::ready(rest);
        flight.play();
        flight
    }

    /// In NULL.
    pub(crate) fn of(line: &str) -> Self {
        let pipeline = gst::parse::launch(line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let branch = pipeline.by_name("branch").unwrap();
        let messages = Arc::<Mutex<Vec<gst::Message>>>::default();
        let seen = messages.clone();
        pipeline.bus().unwrap().set_sync_handler(move |_, message| {
            seen.lock().unwrap().push(message.clone());
            gst::BusSyncReply::Drop
        });
        Self {
            pipeline,
            branch,
            messages,
        }
    }

    pub(crate) fn play(&self) {
        let changed = self.pipeline.set_state(gst::State::Playing);
        assert!(changed.is_ok(), "{changed:?}");
        wait_for("PLAYING", || {
            self.pipeline.state(gst::ClockTime::ZERO).1 == gst::State::Playing
        });
    }

    pub(crate) fn element(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).unwrap()
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.branch.property(name)
    }

    pub(crate) fn state(&self) -> String {
        let value = self.branch.property_value("state");
        let (_, value) = glib::EnumValue::from_value(&value).unwrap();
        value.nick().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_state(&self, state: &str) {
        wait_for(state, || self.state() == state);
    }

    #[track_caller]
    pub(crate) fn wait_count(&self, name: &str, least: u64) {
        wait_for(&format!("{least} {name}"), || self.count(name) >= least);
    }

    pub(crate) fn messages(&self, type_: gst::MessageType) -> Vec<gst::Message> {
        let messages = self.messages.lock().unwrap();
        let found = messages.iter().filter(|message| message.type_() == type_);
        found.cloned().collect()
    }

    /// The `dronebranch-error` messages.
    pub(crate) fn errors(&self) -> Vec<gst::Structure> {
        let messages = self.messages(gst::MessageType::Element);
        let structures = messages.iter().filter_map(|message| message.structure());
        structures
            .filter(|structure| structure.name() == "dronebranch-error")
            .map(|structure| structure.to_owned())
            .collect()
    }

    /// The end of the stream comes to the pipeline, and no error has.
    #[track_caller]
    pub(crate) fn end(&self) {
        assert!(self.pipeline.send_event(gst::event::Eos::new()));
        self.wait_end();
    }

    #[track_caller]
    pub(crate) fn wait_end(&self) {
        wait_for("the end of the stream", || {
            !self.messages(gst::MessageType::Eos).is_empty()
        });
        let errors = self.messages(gst::MessageType::Error);
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// The pipeline stops though content may hang.
    #[track_caller]
    pub(crate) fn stop(&self) {
        let pipeline = self.pipeline.clone();
        let (stopped, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = stopped.send(pipeline.set_state(gst::State::Null));
        });
        let stopped = wait.recv_timeout(DEADLINE).expect("it does not stop");
        assert_eq!(stopped, Ok(gst::StateChangeSuccess::Success));
        assert_eq!(self.state(), "stopped");
    }

    /// Of all that was published the good consumer has got all.
    #[track_caller]
    pub(crate) fn assert_good(&self) {
        let published: u64 = self.element("t").property("published");
        let good = self.element("t").static_pad("src_good").unwrap();
        let count = |name: &str| good.property::<u64>(name);
        assert!(published > 0);
        assert_eq!((count("in"), count("dropped")), (published, 0));
        assert_eq!(count("out"), published);
    }

    /// Ends, stops, and the good branch has lost nothing.
    #[track_caller]
    pub(crate) fn land(&self) {
        self.end();
        self.assert_good();
        self.stop();
        self.assert_good();
    }

    /// Frames that come to the sink of that name, from now on.
    pub(crate) fn frames_at(&self, sink: &str) -> Arc<AtomicU64> {
        let frames = Arc::<AtomicU64>::default();
        let count = frames.clone();
        let pad = self.element(sink).static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        frames
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may hang.
            return std::mem::forget(self.pipeline.clone());
        }
        let _ = self.pipeline.set_state(gst::State::Null);
        // The handler holds messages, which hold elements.
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// Waits until `count` has grown by so many.
#[track_caller]
pub(crate) fn wait_more(what: &str, count: &AtomicU64, more: u64) {
    let before = count.load(Ordering::Relaxed);
    wait_for(what, || count.load(Ordering::Relaxed) >= before + more);
}
