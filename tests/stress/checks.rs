// SPDX-License-Identifier: MPL-2.0
//! What has to hold: at any time, for a consumer that takes, and when all is at rest.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::fault::{fault, note, wait_until, watch};
use crate::handler::Errand;
use crate::ledger::{self, check_element, count};
use crate::sink::{self, Branch};
use crate::source;
use crate::world::{Consumer, Feed, Tee, World};

/// What has to hold at any time.
pub(crate) fn check(world: &World) {
    for (index, tee) in world.tees.iter().enumerate() {
        let pushes: Vec<_> = world
            .consumers
            .iter()
            .filter(|one| one.tee == index)
            .map(|one| one.passage.own_pushes())
            .collect();
        let (stats, pads) = watch("stats", || check_element(&tee.element));
        let came = tee.marks.count() - tee.marks_before;
        let published = count(&stats, "published");
        if published > came {
            fault(format!("{came} frames came in, but: {stats}"));
        }
        let own = world.consumers.iter().filter(|one| one.tee == index);
        for (consumer, before) in own.zip(pushes) {
            let name = consumer.pad.name();
            let is_it = |pad: &&gst::Structure| pad.get::<String>("pad").unwrap() == name;
            let Some(pad) = pads.iter().find(is_it) else {
                continue;
            };
            compare(consumer, pad, before);
            if count(pad, "in") == 0 {
                // It has not joined.
                continue;
            }
            let missed = published as i64 - count(pad, "in") as i64;
            let known = consumer.passage.missed.lock().unwrap().replace(missed);
            if let Some(known) = known
                && missed > known
            {
                fault(format!(
                    "frames did not arrive, {known} then {missed} were missed: {pad}"
                ));
            }
        }
    }
}

/// Everybody takes, and the pipeline plays.
fn mend(world: &mut World) {
    world.unblock();
    // It may never go on after a second stream.
    world.drop_for_good();
    world.unstick(true);
    for branch in world.controls() {
        branch.control.set(sink::Mode::Takes);
    }
    world.join_calls();
    for tee in &world.tees {
        let mut errands = tee.handler.errands.lock().unwrap();
        errands.retain(|errand| !matches!(errand, Errand::Unlink(_)));
    }
    watch("play", || world.pipeline.set_state(gst::State::Playing)).ok();
    for element in world.controls().flat_map(|branch| &branch.elements) {
        watch("play a branch", || element.sync_state_with_parent()).ok();
    }
    for tee in &world.tees {
        let Feed::Own(source) = &tee.feed else {
            continue;
        };
        source.set_period(Duration::from_millis(2));
        if source.has_ended() {
            source.order(source::Order::Stream);
        }
    }
    drop_standing(world);
}

/// Takes out the branches of elements of GStreamer's that keep a push for good.
fn drop_standing(world: &mut World) {
    let stands =
        |branch: &Branch| branch.may_stand_still() && !branch.is_free(Duration::from_secs(2));
    for consumer in 0..world.consumers.len() {
        if world.consumers[consumer]
            .branch
            .as_ref()
            .is_some_and(stands)
        {
            let branch = world.unlink(consumer);
            world.orphans.extend(branch);
        }
    }
    let all = world.orphans.drain(..);
    let (gone, kept): (Vec<_>, Vec<_>) = all.partition(stands);
    world.orphans = kept;
    for branch in gone {
        note(format!("{} stands still", branch.name));
        branch.dispose(&world.pipeline);
    }
}

/// A branch that takes gets frames.
pub(crate) fn check_progress(world: &mut World, consumer: usize) {
    let Some(at) = world.consumers.get(consumer) else {
        return;
    };
    if at.may_hang {
        return;
    }
    let (pad, tee) = (at.pad.clone(), at.tee);
    let Feed::Own(_) = &world.tees[tee].feed else {
        return;
    };
    mend(world);
    if let Some(branch) = world.unlink(consumer) {
        world.orphans.push(branch);
    }
    for name in ["max-age", "max-lag", "max-size-time"] {
        pad.set_property(name, 0_u64);
    }
    if pad.find_property("enabled").is_some() {
        pad.set_property("enabled", true);
    }
    if !pad.is_active() {
        watch("activate", || pad.set_active(true)).ok();
    }
    let name = world.name("witness");
    let branch = sink::plain(&name);
    let control = branch.control.clone();
    world.link(consumer, branch, gst::PadLinkCheck::DEFAULT);
    let element = world.tees[tee].element.clone();
    let what = || {
        format!(
            "{}: a linked sink that takes gets no frames: {} of {}, {:?}",
            pad.name(),
            pad.property::<gst::Structure>("stats"),
            element.property::<gst::Structure>("stats"),
            element.state(gst::ClockTime::ZERO),
        )
    };
    let is_served = || control.taken.load(Ordering::SeqCst) >= 3;
    let patience = Instant::now() + Duration::from_secs(1);
    while !is_served() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    if !is_served() {
        // A queue that stands still shows it when it is full.
        drop_standing(world);
    }
    wait_until(what, is_served);
}

/// The source rests, all take: what was pushed is what the accounts say.
pub(crate) fn check_at_rest(world: &mut World) {
    let is_own = |tee: &Tee| matches!(tee.feed, Feed::Own(_));
    if !world.tees.iter().all(is_own) {
        return;
    }
    mend(world);
    let pads = world.consumers.iter().filter(|one| !one.may_hang);
    let pads: Vec<_> = pads.map(|one| one.pad.clone()).collect();
    for tee in &world.tees {
        let Feed::Own(source) = &tee.feed else { return };
        source.pause();
    }
    for pad in &pads {
        let what = || {
            format!(
                "an empty queue: {}",
                pad.property::<gst::Structure>("stats")
            )
        };
        wait_until(what, || {
            let stats = pad.property::<gst::Structure>("stats");
            ledger::check_pad(&stats);
            count(&stats, "in-flight") == 0 && count(&stats, "current-level-buffers") == 0
        });
    }
    for tee in &world.tees {
        let published = tee.element.property::<u64>("published");
        let came = tee.marks.count() - tee.marks_before;
        if published != came {
            fault(format!("{came} frames came in, {published} were published"));
        }
    }
    check(world);
    for tee in &world.tees {
        if let Feed::Own(source) = &tee.feed {
            source.go_on();
        }
    }
}

/// Compares the accounts with what a probe saw; `before` is what it had seen before them.
fn compare(consumer: &Consumer, stats: &gst::StructureRef, before: u64) {
    let after = consumer.passage.own_pushes();
    let out = count(stats, "out");
    if out > after {
        fault(format!("{after} frames were pushed, but: {stats}"));
    }
    let lost = ["flushing", "not-linked", "eos", "error"];
    let lost = lost.map(|reason| count(stats, &format!("dropped-{reason}")));
    let most = out + count(stats, "in-flight") + lost.iter().sum::<u64>();
    if before > most {
        fault(format!("{before} frames were pushed, but: {stats}"));
    }
}

/// The last accounts of a pad that has left.
pub(crate) fn check_released(pad: &gst::Pad) {
    let stats = pad.property::<gst::Structure>("stats");
    ledger::check_pad(&stats);
    for name in ["current-level-buffers", "in-flight"] {
        if count(&stats, name) != 0 {
            fault(format!("it was released: {stats}"));
        }
    }
}
