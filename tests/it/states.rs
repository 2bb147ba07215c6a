// SPDX-License-Identifier: MPL-2.0
//! What is told of a consumer's state, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::accounts::{NEVER, Said, count, interval, number, text};
use crate::common::{Consumer, Rig, assert_balanced, wait_for};
use gst::prelude::*;

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
    let lags = rig.full_consumer("lags");
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
fn dropped_is_notified_if_asked_for_and_as_seldom_as_told() {
    let rig = Rig::started();
    interval(&rig.tee, NEVER);
    rig.tee.set_property("post-drop-messages", false);
    let said = Said::on(&rig.bus);
    let silent = rig.full_consumer("silent");
    let loud = rig.consumer("loud");
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

/// A consumer that was evicted and has had its EOS.
fn evicted(rig: &Rig) -> Consumer {
    let lags = rig.full_consumer("lags");
    lags.pad.set_property("max-lag", 1u64);
    rig.push_all(5..8);
    assert_eq!(lags.state(), "evicted");
    lags.unstick();
    wait_for("its EOS", || !lags.events(gst::EventType::Eos).is_empty());
    lags
}

/// While it is out, as at any other time, a flush begins and ends on its pad.
#[test]
fn a_flush_passes_an_evicted_consumer() {
    let rig = Rig::started();
    let fine = rig.consumer("fine");
    let lags = evicted(&rig);
    rig.flush();
    // Its sink has lost its preroll and its EOS: without another one the pipeline never runs again.
    let ends = || lags.events(gst::EventType::Eos).len();
    wait_for("another EOS", || ends() == 2);
    assert_eq!(lags.story().last().unwrap(), "eos");
    lags.pad.unlink(&lags.sink).unwrap();
    let again = rig.link(lags.pad.clone(), None);
    rig.push_all(8..10);
    for consumer in [&fine, &again] {
        consumer.wait_idle();
        assert!(consumer.offsets().ends_with(&[8, 9]));
    }
}

/// Its EOS was the end of one stream; the same branch gets the next one.
#[test]
fn an_evicted_branch_that_asks_to_be_served_again_is() {
    let rig = Rig::started();
    let fine = rig.consumer("fine");
    let lags = evicted(&rig);
    lags.forget();
    assert!(lags.sink.push_event(gst::event::Reconfigure::new()));
    rig.push_all(8..10);
    for consumer in [&fine, &lags] {
        consumer.wait_idle();
    }
    assert_eq!(lags.story(), ["stream-start", "caps", "segment", "8", "9"]);
    assert_eq!(lags.state(), "ok");
}
