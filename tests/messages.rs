// SPDX-License-Identifier: MPL-2.0
//! What an operator learns: messages, notifies, states and figures.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "common/accounts.rs"]
mod accounts;
mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accounts::{Said, attach, count, number, pad_stats, random, text, work_for};
use common::{Consumer, REASONS, Rig, assert_balanced, caps, wait_for};
use gst::prelude::*;

/// Longer than any test.
const NEVER: u32 = 3_600_000;

fn interval(tee: &gst::Element, milliseconds: u32) {
    tee.set_property("drop-messages-interval", milliseconds);
}

/// A consumer that is stuck with frame 0 and whose queue of four is full.
fn full_consumer(rig: &Rig, name: &str) -> Consumer {
    let consumer = rig.consumer(name);
    consumer.stick();
    rig.push(0).unwrap();
    consumer.wait_in_flight();
    rig.push_all(1..5);
    assert_eq!((consumer.level(), consumer.count("dropped")), (4, 0));
    consumer
}

/// What the drop messages told adds up to the counters at each summary of the consumer; returns
/// how many summaries there were.
#[track_caller]
fn assert_told_all(said: &Said, consumer: &str) -> usize {
    let mut told = HashMap::<String, u64>::new();
    let mut summaries = 0;
    for message in said.messages() {
        let Some(structure) = message.structure() else {
            continue;
        };
        if structure.get::<String>("consumer").ok().as_deref() != Some(consumer) {
            continue;
        }
        match structure.name().as_str() {
            "dronetee-drop" => {
                let so_far = told.entry(text(structure, "reason")).or_default();
                *so_far += number(structure, "count");
                assert_eq!(*so_far, number(structure, "total"), "{structure}");
                assert!(number(structure, "count") > 0);
            }
            "dronetee-summary" => {
                summaries += 1;
                assert_balanced(structure);
                for reason in REASONS {
                    let so_far = told.get(reason).copied().unwrap_or_default();
                    let counted = number(structure, &format!("dropped-{reason}"));
                    assert_eq!(so_far, counted, "{reason}: {structure}");
                }
            }
            _ => {}
        }
    }
    summaries
}

// ---- drops ---------------------------------------------------------------------------------

#[test]
fn the_first_drop_is_told_at_once_and_the_others_later() {
    let rig = Rig::started();
    interval(&rig.tee, NEVER);
    let said = Said::on(&rig.bus);
    let slow = full_consumer(&rig, "slow");
    rig.push(5).unwrap();
    wait_for("the first message", || {
        !said.drops("slow", "slow").is_empty()
    });
    rig.push_all(6..30);
    assert_eq!(slow.count("dropped-slow"), 25);
    let drops = said.drops("slow", "slow");
    assert_eq!(drops.len(), 1);
    let drop = &drops[0];
    assert_eq!(text(drop, "pad"), "src_slow");
    assert_eq!(text(drop, "tag"), "slow_slow");
    assert_eq!((number(drop, "count"), number(drop, "total")), (1, 1));
    assert_eq!((number(drop, "in"), number(drop, "out")), (6, 0));
    assert_eq!(number(drop, "dropped"), 1);
    let pts = common::frame(1).pts().unwrap().nseconds();
    assert_eq!(number(drop, "timestamp"), pts);
    assert_eq!(number(drop, "running-time"), pts);
    // Another reason has a first drop of its own.
    assert!(rig.src.push_event(gst::event::FlushStart::new()));
    wait_for("the other", || said.drops("slow", "flushing").len() == 1);
    assert_eq!(said.drops("slow", "slow").len(), 1);
    slow.unstick();
    slow.wait_idle();
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(said.told("slow", "slow"), 25);
    assert_eq!(assert_told_all(&said, "slow"), 1);
}

#[test]
fn drops_are_told_no_more_often_than_the_interval() {
    const INTERVAL: Duration = Duration::from_millis(50);
    let rig = Rig::started();
    interval(&rig.tee, 50);
    let said = Said::on(&rig.bus);
    let consumers = [full_consumer(&rig, "one")];
    let begin = Instant::now();
    let mut n = 5;
    wait_for("some messages", || {
        rig.push_all(n..n + 50);
        n += 50;
        said.drops("one", "slow").len() >= 5
    });
    let elapsed = begin.elapsed();
    let told = said.drops("one", "slow").len() as u32;
    assert!(elapsed >= INTERVAL * 4, "{told} in {elapsed:?}");
    assert!(told - 1 <= (elapsed.as_millis() / INTERVAL.as_millis()) as u32 + 1);
    // What is left is told without another drop.
    let all = consumers[0].count("dropped-slow");
    wait_for("the rest", || said.told("one", "slow") == all);
}

#[test]
fn an_interval_of_zero_tells_each_drop() {
    let rig = Rig::started();
    interval(&rig.tee, 0);
    let said = Said::on(&rig.bus);
    let slow = full_consumer(&rig, "slow");
    rig.push_all(5..305);
    // Several at once are told one by one too.
    slow.pad.set_property("depth", 1u32);
    wait_for("the messages", || said.drops("slow", "slow").len() == 303);
    for (n, drop) in (0..).zip(said.drops("slow", "slow")) {
        assert_eq!((number(&drop, "count"), number(&drop, "total")), (1, n + 1));
        let lost = common::frame(n + 1).pts().unwrap();
        assert_eq!(number(&drop, "timestamp"), lost.nseconds());
    }
    // The messages are in order with the accounts.
    assert_eq!(slow.count("dropped-slow"), 303);
}

#[test]
fn nothing_is_posted_when_drop_messages_are_off() {
    let rig = Rig::started();
    rig.tee.set_property("post-drop-messages", false);
    let said = Said::on(&rig.bus);
    let slow = full_consumer(&rig, "slow");
    rig.push_all(5..50);
    slow.unstick();
    slow.wait_idle();
    rig.tee.set_state(gst::State::Ready).unwrap();
    assert_eq!(said.named("dronetee-drop").len(), 0);
    assert_eq!(said.summaries("slow").len(), 1);
}

#[test]
fn what_was_told_adds_up_at_the_summary_whatever_the_interval() {
    for round in 0..12 {
        let rig = Rig::started();
        interval(&rig.tee, random(4) as u32);
        let said = Said::on(&rig.bus);
        let slow = attach(&rig, "slow", |_| {
            if random(5) == 0 {
                work_for(Duration::from_micros(random(300) as u64));
            }
            Ok(gst::FlowSuccess::Ok)
        });
        let failing = attach(&rig, "failing", |_| match random(50) {
            0 => Err(gst::FlowError::Error),
            n if n < 10 => Err(gst::FlowError::Flushing),
            _ => Ok(gst::FlowSuccess::Ok),
        });
        slow.set_property("max-age", 300_000u64);
        for n in 0..1_500 {
            rig.push(n).unwrap();
            if n % 100 == 0 {
                interval(&rig.tee, [0, 0, 1, 2, 7, NEVER][random(6) as usize]);
            }
        }
        assert!(count(&slow, "dropped") > 0 && count(&failing, "dropped") > 0);
        match round % 3 {
            0 => {
                // The stop is in the middle of it.
                rig.tee.set_state(gst::State::Ready).unwrap();
            }
            1 => {
                rig.tee.release_request_pad(&slow);
                rig.tee.release_request_pad(&failing);
            }
            _ => {
                assert!(rig.src.push_event(gst::event::Eos::new()));
                rig.tee.set_state(gst::State::Ready).unwrap();
            }
        }
        for (name, pad) in [("slow", &slow), ("failing", &failing)] {
            wait_for("a summary", || !said.summaries(name).is_empty());
            assert!(assert_told_all(&said, name) >= 1);
            let last = said.summaries(name).pop().unwrap();
            assert_eq!(number(&last, "dropped"), count(pad, "dropped"));
            assert_eq!(number(&last, "in"), 1_500);
        }
    }
}

// ---- states --------------------------------------------------------------------------------

/// Counts the notifies of a property.
fn notified(pad: &gst::Pad, name: &str) -> Arc<AtomicU64> {
    let notified = Arc::<AtomicU64>::default();
    let counted = notified.clone();
    pad.connect_notify(Some(name), move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    notified
}

#[test]
fn a_hanging_push_is_a_stall_until_it_returns() {
    const TIMEOUT: u64 = 50_000_000;
    let rig = Rig::started();
    rig.tee.set_property("stall-timeout", TIMEOUT);
    let said = Said::on(&rig.bus);
    let (hangs, fine) = (rig.consumer("hangs"), rig.consumer("fine"));
    let changes = notified(&hangs.pad, "state");
    let health = notified(&hangs.pad, "is-healthy");
    hangs.stick();
    rig.push(0).unwrap();
    fine.wait_idle();
    wait_for("the stall", || said.states("hangs") == ["stalled"]);
    assert_eq!(hangs.state(), "stalled");
    assert!(!hangs.pad.property::<bool>("is-healthy"));
    // It is told once, however long it takes.
    wait_for("some time", || {
        number(&hangs.stats(), "in-flight-for") > 4 * TIMEOUT
    });
    assert_eq!(said.states("hangs"), ["stalled"]);
    hangs.unstick();
    wait_for("its return", || said.states("hangs") == ["stalled", "ok"]);
    assert!(hangs.pad.property::<bool>("is-healthy"));
    let told = said.named("dronetee-consumer");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(text(&told[0], "previous"), "ok");
    assert_eq!(text(&told[1], "previous"), "stalled");
    assert!(number(&told[0], "in-flight-for") >= TIMEOUT);
    assert!(number(&told[1], "in-flight-for") >= 4 * TIMEOUT);
    wait_for("the notifies", || health.load(Ordering::SeqCst) == 2);
    assert_eq!(changes.load(Ordering::SeqCst), 2);
    assert_eq!(fine.count("out"), 1);
}

#[test]
fn no_stall_is_seen_when_the_timeout_is_off() {
    let rig = Rig::started();
    rig.tee.set_property("stall-timeout", 0u64);
    let said = Said::on(&rig.bus);
    let hangs = rig.consumer("hangs");
    hangs.stick();
    rig.push(0).unwrap();
    wait_for("some time", || {
        number(&hangs.stats(), "in-flight-for") > 100_000_000
    });
    assert_eq!(hangs.state(), "ok");
    // Set while it hangs, it takes effect.
    rig.tee.set_property("stall-timeout", 1_000_000u64);
    wait_for("the stall", || said.states("hangs") == ["stalled"]);
}

#[test]
fn a_transition_is_told_once() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let unlinked = rig.tee.request_pad_simple("src_unlinked").unwrap();
    let (failed, ended, fine) = (
        rig.consumer("failed"),
        rig.consumer("ended"),
        rig.consumer("fine"),
    );
    failed.answer(Some(gst::FlowError::NotNegotiated));
    ended.answer(Some(gst::FlowError::Eos));
    for n in 0..20 {
        rig.push(n).unwrap();
        fine.wait_idle();
    }
    wait_for("the messages", || {
        said.named("dronetee-consumer").len() == 3
    });
    for (name, state, flow, healthy) in [
        ("unlinked", "not-linked", "not-linked", true),
        ("failed", "failed", "not-negotiated", false),
        ("ended", "eos", "eos", true),
    ] {
        let told = said.named("dronetee-consumer");
        let told: Vec<_> = told
            .iter()
            .filter(|one| text(one, "consumer") == name)
            .collect();
        assert_eq!(told.len(), 1, "{name}");
        assert_eq!(text(told[0], "pad"), format!("src_{name}"));
        assert_eq!(text(told[0], "state"), state);
        assert_eq!(text(told[0], "previous"), "ok");
        assert_eq!(text(told[0], "flow"), flow);
        let pad = rig.tee.static_pad(&format!("src_{name}")).unwrap();
        assert_eq!(pad.property::<bool>("is-healthy"), healthy);
    }
    // Relinked, it is served again, and that is told too.
    let (sink, record) = Consumer::sink(None);
    unlinked.link(&sink).unwrap();
    rig.push(20).unwrap();
    wait_for("its return", || {
        said.states("unlinked") == ["not-linked", "ok"]
    });
    wait_for("its frame", || count(&unlinked, "out") == 1);
    drop(record);
    assert!(unlinked.property::<bool>("is-healthy"));
    assert_eq!(said.states("fine"), [""; 0]);
}

#[test]
fn too_much_lag_evicts_until_the_branch_is_relinked() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let fine = rig.consumer("fine");
    fine.pad.set_property("depth", 100u32);
    let lags = full_consumer(&rig, "lags");
    lags.pad.set_property("max-lag", 3u64);
    rig.push_all(5..8);
    fine.wait_idle();
    assert_eq!((lags.state().as_str(), lags.level()), ("ok", 4));
    rig.push(8).unwrap();
    assert_eq!((lags.state().as_str(), lags.level()), ("evicted", 0));
    assert_eq!(lags.count("dropped-slow"), 4);
    assert_eq!(lags.count("dropped-evicted"), 4);
    for n in 9..20 {
        rig.push(n).unwrap();
        fine.wait_idle();
    }
    assert_eq!(lags.count("dropped-evicted"), 15);
    assert_balanced(&lags.stats());
    assert_eq!(fine.count("dropped"), 0);
    wait_for("the message", || said.states("lags") == ["evicted"]);
    assert!(!lags.pad.property::<bool>("is-healthy"));
    lags.unstick();
    wait_for("its EOS", || !lags.events(gst::EventType::Eos).is_empty());
    assert_eq!(lags.offsets(), [0]);
    assert_eq!(lags.story().last().unwrap(), "eos");
    assert_eq!(fine.events(gst::EventType::Eos).len(), 0);

    lags.pad.unlink(&lags.sink).unwrap();
    let (sink, record) = Consumer::sink(None);
    lags.pad.link(&sink).unwrap();
    let again = Consumer {
        pad: lags.pad.clone(),
        sink,
        record,
    };
    rig.push_all(20..22);
    wait_for("its frames", || again.offsets() == [20, 21]);
    assert_eq!(
        again.story(),
        ["stream-start", "caps", "segment", "20", "21"]
    );
    assert!(
        again.frames()[0]
            .flags()
            .contains(gst::BufferFlags::DISCONT)
    );
    wait_for("the message", || said.states("lags") == ["evicted", "ok"]);
    assert_eq!(lags.state(), "ok");
    again.wait_idle();
    // What it lost before is forgiven.
    again.stick();
    rig.push(22).unwrap();
    again.wait_in_flight();
    rig.push_all(23..30);
    assert_eq!(lags.count("dropped-slow"), 4 + 3);
    assert_eq!(lags.state(), "ok");
    rig.push(30).unwrap();
    assert_eq!(lags.state(), "evicted");
    again.unstick();
    fine.wait_idle();
}

// ---- summaries -----------------------------------------------------------------------------

#[test]
fn a_summary_comes_at_eos_at_stop_and_at_release() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let (stays, leaves) = (rig.consumer("stays"), rig.consumer("leaves"));
    for n in 0..3 {
        rig.push(n).unwrap();
        stays.wait_idle();
        leaves.wait_idle();
    }
    assert_eq!(said.named("dronetee-summary").len(), 0);
    rig.tee.release_request_pad(&leaves.pad);
    wait_for("that of the release", || {
        said.summaries("leaves").len() == 1
    });
    assert_eq!(said.summaries("stays").len(), 0);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    wait_for("that of the end", || said.summaries("stays").len() == 1);
    rig.tee.set_state(gst::State::Ready).unwrap();
    wait_for("that of the stop", || said.summaries("stays").len() == 2);
    for (name, pad) in [("stays", &stays.pad), ("leaves", &leaves.pad)] {
        for summary in said.summaries(name) {
            assert_eq!((number(&summary, "in"), number(&summary, "out")), (3, 3));
            assert_eq!(number(&summary, "dropped"), 0);
            // It has all that the pad's stats have.
            for field in pad_stats(pad).fields() {
                assert!(summary.has_field(field.as_str()), "{field}");
            }
        }
    }
    assert_eq!(said.summaries("leaves").len(), 1);
}

// ---- QoS messages and notifies ---------------------------------------------------------------

#[test]
fn qos_messages_name_the_pad_and_count_in_buffers() {
    let rig = Rig::started();
    interval(&rig.tee, 0);
    let said = Said::on(&rig.bus);
    let of_qos = || {
        let mut messages = said.messages();
        messages.retain(|message| message.type_() == gst::MessageType::Qos);
        messages
    };
    let slow = full_consumer(&rig, "slow");
    rig.push(5).unwrap();
    wait_for("the drop", || said.drops("slow", "slow").len() == 1);
    assert!(of_qos().is_empty());
    rig.tee.set_property("qos-messages", true);
    // Both, or one alone.
    rig.push(6).unwrap();
    rig.tee.set_property("post-drop-messages", false);
    wait_for("the first", || of_qos().len() == 1);
    rig.push(7).unwrap();
    wait_for("the second", || of_qos().len() == 2);
    for (n, message) in (2..).zip(of_qos()) {
        assert_eq!(message.src(), Some(slow.pad.upcast_ref()));
        let gst::MessageView::Qos(qos) = message.view() else {
            unreachable!()
        };
        let (processed, dropped) = qos.stats();
        assert_eq!(processed.format(), gst::Format::Buffers);
        assert_eq!((processed.value(), dropped.value()), (0, n));
        let (live, running_time, _, timestamp, _) = qos.get();
        assert!(live);
        let lost = common::frame(n as u64).pts();
        assert_eq!((running_time, timestamp), (lost, lost));
    }
}

#[test]
fn dropped_is_notified_if_asked_for_and_as_seldom_as_told() {
    let rig = Rig::started();
    interval(&rig.tee, NEVER);
    rig.tee.set_property("post-drop-messages", false);
    let said = Said::on(&rig.bus);
    let (loud, silent) = (rig.consumer("loud"), full_consumer(&rig, "silent"));
    loud.wait_idle();
    loud.pad.set_property("silent", false);
    let (of_loud, of_silent) = (
        notified(&loud.pad, "dropped"),
        notified(&silent.pad, "dropped"),
    );
    loud.stick();
    rig.push(5).unwrap();
    loud.wait_in_flight();
    rig.push_all(6..50);
    wait_for("the notify", || of_loud.load(Ordering::SeqCst) == 1);
    rig.push_all(50..60);
    interval(&rig.tee, 0);
    rig.push_all(60..65);
    let told = || of_loud.load(Ordering::SeqCst);
    wait_for("one for each", || told() >= 6);
    // One for the first, one for all up to the change of the interval, one for each since.
    assert!((6..=7).contains(&told()), "{}", told());
    assert_eq!(of_silent.load(Ordering::SeqCst), 0);
    assert_eq!(said.named("dronetee-drop").len(), 0);
}

// ---- synchronous handlers --------------------------------------------------------------------

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
        let victim = full_consumer(&rig, "victim");
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

#[test]
fn a_consumer_of_200_ms_a_frame_reads_as_that() {
    let rig = Rig::started();
    let slow = attach(&rig, "slow", |_| {
        work_for(Duration::from_millis(200));
        Ok(gst::FlowSuccess::Ok)
    });
    let fine = rig.consumer("fine");
    rig.push_all(0..4);
    wait_for("its frames", || count(&slow, "out") == 4);
    let stats = pad_stats(&slow);
    let service = ["service-p50", "service-p99", "service-max"].map(|name| number(&stats, name));
    assert!((198_000_000..300_000_000).contains(&service[0]), "{stats}");
    assert!(
        service[0] <= service[1] && service[1] <= service[2],
        "{stats}"
    );
    // The last one waited for three others.
    let wait = ["wait-p50", "wait-p99", "wait-max"].map(|name| number(&stats, name));
    assert!((590_000_000..900_000_000).contains(&wait[2]), "{stats}");
    assert!(wait[0] <= wait[1] && wait[1] <= wait[2], "{stats}");
    let of_fine = fine.stats();
    assert!(number(&of_fine, "service-p50") < 50_000_000, "{of_fine}");
    // New with a new start.
    rig.tee.set_state(gst::State::Ready).unwrap();
    rig.tee.set_state(gst::State::Paused).unwrap();
    assert_eq!(number(&pad_stats(&slow), "service-max"), 0);
}

#[test]
fn the_streams_figures_are_the_sources() {
    let rig = Rig::started();
    let stats = || rig.tee.property::<gst::Structure>("stats");
    assert_eq!(number(&stats(), "last-frame-age"), u64::MAX);
    let _fine = rig.consumer("fine");
    let mut sent = Vec::new();
    let begin = Instant::now();
    for n in 0..130 {
        let due = begin + Duration::from_millis(10) * n;
        work_for(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        rig.push(n.into()).unwrap();
    }
    let told = stats();
    let now = Instant::now();
    let of_last_second = |sent: &&Instant| now - **sent < Duration::from_secs(1);
    let expected = sent.iter().filter(of_last_second).count() as f64;
    let rate = told.get::<f64>("frame-rate").unwrap();
    assert!(
        (rate / expected - 1.0).abs() < 0.2,
        "{rate}, not {expected}"
    );
    let bits = number(&told, "bitrate") as f64;
    assert!((bits / (rate * 16.0 * 8.0) - 1.0).abs() < 0.01, "{told}");
    assert_eq!(number(&told, "bytes"), 130 * 16);
    assert_eq!(number(&told, "published"), 130);
    assert_eq!(told.get::<gst::Caps>("caps").unwrap(), caps(8));
    assert_eq!(told.get::<i32>("num-src-pads").unwrap(), 1);
    // The age of the last frame grows with the clock.
    let last = *sent.last().unwrap();
    wait_for("some time", || last.elapsed() > Duration::from_millis(50));
    let at_least = last.elapsed() - Duration::from_millis(40);
    let age = Duration::from_nanos(number(&stats(), "last-frame-age"));
    assert!(age > at_least && age < last.elapsed(), "{age:?}");
}

#[test]
fn what_a_branch_reports_of_itself_is_readable() {
    let rig = Rig::started();
    let (late, fine) = (rig.consumer("late"), rig.consumer("fine"));
    for n in 1..4 {
        let event = gst::event::Qos::builder(
            gst::QOSType::Underflow,
            f64::from(n),
            i64::from(n) * 1_000_000,
        );
        assert!(late.sink.push_event(event.build()));
    }
    let stats = late.stats();
    assert_eq!(number(&stats, "qos-events"), 3);
    assert_eq!(stats.get::<f64>("qos-proportion").unwrap(), 3.0);
    assert_eq!(stats.get::<i64>("qos-jitter").unwrap(), 3_000_000);
    assert_eq!(number(&fine.stats(), "qos-events"), 0);
}
