// SPDX-License-Identifier: MPL-2.0
//! Frames: the limits of a queue, eviction, and how long a frame lives.

use super::*;

use DropReason::{Evicted, Flushing, Slow, Stale, WaitingKeyframe};

#[test]
fn a_full_queue_drops_its_oldest_frames() {
    let mut rig = Rig::new();
    let (fast, slow) = (rig.join(depth(4)), rig.join(depth(2)));
    rig.publish("kkkk");
    assert_eq!(rig.drain(&fast), "0 1 2 3");
    assert_eq!(rig.drain(&slow), "2! 3");
    assert_eq!(rig.dropped(&slow, Slow), 2);
    assert_eq!(rig.ledger(&fast).dropped.total(), 0);
}

#[test]
fn the_first_frame_after_a_loss_says_how_many_were_lost() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.publish("kkk");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 2));
    rig.finish(&one, taken.stamp, Outcome::Lost(Flushing));
    rig.publish("k");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 1));
    rig.finish(&one, taken.stamp, Outcome::Delivered);
    rig.publish("k");
    assert!(!rig.frame(&one).discont);
}

#[test]
fn a_smaller_depth_takes_effect_at_once() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kkkk");
    rig.fan.set_limits(one.id, || depth(1), rig.now);
    assert_eq!(rig.ledger(&one).waiting, 1);
    assert_eq!(rig.dropped(&one, Slow), 3);
    assert_eq!(rig.alive(), [3]);
    assert!(rig.lock_was_free());
    assert_eq!(rig.drain(&one), "3!");
}

#[test]
fn bytes_and_time_are_limits_but_one_frame_may_wait() {
    for limits in [
        Limits {
            bytes: 250,
            ..depth(100)
        },
        Limits {
            time: 25 * MS,
            ..depth(100)
        },
    ] {
        let mut rig = Rig::new();
        let one = rig.join(limits);
        rig.publish("kkkk");
        assert_eq!(rig.dropped(&one, Slow), 2);
        assert_eq!(rig.drain(&one), "2! 3");
        let tiny = Limits {
            bytes: limits.bytes.min(1),
            time: limits.time.min(1),
            ..limits
        };
        rig.fan.set_limits(one.id, || tiny, rig.now);
        rig.publish("kkk");
        assert_eq!(rig.drain(&one), "6!");
    }
}

#[test]
fn old_frames_are_stale_when_they_are_taken_and_when_one_comes() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_age: 100 * MS,
        ..depth(10)
    });
    rig.publish("k");
    rig.now += 60 * MS;
    rig.publish("k");
    rig.now += 40 * MS;
    rig.publish("k");
    assert_eq!(rig.ledger(&one).waiting, 3);
    rig.now += 1;
    rig.publish("k");
    assert_eq!(rig.dropped(&one, Stale), 1);
    rig.now += 60 * MS;
    assert_eq!(rig.drain(&one), "2! 3");
    assert_eq!(rig.dropped(&one, Stale), 2);
    assert!(rig.alive().is_empty());
}

/// After a stale frame in the middle of a group of pictures, only frames that are old are stale.
#[test]
fn fresh_keyframes_are_not_dropped_as_stale() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_age: 100 * MS,
        ..depth(10)
    });
    rig.publish("kd");
    rig.now += 90 * MS;
    rig.publish("kdkd");
    rig.now += 20 * MS;
    assert_eq!(rig.drain(&one), "2! 3 4 5");
    assert_eq!(rig.dropped(&one, Stale), 1);
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 1);
}

#[test]
fn too_many_slow_drops_evict() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_lag: 2,
        ..depth(1)
    });
    rig.publish("kkk");
    assert_eq!(rig.dropped(&one, Slow), 2);
    rig.publish("kk");
    assert_eq!(rig.dropped(&one, Slow), 3);
    assert_eq!(rig.dropped(&one, Evicted), 2);
    assert_eq!(rig.drain(&one), "evicted");
    let state = rig.fan.snapshot_of(one.id, rig.now).unwrap().state;
    assert_eq!(state, State::Evicted);
    assert!(rig.alive().is_empty());
}

#[test]
fn who_waits_learns_of_an_eviction() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_lag: 10,
        ..depth(1)
    });
    rig.publish("kkk");
    assert_eq!(rig.drain(&one), "2!");
    let before = one.woken.load(Ordering::SeqCst);
    let strict = Limits {
        max_lag: 1,
        ..depth(1)
    };
    rig.fan.set_limits(one.id, || strict, rig.now);
    assert!(one.woken.load(Ordering::SeqCst) > before);
    assert_eq!(rig.drain(&one), "evicted");
}

#[test]
fn an_evicted_consumer_is_readmitted_with_a_clean_record() {
    let restart: [fn(&Rig, &mut Reader); 2] = [
        |rig, one| rig.fan.readmit(one.id, true, rig.now),
        |rig, one| {
            rig.fan.deactivate(one.id, rig.now);
            one.session = rig.fan.activate(one.id, Link::Made, rig.now);
        },
    ];
    for restart in restart {
        let mut rig = Rig::new();
        let mut one = rig.join(Limits {
            max_lag: 2,
            ..depth(1)
        });
        rig.event(Kind::Start);
        rig.event(Kind::Segment);
        rig.publish("kkkkk");
        assert_eq!(rig.drain(&one), "evicted");
        rig.event(Kind::Caps);
        assert_eq!(rig.drain(&one), "");
        restart(&rig, &mut one);
        rig.publish("kkk");
        assert_eq!(rig.drain(&one), "S C G 7!");
        rig.publish("kk");
        assert_eq!(rig.drain(&one), "evicted");
    }
}

#[test]
fn frames_live_as_long_as_somebody_needs_them() {
    let mut rig = Rig::new();
    let (one, two) = (rig.join(depth(2)), rig.join(depth(3)));
    rig.publish("kkk");
    assert_eq!(rig.alive(), [0, 1, 2]);
    let first = rig.frame(&two);
    assert_eq!(Arc::strong_count(&first.frame), 1, "dropped by the other");
    let shared = rig.frame(&one);
    assert_eq!(
        Arc::strong_count(&shared.frame),
        2,
        "in the queue of the other"
    );
    drop(first);
    rig.finish(&two, shared.stamp, Outcome::Delivered);
    let same = rig.frame(&two);
    drop(shared);
    assert_eq!(Arc::strong_count(&same.frame), 1, "the last taker's own");
    drop(same);
    assert_eq!(rig.alive(), [2]);
    rig.fan.deactivate(one.id, rig.now);
    rig.leave(&two);
    assert!(rig.alive().is_empty());
    assert!(rig.lock_was_free());
}

#[test]
fn without_consumers_nothing_is_kept() {
    let mut rig = Rig::new();
    assert_eq!(rig.publish("k").answer, Answer::NoConsumer);
    rig.fan.join(label("idle"), depth(4));
    rig.event(Kind::Gap);
    rig.publish("kk");
    assert!(rig.alive().is_empty());
}
