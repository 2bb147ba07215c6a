// SPDX-License-Identifier: MPL-2.0
//! The operations on pads, receivers and states, and the draw among all.

use std::time::Duration;

use gst::prelude::*;

use crate::fault::{note, wait_until, watch};
use crate::handler::{self, Errand};
use crate::receiver::Receiver;
use crate::world::{Feed, World};
use crate::{branches, checks, stream};

type Operation = fn(&mut World);

/// How often, what.
const OPERATIONS: [(usize, Operation); 38] = [
    (10, request),
    (16, branches::link),
    (6, branches::unlink),
    (8, branches::relink_blocked),
    (6, branches::relink_idle),
    (3, branches::relink_at_once),
    (6, release),
    (2, remove),
    (5, toggle_pad),
    (4, restart_pad),
    (14, branches::change_sink),
    (4, branches::drop_orphan),
    (4, branches::restart_branch),
    (2, change_whole),
    (2, restart_tee),
    (2, branches::pause_branch),
    (10, errand),
    (5, subscribe),
    (4, end_receiver),
    (4, hold_receiver),
    (3, read_all),
    (3, progress),
    (2, at_rest),
    (1, block),
    (8, stream::flush),
    (6, stream::seek),
    (8, stream::change_caps),
    (12, stream::serialized),
    (4, stream::around),
    (3, stream::end),
    (4, stream::begin),
    (3, stream::pace),
    (14, stream::set_element),
    (16, stream::set_pad),
    (8, stream::ask_down),
    (8, stream::ask_up),
    (8, stream::send_up),
    (2, stream::tune_branch),
];

/// Draws one operation and does it.
pub(crate) fn step(world: &mut World) {
    world.adopt_requested();
    let all = OPERATIONS.iter().map(|(weight, _)| weight).sum();
    let mut at = world.rng.below(all);
    for (weight, operation) in OPERATIONS {
        if at < weight {
            operation(world);
            break;
        }
        at -= weight;
    }
    checks::check(world);
    let pause = world.rng.below(6) as u64;
    std::thread::sleep(Duration::from_micros(500 * pause));
}

/// A consumer that `is_it`, if there is one.
pub(crate) fn any(
    world: &mut World,
    is_it: impl Fn(&crate::world::Consumer) -> bool,
) -> Option<usize> {
    let found = world
        .consumers
        .iter()
        .enumerate()
        .filter(|(_, one)| is_it(one));
    let found: Vec<_> = found.map(|(index, _)| index).collect();
    (!found.is_empty()).then(|| *world.rng.pick(&found))
}

pub(crate) fn any_consumer(world: &mut World) -> Option<usize> {
    any(world, |_| true)
}

pub(crate) fn any_linked(world: &mut World) -> Option<usize> {
    any(world, |one| one.branch.is_some())
}

pub(crate) fn any_tee(world: &mut World) -> usize {
    let count = world.tees.len();
    world.rng.below(count)
}

pub(crate) fn pad_name(world: &World, consumer: usize) -> String {
    let pad = &world.consumers[consumer].pad;
    pad.name().into()
}

fn request(world: &mut World) {
    if world.consumers.len() >= 7 {
        return;
    }
    let tee = any_tee(world);
    let element = world.tees[tee].element.clone();
    let name = match world.rng.below(6) {
        0 => "src_%u".to_owned(),
        1 => "src_%s".to_owned(),
        2 | 3 => format!("src_again{}", world.rng.below(2)),
        _ => world.name("src_c"),
    };
    if element.static_pad(&name).is_some() {
        // GStreamer itself calls that undefined.
        return;
    }
    note(format!("request {name} of tee{tee}"));
    // A pad of that name may have been there before.
    world.tees[tee].handler.told.begin_life();
    let mut pad = None;
    // A handler may just remove the one that had the name.
    wait_until(
        || format!("a pad {name}"),
        || {
            pad = watch("request a pad", || element.request_pad_simple(&name));
            pad.is_some()
        },
    );
    if let Some(pad) = pad {
        world.adopt(tee, pad);
    }
}

/// The pad's thread is stopped before its next push, for some time.
fn block(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    note(format!("block {}", pad_name(world, consumer)));
    let at = &mut world.consumers[consumer];
    let probe = at
        .pad
        .add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
            gst::PadProbeReturn::Ok
        });
    at.blocks.extend(probe);
}

fn release(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    note(format!("release {}", pad_name(world, consumer)));
    let branch = match world.rng.once_in(2) {
        true => world.unlink(consumer),
        false => None,
    };
    let mut gone = world.consumers.swap_remove(consumer);
    let tee = world.tees[gone.tee].element.clone();
    watch("release a pad", || tee.release_request_pad(&gone.pad));
    checks::check_released(&gone.pad);
    world.orphans.extend(branch);
    world.orphans.extend(gone.branch.take());
}

fn remove(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    note(format!("remove {}", pad_name(world, consumer)));
    let mut gone = world.consumers.swap_remove(consumer);
    let tee = world.tees[gone.tee].element.clone();
    watch("remove a pad", || tee.remove_pad(&gone.pad)).ok();
    checks::check_released(&gone.pad);
    world.orphans.extend(gone.branch.take());
}

fn toggle_pad(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    let pad = world.consumers[consumer].pad.clone();
    let active = !pad.is_active();
    note(format!("set {} active: {active}", pad.name()));
    watch("set a pad active", || pad.set_active(active)).ok();
}

fn restart_pad(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    let pad = world.consumers[consumer].pad.clone();
    note(format!("restart {}", pad.name()));
    watch("deactivate a pad", || pad.set_active(false)).ok();
    watch("activate a pad", || pad.set_active(true)).ok();
}

/// The state of the pipeline changes; sources of the driver's begin anew after a stop.
fn change_whole(world: &mut World) {
    let states = [
        gst::State::Paused,
        gst::State::Ready,
        gst::State::Null,
        gst::State::Playing,
    ];
    let state = *world.rng.pick(&states);
    note(format!("the pipeline to {state:?}"));
    if state >= gst::State::Paused {
        watch("change the pipeline", || world.pipeline.set_state(state)).ok();
        return;
    }
    let also_bare = !world.rng.once_in(4);
    let goes_on = *world.rng.pick(&[gst::State::Paused, gst::State::Playing]);
    restart(world, also_bare, |world| {
        watch("stop the pipeline", || world.pipeline.set_state(state)).ok();
        for tee in 0..world.tees.len() {
            world.begin_life(tee);
        }
        watch("start the pipeline", || world.pipeline.set_state(goes_on)).ok();
    });
}

fn restart(world: &mut World, also_bare: bool, change: impl FnOnce(&mut World)) {
    world.unstick(also_bare);
    world.drop_for_good();
    let pauses = world.rng.once_in(2);
    for tee in &world.tees {
        if let (Feed::Own(source), true) = (&tee.feed, pauses) {
            source.pause();
        }
    }
    change(world);
    if !pauses {
        for tee in &world.tees {
            if let Feed::Own(source) = &tee.feed {
                source.pause();
            }
        }
    }
    for tee in &world.tees {
        if let Feed::Own(source) = &tee.feed {
            source.begin_again();
            source.go_on();
        }
    }
}

/// The element alone, with its source at rest.
fn restart_tee(world: &mut World) {
    let tee = any_tee(world);
    let Feed::Own(source) = &world.tees[tee].feed else {
        return;
    };
    note(format!("restart tee{tee}"));
    source.pause();
    let element = world.tees[tee].element.clone();
    let state = *world.rng.pick(&[gst::State::Null, gst::State::Ready]);
    watch("stop the element", || element.set_state(state)).ok();
    world.begin_life(tee);
    watch("start the element", || element.sync_state_with_parent()).ok();
    if let Feed::Own(source) = &world.tees[tee].feed {
        source.begin_again();
        source.go_on();
    }
}

/// A bus handler does something with the next message.
fn errand(world: &mut World) {
    let tee = any_tee(world);
    let consumer = any(world, |one| one.tee == tee);
    let kind = world.rng.below(8);
    let errand = match (kind, consumer) {
        (0..3, _) => Errand::ReadAll,
        (3, Some(consumer)) | (4, Some(consumer)) => {
            let mut gone = world.consumers.swap_remove(consumer);
            let pad = gone.pad.clone();
            if let Some(branch) = gone.branch.take() {
                world.leaving.push((pad.clone(), branch));
            }
            match kind {
                3 => Errand::Release(pad),
                _ => Errand::Remove(pad),
            }
        }
        (5, _) if world.consumers.len() < 7 => {
            let name = world.rng.once_in(2).then(|| world.name("src_h"));
            Errand::Request(name)
        }
        (6, Some(consumer)) => Errand::Unlink(world.consumers[consumer].pad.clone()),
        _ => {
            let depth = 1 + world.rng.below(6) as u32;
            Errand::Depth(depth)
        }
    };
    note(format!("tee{tee}, at the next message: {}", errand.name()));
    let mut errands = world.tees[tee].handler.errands.lock().unwrap();
    errands.push_back(errand);
}

fn subscribe(world: &mut World) {
    if world.receivers.len() >= 3 {
        return;
    }
    let tee = any_tee(world);
    let name = world.name("receiver");
    let (depth, waits) = (world.rng.below(4) as u32, world.rng.once_in(2));
    note(format!("subscribe {name} to tee{tee}, waits: {waits}"));
    let at = &world.tees[tee];
    let receiver = Receiver::start(tee, &at.element, &at.marks, &name, depth, waits);
    world.receivers.push(receiver);
}

fn end_receiver(world: &mut World) {
    if world.receivers.is_empty() {
        return;
    }
    let at = world.rng.below(world.receivers.len());
    let receiver = world.receivers.swap_remove(at);
    note(format!("end {}", receiver.name));
    let tee = world.tees[receiver.tee].element.clone();
    receiver.stop(&tee);
}

fn hold_receiver(world: &mut World) {
    if world.receivers.is_empty() {
        return;
    }
    let at = world.rng.below(world.receivers.len());
    let holds = world.rng.once_in(2);
    note(format!("{} holds: {holds}", world.receivers[at].name));
    world.receivers[at].hold(holds);
}

fn read_all(world: &mut World) {
    let tee = any_tee(world);
    note(format!("read all of tee{tee}"));
    let element = world.tees[tee].element.clone();
    watch("read all", || handler::read_all(&element));
}

fn progress(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    note(format!("{} has to get frames", pad_name(world, consumer)));
    checks::check_progress(world, consumer);
}

fn at_rest(world: &mut World) {
    note("all at rest");
    checks::check_at_rest(world);
}
