// SPDX-License-Identifier: MPL-2.0
//! What an application may do in a handler, with the element in the middle of something.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::accounts::{attach, count, pad_stats, random, text, work_for};
use crate::common::{Rig, assert_balanced, caps, wait_for};
use gst::prelude::*;

/// Reads every property of the element and of its pads.
fn read_everything(tee: &gst::Element) {
    let mut objects = vec![tee.clone().upcast::<gst::Object>()];
    objects.extend(tee.pads().into_iter().map(Cast::upcast));
    for object in objects {
        for property in object.list_properties() {
            if property.flags().contains(glib::ParamFlags::READABLE) {
                let _ = object.property_value(property.name());
            }
        }
    }
}

/// Reads everything, and adds and removes a consumer.
fn meddle(tee: &gst::Element, done: &AtomicU64) {
    read_everything(tee);
    let pad = tee.request_pad_simple("src_%u").unwrap();
    read_everything(tee);
    tee.release_request_pad(&pad);
    done.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn handlers_may_do_all_that_an_application_does() {
    let rig = Rig::with(|tee| {
        tee.set_property("qos-messages", true);
        tee.set_property("stall-timeout", 1_000_000u64);
        tee.set_property("drop-messages-interval", 1u32);
    });
    rig.begin(&caps(8));
    let done: [Arc<AtomicU64>; 3] = Default::default();
    // Requesting and releasing posts messages itself.
    let inside = Arc::new(Mutex::new(()));
    let (tee, of_bus) = (rig.tee.downgrade(), done[0].clone());
    rig.bus.set_sync_handler(move |_, _| {
        if let (Ok(_inside), Some(tee)) = (inside.try_lock(), tee.upgrade()) {
            meddle(&tee, &of_bus);
        }
        gst::BusSyncReply::Drop
    });
    let pads = ["a", "b", "c"].map(|name| {
        attach(&rig, name, |_| {
            if random(10) == 0 {
                work_for(Duration::from_millis(random(4) as u64));
            }
            Ok(gst::FlowSuccess::Ok)
        })
    });
    for pad in &pads {
        pad.set_property("silent", false);
        let (tee, of_notify) = (rig.tee.downgrade(), done[1].clone());
        pad.connect_notify(None, move |_, property| {
            if ["dropped", "state", "is-healthy"].contains(&property.name())
                && let Some(tee) = tee.upgrade()
            {
                meddle(&tee, &of_notify);
            }
        });
        let (tee, of_probe) = (rig.tee.downgrade(), done[2].clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if let Some(tee) = tee.upgrade()
                && random(10) == 0
            {
                meddle(&tee, &of_probe);
            }
            gst::PadProbeReturn::Ok
        });
    }
    let mut n = 0;
    wait_for("all of them to be called", || {
        for _ in 0..20 {
            rig.push(n).unwrap();
            n += 1;
        }
        done.iter().all(|done| done.load(Ordering::SeqCst) >= 10)
    });
    assert!(rig.src.push_event(gst::event::Eos::new()));
    rig.tee.set_state(gst::State::Ready).unwrap();
    for pad in &pads {
        assert_balanced(&pad_stats(pad));
        assert_eq!(count(pad, "in"), n);
    }
    rig.bus.unset_sync_handler();
}

#[test]
fn a_handler_may_release_the_pad_that_it_is_about() {
    for kind in ["dronetee-drop", "dronetee-consumer", "dronetee-summary"] {
        let rig = Rig::started();
        let fine = rig.consumer("fine");
        fine.pad.set_property("depth", 100u32);
        let victim = rig.full_consumer("victim");
        let released = Arc::new(AtomicBool::new(false));
        let (tee, done) = (rig.tee.downgrade(), released.clone());
        rig.bus.set_sync_handler(move |_, message| {
            let about = message.structure().is_some_and(|structure| {
                structure.name() == kind && text(structure, "consumer") == "victim"
            });
            if about
                && let Some(tee) = tee.upgrade()
                && let Some(pad) = tee.static_pad("src_victim")
            {
                tee.release_request_pad(&pad);
                done.store(true, Ordering::SeqCst);
            }
            gst::BusSyncReply::Drop
        });
        rig.tee.set_property("stall-timeout", 5_000_000u64);
        rig.push(5).unwrap();
        if kind == "dronetee-summary" {
            // The branch's own thread tells it.
            victim.unstick();
            assert!(rig.src.push_event(gst::event::Eos::new()));
        } else {
            fine.wait_idle();
        }
        wait_for("the release", || released.load(Ordering::SeqCst));
        assert_eq!(rig.tee.property::<i32>("num-src-pads"), 1);
        if kind != "dronetee-summary" {
            rig.push(6).unwrap();
            fine.wait_idle();
            assert_eq!(*fine.offsets().last().unwrap(), 6);
        }
        victim.unstick();
        assert_balanced(&victim.stats());
        rig.bus.unset_sync_handler();
    }
}

#[test]
fn a_handler_may_release_a_pad_as_soon_as_it_is_there() {
    let rig = Rig::started();
    let publisher = gstdronetee::FramePublisher::new(&rig.tee).unwrap();
    let handler = rig
        .tee
        .connect_pad_added(|tee, pad| tee.release_request_pad(pad));
    assert!(rig.tee.request_pad_simple("src_a").is_none());
    let mut frames = publisher.subscribe("b").unwrap();
    assert!(frames.recv().is_none());
    drop(frames);
    assert_eq!(rig.tee.property::<i32>("num-src-pads"), 0);
    // The names are free.
    rig.tee.disconnect(handler);
    assert!(rig.tee.request_pad_simple("src_a").is_some());
    assert!(publisher.subscribe("b").is_ok());
}

#[test]
fn a_probe_may_release_its_own_pad() {
    let rig = Rig::started();
    let (goes, fine) = (rig.consumer("goes"), rig.consumer("fine"));
    let tee = rig.tee.downgrade();
    goes.pad
        .add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            if let Some(tee) = tee.upgrade() {
                read_everything(&tee);
                tee.release_request_pad(pad);
            }
            gst::PadProbeReturn::Ok
        });
    rig.push(0).unwrap();
    wait_for("the release", || {
        rig.tee.property::<i32>("num-src-pads") == 1
    });
    rig.push(1).unwrap();
    fine.wait_idle();
    assert_eq!(fine.offsets(), [0, 1]);
    assert_balanced(&goes.stats());
}

// ---- figures -------------------------------------------------------------------------------
