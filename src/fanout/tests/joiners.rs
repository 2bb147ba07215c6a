// SPDX-License-Identifier: MPL-2.0
//! The frames that are kept for late joiners.

use super::*;

use DropReason::{NotLinked, Slow, Stale, WaitingKeyframe};

#[test]
fn a_joiner_gets_the_frames_from_the_last_keyframe_on() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.event(Kind::Start);
    rig.event(Kind::Caps);
    rig.publish("kd");
    rig.event(Kind::Segment);
    rig.publish("kd");
    rig.event(Kind::Tag);
    rig.publish("d");
    let one = rig.join(depth(1));
    rig.publish("d");
    rig.event(Kind::Gap);
    // Segment and caps as of the keyframe, the tag in its place, the live frame after them.
    assert_eq!(rig.drain(&one), "S C G 2 3 T 4 5 g");
    assert_eq!(rig.ledger(&one).frames_in, 4);
    assert_eq!(rig.ledger(&one).dropped.total(), 0);
}

#[test]
fn a_joiner_that_falls_back_further_goes_on_at_the_next_keyframe() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.publish("kddd");
    let one = rig.join(Limits {
        max_lag: 1,
        ..depth(2)
    });
    rig.publish("kd");
    assert_eq!(rig.ledger(&one).waiting, 6);
    rig.publish("d");
    assert_eq!(rig.dropped(&one, Slow), 1, "no reason to evict it");
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 3);
    assert_eq!(rig.drain(&one), "4! 5 6");
    // From now on it is a consumer as any other.
    rig.publish("kkk");
    assert_eq!(rig.dropped(&one, Slow), 2);
}

/// A slow consumer is not further behind for having begun with what was kept.
#[test]
fn a_joiner_that_never_catches_up_has_the_usual_limits_after_a_loss() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.publish("kd");
    let one = rig.join(depth(2));
    for _ in 0..10 {
        rig.publish("k");
    }
    assert_eq!(rig.ledger(&one).waiting, 2);
    for limits in [(300, 0), (0, 30 * MS)] {
        let mut rig = Rig::new();
        rig.fan.set_gop_capacity(|| 10);
        rig.publish("kdddd");
        let (bytes, time) = limits;
        let one = rig.join(Limits {
            bytes,
            time,
            ..depth(100)
        });
        rig.publish(&"k".repeat(40));
        assert_eq!(rig.ledger(&one).waiting, 3, "{limits:?}");
    }
}

#[test]
fn a_joiner_that_catches_up_loses_nothing_however_many_come_meanwhile() {
    let usual = depth(2);
    let more = [
        Limits { bytes: 1, ..usual },
        Limits { time: 1, ..usual },
        // Nothing is beyond its depth.
        Limits {
            depth: 50,
            bytes: 150,
            ..usual
        },
        Limits {
            depth: 50,
            time: 15 * MS,
            ..usual
        },
    ];
    for limits in [usual].into_iter().chain(more) {
        let mut rig = Rig::new();
        rig.fan.set_gop_capacity(|| 20);
        rig.publish("kddddddddddddddddddd");
        let one = rig.join(limits);
        let mut taken = 0;
        // Twice as fast as the stream.
        for _ in 0..30 {
            for _ in 0..2 {
                if let Taken::Frame(frame) = rig.take(&one) {
                    assert_eq!(frame.sequence, taken);
                    taken += 1;
                }
            }
            rig.publish("d");
        }
        assert_eq!(rig.ledger(&one).dropped.total(), 0, "{limits:?}");
        assert_eq!(taken, 20 + 29);
        // From now on the limits are as they are.
        rig.publish(&"d".repeat(60));
        assert!(rig.dropped(&one, Slow) > 0, "{limits:?}");
    }
}

#[test]
fn cached_frames_have_not_waited_before_the_joiner_came() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.publish("kd");
    rig.now += 1_000 * MS;
    let one = rig.join(Limits {
        max_age: 100 * MS,
        ..depth(4)
    });
    rig.now += 10 * MS;
    let taken = rig.frame(&one);
    assert_eq!((taken.sequence, taken.waited), (0, 10 * MS));
    rig.now += 91 * MS;
    assert_eq!(rig.drain(&one), "");
    assert_eq!(rig.dropped(&one, Stale), 1);
}

#[test]
fn of_raw_video_the_last_frame_is_cached() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 1);
    rig.publish("kkk");
    assert_eq!(rig.alive(), [2]);
    let one = rig.join(depth(4));
    assert_eq!(rig.drain(&one), "2");
    rig.fan.forget_gop();
    assert!(rig.alive().is_empty());
    assert!(rig.fan.is_drained());
}

#[test]
fn a_group_of_pictures_too_long_for_the_cache_is_told_once() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 2);
    rig.publish("kdddd");
    assert!(rig.alive().is_empty());
    let one = rig.join(depth(4));
    assert_eq!(rig.drain(&one), "");
    rig.publish("kddd");
    let mut told = 0;
    rig.fan.tell(
        || rig.now,
        |notice| told += u32::from(matches!(notice, Notice::GopTruncated { capacity: 2 })),
    );
    assert_eq!(told, 2);
    rig.fan.set_gop_capacity(|| 4);
    rig.publish("kdd");
    for capacity in [2, 2, 0] {
        rig.fan.set_gop_capacity(|| capacity);
    }
    let mut told = 0;
    rig.fan.tell(
        || rig.now,
        |notice| told += u32::from(matches!(notice, Notice::GopTruncated { .. })),
    );
    assert_eq!(told, 1, "it was made smaller amid a group");
}

#[test]
fn new_caps_and_flushes_empty_the_cache() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.publish("kd");
    rig.event(Kind::Caps);
    assert!(rig.alive().is_empty());
    rig.publish("kd");
    rig.fan.flush_start(rig.now);
    assert!(rig.alive().is_empty());
    // Void as well: it belongs to what is flushed.
    rig.publish("k");
    assert!(rig.alive().is_empty());
    rig.fan.flush_stop(rig.now);
    let one = rig.join(depth(4));
    assert_eq!(rig.drain(&one), "C");
}

#[test]
fn whoever_is_linked_after_it_joined_gets_the_cached_frames_then() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 10);
    rig.event(Kind::Start);
    rig.publish("kdkd");
    let id = rig.fan.join(label("one"), depth(4));
    let session = rig.fan.activate(id, Link::Missing(-7), rig.now);
    let woken = Arc::default();
    let one = Reader { id, session, woken };
    assert_eq!(rig.drain(&one), "S");
    rig.publish("dd");
    assert_eq!(rig.dropped(&one, NotLinked), 2);
    rig.fan.readmit(one.id, true, rig.now);
    assert_eq!(
        rig.ledger(&one).frames_in,
        2 + 4,
        "dropped, and then from the cache"
    );
    assert_eq!(rig.drain(&one), "S 2! 3 4 5");
    // What it has got once it does not get again.
    let taken = {
        rig.publish("d");
        rig.frame(&one)
    };
    let ended = Outcome::Ended(NotLinked);
    rig.finish(&one, taken.stamp, ended);
    rig.fan.readmit(one.id, true, rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "S 8!");
}
