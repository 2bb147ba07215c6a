// SPDX-License-Identifier: MPL-2.0
//! Sources that have few buffers and wait for one to come back, as a camera does.

mod camera;
mod kept;
mod real;
mod silence;
mod untold;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::accounts::{Said, attach, count, pad_stats, text, work_for};
use crate::common::{Consumer, Rig, assert_balanced, caps, wait_for};
use crate::ends::Flow;
use camera::{Buffers, Camera, FRAME, pool};
use gst::prelude::*;

/// A rig that finds out how many frames may be out.
fn rig() -> Rig {
    let rig = Rig::with(|tee| tee.set_property("max-held", 0u32));
    rig.begin(&caps(8));
    rig
}

fn fast(rig: &Rig, name: &str) -> gst::Pad {
    let consumer = rig.consumer(name);
    consumer.record.forgetful.store(true, Ordering::Relaxed);
    let Consumer { pad, sink, .. } = consumer;
    // A link does not keep its peer alive: the handler does, as long as the pad lives.
    pad.connect_unlinked(move |_, peer| assert_eq!(peer, &sink));
    pad
}

/// Never returns from its first frame.
fn stuck(rig: &Rig) -> Consumer {
    let consumer = rig.consumer("stuck");
    consumer.record.forgetful.store(true, Ordering::Relaxed);
    consumer.stick();
    consumer
}

fn slow(rig: &Rig) -> gst::Pad {
    attach(rig, "slow", |buffer| -> Flow {
        work_for(Duration::from_millis(200));
        drop(buffer);
        Ok(gst::FlowSuccess::Ok)
    })
}

fn stats(rig: &Rig) -> gst::Structure {
    rig.tee.property("stats")
}

fn figure(rig: &Rig, name: &str) -> u32 {
    stats(rig).get(name).unwrap()
}

fn warnings(said: &Said) -> Vec<String> {
    let messages = said.messages();
    let warnings = messages.iter().filter_map(|message| match message.view() {
        gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
        _ => None,
    });
    warnings.collect()
}

#[test]
fn a_known_pool_never_runs_dry() {
    let rig = rig();
    let said = Said::on(&rig.bus);
    let stuck = stuck(&rig);
    let (slow, fast) = (slow(&rig), fast(&rig, "fast"));
    let mut camera = Camera::new(&rig, Buffers::Pool(pool(4)));
    camera.run(60, &[&fast]);
    // Two of four are always there.
    assert!(
        camera.longest() < Duration::from_millis(150),
        "{:?}",
        camera.waits
    );
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    assert!(rig.tee.property::<u32>("held") <= 2);
    assert_eq!((count(&fast, "out"), count(&fast, "dropped")), (60, 0));
    for pad in [&stuck.pad, &slow, &fast] {
        assert_balanced(&pad_stats(pad));
        assert_eq!(count(pad, "dropped"), count(pad, "dropped-pool"));
    }
    assert_eq!((count(&stuck.pad, "in-flight"), stuck.count("out")), (1, 0));
    assert!(count(&slow, "out") >= 5, "{}", pad_stats(&slow));
    wait_for("its message", || !said.named("dronetee-pool").is_empty());
    let told = &said.named("dronetee-pool")[0];
    assert_eq!(told.get::<u32>("max-held").unwrap(), 2);
    assert_eq!(told.get::<u32>("pool-size").unwrap(), 4);
    assert!(!told.get::<bool>("learned").unwrap());
    wait_for("a warning", || !warnings(&said).is_empty());
    let warning = &warnings(&said)[0];
    assert!(warning.contains("max-held"), "{warning}");
    assert_eq!(said.named("dronetee-pool").len(), 1);
    let drops = said.drops("stuck", "pool");
    assert_eq!(text(&drops[0], "tag"), "stuck_pool");
}

#[test]
fn max_held_limits_what_is_out_of_any_source() {
    let rig = Rig::with(|tee| tee.set_property("max-held", 3u32));
    rig.begin(&caps(8));
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let mut camera = Camera::new(&rig, Buffers::secret(5));
    camera.run(20, &[&fast]);
    assert!(
        camera.longest() < Duration::from_millis(150),
        "{:?}",
        camera.waits
    );
    assert_eq!(rig.tee.property::<u32>("held"), 3);
    assert_eq!(
        (
            figure(&rig, "held"),
            figure(&rig, "max-held"),
            figure(&rig, "pool-size")
        ),
        (3, 3, 0)
    );
    assert_eq!((stuck.level(), stuck.count("dropped-pool")), (2, 17));
    // It may be set while frames flow.
    rig.tee.set_property("max-held", 2u32);
    assert_eq!((rig.tee.property::<u32>("held"), stuck.level()), (2, 1));
    rig.tee.set_property("max-held", 100u32);
    camera.buffers = Buffers::secret(100);
    camera.run(10, &[&fast]);
    assert_eq!((stuck.level(), stuck.count("dropped-slow")), (4, 7));
    assert_eq!(count(&fast, "dropped"), 0);
    stuck.unstick();
    wait_for("its frames", || figure(&rig, "held") == 0);
}

/// Both kinds of stops: another pool, and the same one with other buffers.
#[test]
fn another_pool_is_another_limit() {
    let rig = rig();
    let mut camera = Camera::new(&rig, Buffers::Pool(pool(4)));
    camera.push();
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    camera.buffers = Buffers::Pool(pool(9));
    camera.push();
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (9, 7)
    );
    camera.buffers = Buffers::Pool(pool(0));
    camera.push();
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (0, 0)
    );
    let changing = pool(6);
    camera.buffers = Buffers::Pool(changing.clone());
    camera.push();
    assert_eq!(figure(&rig, "max-held"), 4);
    changing.set_active(false).unwrap();
    let mut config = changing.config();
    config.set_params(None, 16, 1, 12);
    wait_for("all its buffers", || {
        changing.set_config(config.clone()).is_ok()
    });
    changing.set_active(true).unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps(8)), true);
    assert!(rig.src.peer_query(&mut query));
    camera.push();
    assert_eq!(figure(&rig, "max-held"), 10);
    camera.buffers = Buffers::secret(4);
    camera.push();
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (0, 0)
    );
}

/// A receiver's frames and bytes are out as long as they live, and no longer.
#[test]
fn what_the_application_keeps_is_out() {
    let rig = Rig::with(|tee| tee.set_property("max-held", 3u32));
    rig.begin(&caps(8));
    let publisher = gstdronetee::FramePublisher::new(&rig.tee).unwrap();
    let mut frames = publisher.subscribe("own").unwrap();
    let held = || (rig.tee.property::<u32>("held"), publisher.health().held);
    let mut camera = Camera::new(&rig, Buffers::secret(4));
    camera.push();
    let first = frames.recv().unwrap();
    let bytes = first.pixels().unwrap();
    camera.push();
    let second = frames.recv().unwrap();
    assert_eq!(held(), (2, 2));
    let (clone, part) = (first.clone(), bytes.slice(3..5));
    drop(first);
    drop(bytes);
    assert_eq!(held(), (2, 2));
    // These are out: only one may wait.
    camera.push();
    camera.push();
    camera.push();
    assert_eq!(held(), (3, 3));
    let ledger = publisher.health().consumers[0].ledger;
    assert_eq!(ledger.dropped.get(gstdronetee::DropReason::Pool), 2);
    drop(clone);
    assert_eq!(held(), (3, 3));
    drop(part);
    assert_eq!(held(), (2, 2));
    // In flight for the ledger, but its buffer is back.
    drop(second);
    assert_eq!(held(), (1, 1));
    let last = frames.recv().unwrap();
    drop(frames);
    assert_eq!(held(), (1, 1));
    assert_eq!(last.lost_before(), 2);
    drop(last);
    assert_eq!(held(), (0, 0));
    assert_eq!(publisher.health().max_held, 3);
}

#[test]
fn bursts_and_jitter_of_a_source_with_few_buffers() {
    let rig = rig();
    let stuck = stuck(&rig);
    let (slow, fast) = (slow(&rig), fast(&rig, "fast"));
    let mut camera = Camera::new(&rig, Buffers::secret(5));
    for n in 0..50 {
        camera.push();
        wait_for("who keeps up", || count(&fast, "out") == count(&fast, "in"));
        // Three at once, then a pause, more or less.
        if n % 3 == 2 {
            work_for(3 * FRAME - Duration::from_millis(20) + Duration::from_millis(n % 40));
        }
    }
    camera.assert_short_stops();
    assert_eq!(count(&fast, "dropped"), 0);
    for pad in [&stuck.pad, &slow, &fast] {
        assert_balanced(&pad_stats(pad));
    }
    camera.waits.clear();
    camera.run(20, &[&fast]);
    assert_eq!(camera.stops(), [Duration::ZERO; 0]);
}

#[test]
fn what_is_kept_for_late_joiners_does_not_stop_a_source() {
    for buffers in [Buffers::Pool(pool(4)), Buffers::secret(4)] {
        let rig = rig();
        rig.tee.set_property("gop-cache", 30u32);
        let fast = fast(&rig, "fast");
        let mut camera = Camera::new(&rig, buffers);
        for _ in 0..4 {
            camera.delta = false;
            camera.run(1, &[&fast]);
            camera.delta = true;
            camera.run(9, &[&fast]);
        }
        println!("stops: {:?}", camera.stops());
        assert!(camera.stops().iter().sum::<Duration>() < Duration::from_secs(1));
        assert_eq!((count(&fast, "out"), figure(&rig, "max-held")), (40, 2));
    }
}

/// A handler that hangs keeps no frame from going back to the source.
#[test]
fn a_handler_that_hangs_does_not_stop_a_source() {
    let rig = rig();
    let hangs = Arc::new((Mutex::new(true), Condvar::new()));
    let held = hangs.clone();
    let stuck = stuck(&rig);
    rig.bus.set_sync_handler(move |_, message| {
        if message
            .structure()
            .is_none_or(|structure| structure.name() != "dronetee-drop")
        {
            return gst::BusSyncReply::Drop;
        }
        let waits = held.0.lock().unwrap();
        drop(held.1.wait_while(waits, |hangs| *hangs).unwrap());
        gst::BusSyncReply::Drop
    });
    let mut camera = Camera::new(&rig, Buffers::secret(4));
    camera.run(20, &[]);
    assert_eq!(figure(&rig, "max-held"), 2);
    assert!(stuck.count("dropped-pool") > 0);
    *hangs.0.lock().unwrap() = false;
    hangs.1.notify_all();
}
