// SPDX-License-Identifier: MPL-2.0
//! One summary for each end of the stream, whatever state the consumer is in.

use crate::accounts::{Said, number, text};
use crate::common::{Consumer, Rig, assert_balanced, caps, wait_for};
use gst::prelude::*;

/// A consumer that lost more than it may, and hangs.
fn evicted(rig: &Rig, name: &str) -> Consumer {
    let consumer = rig.consumer(name);
    consumer.pad.set_property("max-lag", 2u64);
    consumer.stick();
    rig.push(0).unwrap();
    consumer.wait_in_flight();
    rig.push_all(1..10);
    assert_eq!(consumer.state(), "evicted");
    consumer
}

/// Another branch behind the same pad.
fn relink(consumer: &Consumer) -> Consumer {
    let _ = consumer.pad.unlink(&consumer.sink);
    let (sink, record) = Consumer::sink(None);
    consumer.pad.link(&sink).unwrap();
    Consumer {
        pad: consumer.pad.clone(),
        sink,
        record,
    }
}

fn end(rig: &Rig) {
    assert!(rig.src.push_event(gst::event::Eos::new()));
}

fn wait_for_end(consumer: &Consumer) {
    wait_for("the end", || {
        !consumer.events(gst::EventType::Eos).is_empty()
    });
}

fn dropped_for(said: &Said, reason: &str) -> u64 {
    said.named("dronetee-drop")
        .iter()
        .filter(|drop| text(drop, "reason") == reason)
        .map(|drop| number(drop, "count"))
        .sum()
}

#[test]
fn an_evicted_consumer_that_hangs_has_one() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    rig.tee.set_property("drop-messages-interval", 3_600_000u32);
    let lags = evicted(&rig, "lags");
    rig.push_all(10..13);
    assert_eq!(said.summaries("lags").len(), 0);
    end(&rig);
    wait_for("its summary", || said.summaries("lags").len() == 1);
    let summary = &said.summaries("lags")[0];
    assert_balanced(summary);
    assert_eq!(text(summary, "state"), "evicted");
    assert_eq!(
        (number(summary, "in"), number(summary, "in-flight")),
        (13, 1)
    );
    for reason in ["slow", "evicted"] {
        let counted = number(summary, &format!("dropped-{reason}"));
        assert_eq!(dropped_for(&said, reason), counted);
    }
    lags.unstick();
    rig.tee.set_state(gst::State::Ready).unwrap();
    wait_for("that of the stop", || said.summaries("lags").len() == 2);
}

#[test]
fn an_end_that_waits_when_its_consumer_is_evicted_has_one() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let lags = rig.consumer("lags");
    lags.pad.set_property("max-lag", 2u64);
    lags.stick();
    rig.push(0).unwrap();
    lags.wait_in_flight();
    rig.push_all(1..5);
    end(&rig);
    assert_eq!((lags.state().as_str(), lags.level()), ("ok", 4));
    lags.pad.set_property("depth", 1u32);
    assert_eq!(lags.state(), "evicted");
    wait_for("its summary", || said.summaries("lags").len() == 1);
    assert_eq!(number(&said.summaries("lags")[0], "dropped"), 4);
    lags.unstick();
    // By its eviction.
    wait_for_end(&lags);
    assert_eq!(said.summaries("lags").len(), 1);
}

#[test]
fn an_end_that_is_repeated_has_no_second_one() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let (linked_late, lags) = (rig.consumer("late"), evicted(&rig, "lags"));
    linked_late.wait_idle();
    linked_late.pad.unlink(&linked_late.sink).unwrap();
    end(&rig);
    for name in ["late", "lags"] {
        wait_for("its summary", || said.summaries(name).len() == 1);
    }
    lags.unstick();
    for (name, consumer) in [("late", &linked_late), ("lags", &lags)] {
        // It would be told before the end is passed on.
        wait_for_end(&relink(consumer));
        assert_eq!(said.summaries(name).len(), 1, "{name}");
    }
}

#[test]
fn each_end_has_its_own() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    let slow = rig.consumer("slow");
    slow.stick();
    rig.push(0).unwrap();
    slow.wait_in_flight();
    end(&rig);
    // The second part of the stream waits behind the end of the first.
    rig.begin(&caps(8));
    rig.push(1).unwrap();
    end(&rig);
    assert_eq!(said.summaries("slow").len(), 0);
    slow.unstick();
    wait_for("both ends", || slow.events(gst::EventType::Eos).len() == 2);
    let out = |summary: &gst::Structure| number(summary, "out");
    let summaries = said.summaries("slow");
    assert_eq!(summaries.iter().map(out).collect::<Vec<_>>(), [1, 2]);

    for flush in [
        gst::event::FlushStart::new(),
        gst::event::FlushStop::new(true),
    ] {
        assert!(rig.src.push_event(flush));
    }
    rig.segment();
    rig.push(2).unwrap();
    end(&rig);
    wait_for("the third", || said.summaries("slow").len() == 3);
    assert_eq!(out(&said.summaries("slow")[2]), 3);
}

#[test]
fn a_consumer_that_joins_after_the_end_has_its_own() {
    let rig = Rig::started();
    let said = Said::on(&rig.bus);
    rig.push(0).unwrap();
    end(&rig);
    let late = rig.consumer("late");
    wait_for_end(&late);
    assert_eq!(said.summaries("late").len(), 1);
    assert_eq!(number(&said.summaries("late")[0], "in"), 0);
}

/// There is no thread for messages then: who tells what the other was kept from telling?
#[test]
fn two_releases_at_once_after_the_stop_have_one_each() {
    for _ in 0..200 {
        let rig = Rig::started();
        let pads = ["a", "b"].map(|name| rig.consumer(name).pad);
        rig.tee.set_state(gst::State::Ready).unwrap();
        let said = Said::on(&rig.bus);
        std::thread::scope(|scope| {
            for pad in &pads {
                scope.spawn(|| rig.tee.release_request_pad(pad));
            }
        });
        wait_for("both", || {
            let told = |name| !said.summaries(name).is_empty();
            told("a") && told("b")
        });
    }
}
