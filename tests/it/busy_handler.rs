// SPDX-License-Identifier: MPL-2.0
//! A message handler that takes long: what comes meanwhile is told after it, and of whom it is.

use std::sync::{Arc, Condvar, Mutex};

use crate::accounts::{interval, number, pad_stats};
use crate::common::{Rig, wait_for};
use gst::prelude::*;

/// Keeps messages; its handler does not return from drop messages while it is closed.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar, Mutex<Vec<gst::Message>>)>);

impl Gate {
    fn on(bus: &gst::Bus) -> Self {
        let gate = Self::default();
        *gate.0.0.lock().unwrap() = true;
        let own = gate.clone();
        bus.set_sync_handler(move |_, message| {
            let (closed, opened, kept) = &*own.0;
            kept.lock().unwrap().push(message.clone());
            if message.has_name("dronetee-drop") {
                let closed = closed.lock().unwrap();
                drop(opened.wait_while(closed, |closed| *closed).unwrap());
            }
            gst::BusSyncReply::Drop
        });
        gate
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn messages(&self) -> Vec<gst::Message> {
        self.0.2.lock().unwrap().clone()
    }

    fn named(&self, name: &str) -> Vec<gst::Structure> {
        let messages = self.messages();
        let structures = messages.iter().filter_map(|message| message.structure());
        let named = structures.filter(|structure| structure.name() == name);
        named.map(|structure| structure.to_owned()).collect()
    }

    fn wait_busy(&self) {
        wait_for("a busy handler", || !self.named("dronetee-drop").is_empty());
    }
}

#[test]
fn a_stop_meanwhile_is_told_in_full() {
    let rig = Rig::started();
    interval(&rig.tee, 0);
    let gate = Gate::on(&rig.bus);
    let slow = rig.full_consumer("slow");
    rig.push_all(5..10);
    gate.wait_busy();
    slow.unstick();
    // Does not wait for the handler longer than for a branch.
    rig.tee.set_state(gst::State::Ready).unwrap();
    gate.open();
    wait_for("the summary", || gate.named("dronetee-summary").len() == 1);
    let told = gate.named("dronetee-drop");
    let told: u64 = told.iter().map(|drop| number(drop, "count")).sum();
    assert_eq!(told, number(&gate.named("dronetee-summary")[0], "dropped"));
}

#[test]
fn a_stop_out_of_a_handler_has_its_summary() {
    let rig = Rig::started();
    let slow = rig.full_consumer("slow");
    let (tee, kept) = (rig.tee.downgrade(), Arc::new(Mutex::new(0)));
    let summaries = kept.clone();
    rig.bus.set_sync_handler(move |_, message| {
        *summaries.lock().unwrap() += u32::from(message.has_name("dronetee-summary"));
        if message.has_name("dronetee-drop") {
            slow.unstick();
            tee.upgrade().unwrap().set_state(gst::State::Ready).unwrap();
        }
        gst::BusSyncReply::Drop
    });
    rig.push(5).unwrap();
    wait_for("the summary", || *kept.lock().unwrap() == 1);
    assert_eq!(rig.tee.current_state(), gst::State::Ready);
}

#[test]
fn an_end_and_a_release_meanwhile_have_full_summaries() {
    let rig = Rig::started();
    let gate = Gate::on(&rig.bus);
    let slow = rig.full_consumer("slow");
    rig.push(5).unwrap();
    gate.wait_busy();
    assert!(rig.src.push_event(gst::event::Eos::new()));
    slow.unstick();
    wait_for("the end", || !slow.events(gst::EventType::Eos).is_empty());
    rig.tee.release_request_pad(&slow.pad);
    gate.open();
    wait_for("both", || gate.named("dronetee-summary").len() == 2);
    for summary in gate.named("dronetee-summary") {
        for field in pad_stats(&slow.pad).fields() {
            assert!(summary.has_field(field.as_str()), "{field} in {summary}");
        }
    }
}

#[test]
fn qos_of_a_released_pad_is_not_told_of_its_namesake() {
    let rig = Rig::started();
    interval(&rig.tee, 0);
    rig.tee.set_property("qos-messages", true);
    let gate = Gate::on(&rig.bus);
    let slow = rig.full_consumer("slow");
    rig.push_all(5..10);
    gate.wait_busy();
    rig.tee.release_request_pad(&slow.pad);
    let _namesake = rig.tee.request_pad_simple("src_slow").unwrap();
    gate.open();
    wait_for("the summary", || gate.named("dronetee-summary").len() == 1);
    let mut qos = gate.messages();
    qos.retain(|message| message.type_() == gst::MessageType::Qos);
    assert_eq!(
        qos.len(),
        5 + 5,
        "slow ones, those that waited and the one in flight"
    );
    for message in qos {
        assert_eq!(message.src(), Some(slow.pad.upcast_ref()));
    }
}

/// A handler that hangs is the application's trouble, not that of a thread that releases a pad or ends.
#[test]
fn nobody_waits_for_a_handler_but_an_end_for_a_while() {
    let rig = Rig::started();
    interval(&rig.tee, 0);
    let slow = rig.full_consumer("slow");
    let [other, leaver] = ["other", "leaver"].map(|name| rig.consumer(name));
    let gate = Gate::on(&rig.bus);
    rig.push_all(5..10);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    wait_for("the end", || !other.events(gst::EventType::Eos).is_empty());
    rig.tee.release_request_pad(&leaver.pad);
    assert!(gate.named("dronetee-summary").is_empty());
    gate.open();
    wait_for("the summaries", || {
        gate.named("dronetee-summary").len() >= 3
    });
    slow.unstick();
}
