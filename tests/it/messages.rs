// SPDX-License-Identifier: MPL-2.0
//! What an operator learns of drops: messages and summaries.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::accounts::{
    NEVER, Said, attach, count, interval, number, pad_stats, random, text, work_for,
};
use crate::common::{REASONS, Rig, assert_balanced, wait_for};
use gst::prelude::*;

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
    let slow = rig.full_consumer("slow");
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
    let pts = crate::common::frame(1).pts().unwrap().nseconds();
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
    // On a busy machine the first is lost while the queue is filled.
    let begin = Instant::now();
    let consumers = [rig.full_consumer("one")];
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
    let slow = rig.full_consumer("slow");
    rig.push_all(5..305);
    // Several at once are told one by one too.
    slow.pad.set_property("depth", 1u32);
    wait_for("the messages", || said.drops("slow", "slow").len() == 303);
    for (n, drop) in (0..).zip(said.drops("slow", "slow")) {
        assert_eq!((number(&drop, "count"), number(&drop, "total")), (1, n + 1));
        let lost = crate::common::frame(n + 1).pts().unwrap();
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
    let slow = rig.full_consumer("slow");
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
    let slow = rig.full_consumer("slow");
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
        let lost = crate::common::frame(n as u64).pts();
        assert_eq!((running_time, timestamp), (lost, lost));
    }
}

#[test]
fn another_interval_takes_effect_at_once() {
    let rig = Rig::started();
    interval(&rig.tee, NEVER);
    let said = Said::on(&rig.bus);
    let _slow = rig.full_consumer("slow");
    let told = |count| {
        wait_for("the messages", || said.told("slow", "slow") == count);
    };
    rig.push_all(5..20);
    wait_for("the first", || !said.drops("slow", "slow").is_empty());
    interval(&rig.tee, 20);
    told(15);
    interval(&rig.tee, NEVER);
    rig.push_all(20..30);
    interval(&rig.tee, 0);
    told(25);
}

#[test]
fn drops_are_told_by_the_name_that_the_consumer_had_then() {
    let rig = Rig::started();
    interval(&rig.tee, NEVER);
    let said = Said::on(&rig.bus);
    let slow = rig.full_consumer("old");
    rig.push_all(5..15);
    slow.pad.set_property("consumer", "new");
    rig.push_all(15..20);
    slow.unstick();
    slow.wait_idle();
    rig.tee.set_state(gst::State::Ready).unwrap();
    let told = ["old", "new"].map(|name| said.told(name, "slow"));
    assert_eq!(told, [10, 5]);
}
