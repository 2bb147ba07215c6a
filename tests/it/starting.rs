// SPDX-License-Identifier: MPL-2.0
//! Consumers that join while the element starts or stops, held at the worst moment: their pad is active and
//! not yet added.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use gst::prelude::*;
use gstdronetee::{FramePublisher, FrameReceiver};

const DEADLINE: Duration = Duration::from_secs(30);

type Gate = (ThreadId, Sender<()>, Receiver<()>);

static GATES: Mutex<Vec<Gate>> = Mutex::new(Vec::new());

/// GStreamer says in its log that it is about to add a pad: the one whose gate it is waits there.
fn watch_pads() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(begin_to_watch);
}

fn begin_to_watch() {
    gst::init().unwrap();
    gstdronetee::plugin_register_static().unwrap();
    gst::log::remove_default_log_function();
    gst::log::set_active(true);
    gst::log::set_threshold_for_name("GST_ELEMENT_PADS", gst::DebugLevel::Info);
    gst::log::add_log_function(|_, _, _, _, _, _, message| {
        let adds = |message: &str| message.starts_with("adding pad");
        if !message.get().is_some_and(|message| adds(&message)) {
            return;
        }
        let own = |gate: &mut Gate| gate.0 == std::thread::current().id();
        let gate = GATES.lock().unwrap().extract_if(.., own).next();
        if let Some((_, arrived, go)) = gate {
            arrived.send(()).unwrap();
            go.recv().unwrap();
        }
    });
}

/// A consumer on its way.
struct Joining {
    go: Sender<()>,
    joined: Receiver<FrameReceiver>,
}

impl Joining {
    /// Returns when its pad is about to be added.
    fn begin(publisher: &FramePublisher) -> Self {
        let (arrive, arrived) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let (join, joined) = mpsc::channel();
        let publisher = publisher.clone();
        std::thread::spawn(move || {
            let gate = (std::thread::current().id(), arrive, gone);
            GATES.lock().unwrap().push(gate);
            join.send(publisher.subscribe("a").unwrap()).unwrap();
        });
        arrived.recv_timeout(DEADLINE).unwrap();
        Self { go, joined }
    }

    fn finish(self) -> FrameReceiver {
        self.go.send(()).unwrap();
        self.joined.recv_timeout(DEADLINE).unwrap()
    }
}

fn element() -> (gst::Element, FramePublisher) {
    let tee = gst::ElementFactory::make("dronetee").build().unwrap();
    let publisher = FramePublisher::new(&tee).unwrap();
    (tee, publisher)
}

fn assert_served(tee: &gst::Element, mut frames: FrameReceiver) {
    let sink = tee.static_pad("sink").unwrap();
    crate::ends::begin(&sink, None);
    sink.chain(gst::Buffer::from_slice([0; 16])).unwrap();
    assert_eq!(frames.recv_timeout(DEADLINE).unwrap().seq(), 0);
    tee.set_state(gst::State::Null).unwrap();
}

#[test]
fn whoever_joins_while_the_element_starts_is_served() {
    watch_pads();
    // It stops and starts.
    let (tee, publisher) = element();
    tee.set_state(gst::State::Playing).unwrap();
    let joining = Joining::begin(&publisher);
    tee.set_state(gst::State::Null).unwrap();
    tee.set_state(gst::State::Playing).unwrap();
    assert_served(&tee, joining.finish());

    // It is about to start.
    let (tee, publisher) = element();
    let joining = Arc::new(Mutex::new(None));
    let (begun, bus) = (joining.clone(), gst::Bus::new());
    tee.set_bus(Some(&bus));
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::StateChanged(change) = message.view()
            && change.current() == gst::State::Ready
            && change.pending() == gst::State::Playing
        {
            *begun.lock().unwrap() = Some(Joining::begin(&publisher));
        }
        gst::BusSyncReply::Drop
    });
    tee.set_state(gst::State::Playing).unwrap();
    let joining = joining.lock().unwrap().take().unwrap();
    assert_served(&tee, joining.finish());
}

#[test]
fn whoever_joins_while_the_element_stops_is_stopped() {
    watch_pads();
    let (tee, publisher) = element();
    tee.set_state(gst::State::Playing).unwrap();
    let joining = Joining::begin(&publisher);
    tee.set_state(gst::State::Null).unwrap();
    let mut frames = joining.finish();
    assert!(tee.src_pads().iter().all(|pad| !pad.is_active()));
    assert!(frames.try_recv().is_err());
}
