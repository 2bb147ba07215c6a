// SPDX-License-Identifier: MPL-2.0
//! What else keeps a source's buffers: parts of them, the application, consumers that take nothing.

use std::time::Duration;

use gst::prelude::*;

use super::camera::{Buffers, Camera, pool};
use super::{fast, figure, rig, stuck};
use crate::accounts::count;
use crate::common::{assert_balanced, wait_for};

/// A part of a pool's buffer keeps it from going back.
#[test]
fn parts_of_a_pool_s_buffers_are_the_pool_s() {
    let rig = rig();
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let mut camera = Camera::new(&rig, Buffers::Parts(pool(4)));
    camera.run(30, &[&fast]);
    assert_eq!(camera.stops(), [Duration::ZERO; 0]);
    assert_eq!(
        (figure(&rig, "pool-size"), figure(&rig, "max-held")),
        (4, 2)
    );
    assert_eq!((stuck.count("out"), count(&fast, "out")), (0, 30));
}

/// Memory that is shared without its buffer does not: the pool makes a new buffer.
#[test]
fn shared_memory_alone_stops_no_pool() {
    let rig = rig();
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let mut camera = Camera::new(&rig, Buffers::Shared(pool(4)));
    camera.run(30, &[&fast]);
    assert_eq!(camera.stops(), [Duration::ZERO; 0]);
    assert_eq!(figure(&rig, "max-held"), 0);
    assert_eq!(stuck.count("dropped-pool"), 0);
}

/// The application keeps frames and bytes of theirs: a consumer that keeps up loses nothing by that.
#[test]
fn what_the_application_keeps_of_a_known_pool_stops_nothing() {
    let rig = rig();
    let fast = fast(&rig, "fast");
    let publisher = gstdronetee::FramePublisher::new(&rig.tee).unwrap();
    let mut frames = publisher.subscribe("own").unwrap();
    let mut camera = Camera::new(&rig, Buffers::Pool(pool(4)));
    camera.run(1, &[&fast]);
    let first = frames.recv().unwrap();
    camera.run(1, &[&fast]);
    let bytes = frames.recv().unwrap().pixels().unwrap();
    camera.waits.clear();
    camera.run(30, &[&fast]);
    assert_eq!(camera.stops(), [Duration::ZERO; 0]);
    assert_eq!(rig.tee.property::<u32>("held"), 2);
    assert_eq!(count(&fast, "out"), 32);
    let ledger = publisher.health().consumers[1].ledger;
    assert_eq!(ledger.dropped.get(gstdronetee::DropReason::Pool), 30);
    drop((first, bytes));
    camera.run(1, &[&fast]);
    assert_eq!(frames.recv().unwrap().lost_before(), 30);
}

/// A receiver that never asks has no frame in flight, and keeps the source's all the same.
#[test]
fn a_receiver_that_never_asks_stops_no_source() {
    let rig = rig();
    let fast = fast(&rig, "fast");
    let publisher = gstdronetee::FramePublisher::new(&rig.tee).unwrap();
    let _never = publisher.subscribe("never").unwrap();
    let mut camera = Camera::new(&rig, Buffers::secret(4));
    camera.run(40, &[&fast]);
    assert!(
        camera.stops().iter().sum::<Duration>() < Duration::from_secs(1),
        "{:?}",
        camera.stops()
    );
    assert_eq!((count(&fast, "out"), figure(&rig, "max-held")), (40, 2));
}

/// What waits goes back at a flush, and what is in flight when its push returns.
#[test]
fn a_flush_and_the_end_give_back_what_waits() {
    let rig = rig();
    let stuck = stuck(&rig);
    let fast = fast(&rig, "fast");
    let all = pool(6);
    let mut camera = Camera::new(&rig, Buffers::Pool(all));
    camera.run(8, &[&fast]);
    assert_eq!(rig.tee.property::<u32>("held"), 4);
    rig.flush();
    wait_for("what waited", || rig.tee.property::<u32>("held") == 1);
    camera.run(8, &[&fast]);
    assert_eq!(rig.tee.property::<u32>("held"), 4);
    assert!(rig.src.push_event(gst::event::Eos::new()));
    stuck.unstick();
    wait_for("all", || rig.tee.property::<u32>("held") == 0);
    assert_balanced(&stuck.stats());
    assert_eq!(camera.stops(), [Duration::ZERO; 0]);
}
