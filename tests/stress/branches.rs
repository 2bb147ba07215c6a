// SPDX-License-Identifier: MPL-2.0
//! The operations on branches: links, and what hangs behind them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use crate::fault::{note, watch};
use crate::ops::{any, any_linked, pad_name};
use crate::sink::{Branch, Mode};
use crate::world::World;

fn take_branch(world: &mut World, consumer: usize) -> Option<Branch> {
    let is_coded = world.tees[world.consumers[consumer].tee].is_coded;
    if !world.orphans.is_empty() && world.rng.once_in(2) {
        let at = world.rng.below(world.orphans.len());
        let branch = world.orphans.swap_remove(at);
        branch.control.unstick();
        // What is linked during a flush gets its end alone: elements that hold frames do not like that.
        world.join_calls();
        if branch.is_free(Duration::from_millis(50)) {
            return Some(branch);
        }
        world.orphans.push(branch);
    }
    world.new_branch(is_coded)
}

pub(crate) fn link(world: &mut World) {
    let Some(consumer) = any(world, |one| one.branch.is_none()) else {
        return;
    };
    let Some(branch) = take_branch(world, consumer) else {
        return;
    };
    let checks = match world.rng.below(3) {
        0 => gst::PadLinkCheck::DEFAULT | gst::PadLinkCheck::NO_RECONFIGURE,
        _ => gst::PadLinkCheck::DEFAULT,
    };
    note(format!(
        "link {} to {} ({}) {checks:?}",
        pad_name(world, consumer),
        branch.name,
        branch.kind
    ));
    world.link(consumer, branch, checks);
}

pub(crate) fn unlink(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    note(format!("unlink {}", pad_name(world, consumer)));
    let branch = world.unlink(consumer);
    world.orphans.extend(branch);
}

pub(crate) fn relink_at_once(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    note(format!("relink {} to the same", pad_name(world, consumer)));
    if let Some(branch) = world.unlink(consumer) {
        world.link(consumer, branch, gst::PadLinkCheck::DEFAULT);
    }
}

/// As applications change a branch: with the pad blocked.
pub(crate) fn relink_blocked(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    note(format!("relink {} blocked", pad_name(world, consumer)));
    let pad = world.consumers[consumer].pad.clone();
    let (sender, blocked) = std::sync::mpsc::channel();
    let block = watch("block", || {
        pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, move |_, _| {
            let _ = sender.send(());
            gst::PadProbeReturn::Ok
        })
    });
    // Without data there is no block.
    let _ = blocked.recv_timeout(Duration::from_millis(30));
    let old = world.unlink(consumer);
    world.orphans.extend(old);
    if let Some(branch) = take_branch(world, consumer) {
        world.link(consumer, branch, gst::PadLinkCheck::DEFAULT);
    }
    if let Some(block) = block {
        watch("unblock", || pad.remove_probe(block));
    }
}

/// The same branch, in an idle probe's callback.
pub(crate) fn relink_idle(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    note(format!("relink {} idle", pad_name(world, consumer)));
    let pad = world.consumers[consumer].pad.clone();
    let (sender, done) = std::sync::mpsc::channel();
    let is_due = Arc::new(Mutex::new(true));
    let due = is_due.clone();
    let probe = watch("add an idle probe", || {
        pad.add_probe(gst::PadProbeType::IDLE, move |pad, _| {
            let mut due = due.lock().unwrap();
            if let Some(peer) = pad.peer()
                && *due
            {
                let _ = pad.unlink(&peer);
                let _ = pad.link(&peer);
            }
            *due = false;
            let _ = sender.send(());
            gst::PadProbeReturn::Remove
        })
    });
    let _ = done.recv_timeout(Duration::from_millis(20));
    // Later it must not be linked: it may have been released.
    let was_due = watch("an idle probe", || {
        std::mem::replace(&mut *is_due.lock().unwrap(), false)
    });
    if let (Some(probe), true) = (probe, was_due) {
        pad.remove_probe(probe);
    }
}

pub(crate) fn change_sink(world: &mut World) {
    let mode = Mode::any(&mut world.rng);
    let Some(consumer) = any_linked(world) else {
        return;
    };
    let Some(branch) = &world.consumers[consumer].branch else {
        return;
    };
    note(format!("{} from now on {mode:?}", branch.name));
    branch.control.set(mode);
}

pub(crate) fn drop_orphan(world: &mut World) {
    if world.orphans.is_empty() {
        return;
    }
    let at = world.rng.below(world.orphans.len());
    if world.orphans[at].hub.is_some() {
        // Its queue can not be stopped while what all inputs share waits.
        return;
    }
    let branch = world.orphans.swap_remove(at);
    note(format!("drop {}", branch.name));
    branch.control.unstick();
    branch.dispose(&world.pipeline.clone());
}

/// A branch goes to READY and comes back, unlinked meanwhile as applications have to.
pub(crate) fn restart_branch(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    note(format!(
        "restart the branch of {}",
        pad_name(world, consumer)
    ));
    let Some(branch) = world.unlink(consumer) else {
        return;
    };
    branch.control.unstick();
    if branch.runs_once() {
        branch.dispose(&world.pipeline.clone());
        return;
    }
    let state = *world.rng.pick(&[gst::State::Null, gst::State::Ready]);
    let elements = branch.elements.iter().filter(|_| branch.hub.is_none());
    for element in elements {
        watch("stop a branch", || element.set_state(state)).ok();
        watch("start a branch", || element.sync_state_with_parent()).ok();
    }
    world.link(consumer, branch, gst::PadLinkCheck::DEFAULT);
}

pub(crate) fn pause_branch(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    let state = *world.rng.pick(&[gst::State::Paused, gst::State::Playing]);
    let Some(branch) = &world.consumers[consumer].branch else {
        return;
    };
    note(format!("{} to {state:?}", branch.name));
    for element in &branch.elements {
        watch("change a branch", || element.set_state(state)).ok();
    }
}
