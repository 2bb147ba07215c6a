// SPDX-License-Identifier: MPL-2.0
//! Frames: limits, coded streams, the cache for late joiners, and what outlives what.

use super::*;

use DropReason::{Error, Evicted, Flushing, NotLinked, Slow, Stale, WaitingKeyframe};

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
    rig.finish(&one, taken.ticket, Outcome::Lost(Flushing));
    rig.publish("k");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 1));
    rig.finish(&one, taken.ticket, Outcome::Delivered);
    rig.publish("k");
    assert!(!rig.frame(&one).discont);
}

#[test]
fn a_smaller_depth_takes_effect_at_once() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kkkk");
    rig.fan.set_limits(one.id, depth(1), rig.now);
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
        rig.fan.set_limits(one.id, tiny, rig.now);
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
    assert_eq!(rig.ledger(&one).waiting, 2);
    rig.now += 1;
    rig.publish("k");
    assert_eq!(rig.dropped(&one, Stale), 1);
    rig.now += 60 * MS;
    assert_eq!(rig.drain(&one), "2!");
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
    rig.fan.set_limits(one.id, strict, rig.now);
    assert!(one.woken.load(Ordering::SeqCst) > before);
    assert_eq!(rig.drain(&one), "evicted");
}

#[test]
fn an_evicted_consumer_is_readmitted_with_a_clean_record() {
    let restart: [fn(&Rig, &mut Reader); 2] = [
        |rig, one| rig.fan.readmit(one.id, rig.now),
        |rig, one| {
            rig.fan.deactivate(one.id, rig.now);
            one.run = rig.fan.activate(one.id, rig.now).unwrap();
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
fn no_delta_frame_after_a_loss_until_the_next_keyframe() {
    let mut rig = Rig::new();
    let one = rig.join(depth(2));
    rig.publish("kd");
    let published = rig.publish("d");
    assert!(published.request_keyframe);
    assert_eq!(rig.drain(&one), "");
    rig.publish("dd");
    assert_eq!(rig.dropped(&one, Slow), 1);
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 4);
    rig.publish("kd");
    assert_eq!(rig.drain(&one), "5! 6");
}

#[test]
fn overtaken_amid_a_group_of_pictures_it_goes_on_at_the_newest_keyframe() {
    let mut rig = Rig::new();
    let one = rig.join(depth(6));
    rig.publish("kdkdkd");
    assert!(!rig.publish("d").request_keyframe);
    assert_eq!(rig.drain(&one), "4! 5 6");
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 1);
    assert_eq!(rig.dropped(&one, Slow), 3);
}

#[test]
fn a_frame_lost_by_the_branch_costs_only_those_that_need_it() {
    let mut rig = Rig::new();
    let one = rig.join(depth(9));
    rig.publish("kdkdkd");
    let taken = rig.frame(&one);
    rig.finish(&one, taken.ticket, Outcome::Lost(NotLinked));
    assert_eq!(rig.drain(&one), "2! 3 4 5");
    assert_eq!(rig.dropped(&one, NotLinked), 1);
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 1);
}

#[test]
fn a_joiner_waits_for_a_keyframe_and_asks_for_one_once_a_second() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    assert!(rig.publish("d").request_keyframe);
    rig.now += 999 * MS;
    assert!(!rig.publish("d").request_keyframe);
    rig.now += MS;
    assert!(rig.publish("d").request_keyframe);
    assert_eq!(rig.drain(&one), "");
    rig.now += 1_000 * MS;
    assert!(!rig.publish("k").request_keyframe);
    assert!(!rig.publish("d").request_keyframe);
    assert_eq!(rig.fan.totals(rig.now).keyframe_requests, 2);
}

#[test]
fn a_joiner_gets_the_frames_from_the_last_keyframe_on() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
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
fn a_joiner_that_is_too_slow_for_live_frames_loses_the_cached_ones_first() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
    rig.publish("kddd");
    let one = rig.join(depth(2));
    rig.publish("kk");
    assert_eq!(rig.ledger(&one).waiting, 6);
    rig.publish("k");
    assert_eq!(rig.drain(&one), "5! 6");
    assert_eq!(rig.dropped(&one, Slow), 5);
}

#[test]
fn cached_frames_have_not_waited_before_the_joiner_came() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
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
    rig.fan.set_gop_capacity(1);
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
    rig.fan.set_gop_capacity(2);
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
}

#[test]
fn new_caps_and_flushes_empty_the_cache() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
    rig.publish("kd");
    rig.event(Kind::Caps);
    assert!(rig.alive().is_empty());
    rig.publish("kd");
    rig.fan.flush_start(rig.now);
    assert!(rig.alive().is_empty());
    // Void as well: it belongs to what is flushed.
    rig.publish("k");
    assert!(rig.alive().is_empty());
    rig.fan.flush_stop(Ev::new(Kind::FlushStop, 0), rig.now);
    let one = rig.join(depth(4));
    assert_eq!(rig.drain(&one), "C");
}

#[test]
fn a_flush_drops_what_waits_and_what_comes_until_it_ends() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kk");
    rig.fan.flush_start(rig.now);
    assert!(rig.alive().is_empty());
    assert!(!rig.publish("kdd").request_keyframe);
    assert_eq!(rig.dropped(&one, Flushing), 5);
    rig.fan.flush_stop(Ev::new(Kind::FlushStop, 0), rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "f 6!");
    assert!(rig.lock_was_free());
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
    rig.finish(&two, shared.ticket, Outcome::Delivered);
    let same = rig.frame(&two);
    drop(shared);
    assert_eq!(Arc::strong_count(&same.frame), 1, "the last taker's own");
    drop(same);
    assert_eq!(rig.alive(), [2]);
    rig.fan.deactivate(one.id, rig.now);
    rig.fan.leave(two.id, rig.now);
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

#[test]
fn a_late_answer_is_not_for_the_next_life() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("k");
    let before = rig.frame(&one).ticket;
    rig.fan.reset();
    rig.finish(&one, before, Outcome::Ended(Error));
    assert_eq!(rig.ledger(&one), Ledger::default());

    let run = rig.fan.activate(one.id, rig.now).unwrap();
    let again = Reader { run, ..one.clone() };
    rig.publish("k");
    let current = rig.frame(&again).ticket;
    rig.finish(&one, before, Outcome::Ended(Error));
    assert_eq!(rig.ledger(&again).in_flight, 1);
    rig.finish(&again, current, Outcome::Delivered);
    assert_eq!(rig.ledger(&again).frames_out, 1);
    assert!(matches!(rig.take(&one), Taken::Closed));
}

#[test]
fn an_error_from_before_a_readmission_does_not_end_it_again() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kk");
    let ticket = rig.frame(&one).ticket;
    rig.fan.readmit(one.id, rig.now);
    rig.finish(&one, ticket, Outcome::Ended(Error));
    assert_eq!(rig.dropped(&one, Error), 1);
    assert_eq!(rig.drain(&one), "1!");
    rig.publish("kk");
    let ticket = rig.frame(&one).ticket;
    rig.finish(&one, ticket, Outcome::Ended(Error));
    assert_eq!(rig.dropped(&one, Error), 3);
    assert_eq!(rig.publish("k").answer, Answer::Failed(-7));
    assert_eq!(rig.dropped(&one, Error), 4);
    rig.fan.readmit(one.id, rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "6!");
}

#[test]
fn a_frame_that_never_came_back_is_lost_at_the_restart() {
    let mut rig = Rig::new();
    let mut one = rig.join(depth(4));
    rig.publish("k");
    let ticket = rig.frame(&one).ticket;
    rig.fan.deactivate(one.id, rig.now);
    let old = one.clone();
    one.run = rig.fan.activate(one.id, rig.now).unwrap();
    assert_eq!(rig.dropped(&one, Flushing), 1);
    rig.publish("k");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 1));
    rig.finish(&old, ticket, Outcome::Delivered);
    assert_eq!(rig.ledger(&one).in_flight, 1);
    rig.fan.leave(one.id, rig.now);
    // Neither is counted twice, and the last one once.
    rig.finish(&old, ticket, Outcome::Lost(Flushing));
    assert_eq!(rig.fan.totals(rig.now).dropped, 1);
    rig.finish(&one, taken.ticket, Outcome::Lost(Flushing));
    rig.finish(&one, taken.ticket, Outcome::Lost(Flushing));
    assert_eq!(rig.fan.totals(rig.now).dropped, 2);
}

#[test]
fn stops_resets_and_releases_wake_who_waits() {
    let ends: [fn(&Rig, &Reader); 4] = [
        |rig, one| rig.fan.deactivate(one.id, rig.now),
        |rig, _| rig.fan.reset(),
        |rig, one| drop(rig.fan.leave(one.id, rig.now)),
        |rig, one| assert!(rig.fan.activate(one.id, rig.now).is_some()),
    ];
    for end in ends {
        let mut rig = Rig::new();
        let one = rig.join(depth(4));
        assert_eq!(rig.drain(&one), "");
        end(&rig, &one);
        assert_eq!(one.woken.load(Ordering::SeqCst), 1);
        assert!(matches!(rig.take(&one), Taken::Closed));
        assert!(rig.lock_was_free());
    }
}

#[test]
fn upstream_hears_the_end_only_when_all_have_ended() {
    let mut rig = Rig::new();
    let (one, two) = (rig.join(depth(4)), rig.join(depth(4)));
    let end = |rig: &mut Rig, reader: &Reader, reason| {
        let ticket = rig.frame(reader).ticket;
        rig.finish(reader, ticket, Outcome::Ended(reason));
    };
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &one, DropReason::Eos);
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &two, DropReason::Eos);
    assert_eq!(rig.publish("k").answer, Answer::Eos);
    rig.fan.readmit(two.id, rig.now);
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &two, Error);
    assert_eq!(rig.publish("k").answer, Answer::Failed(-7));
    rig.fan.leave(two.id, rig.now);
    assert_eq!(rig.publish("k").answer, Answer::Eos);
    rig.fan.leave(one.id, rig.now);
    assert_eq!(rig.publish("k").answer, Answer::NoConsumer);
}
