// SPDX-License-Identifier: MPL-2.0
//! Frames: the limits of a queue, what outlives what, and how consumers end.

use super::*;

use DropReason::{Error, Evicted, Flushing, Slow, Stale, WaitingKeyframe};

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
fn a_flush_drops_what_waits_and_what_comes_until_it_ends() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kk");
    rig.fan.flush_start(rig.now);
    assert!(rig.alive().is_empty());
    assert!(!rig.publish("kdd").request_keyframe);
    assert_eq!(rig.dropped(&one, Flushing), 5);
    rig.fan.flush_stop(rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "resumed 6!");
    assert!(rig.lock_was_free());
}

#[test]
fn amid_a_flush_nothing_is_taken() {
    let mut rig = Rig::new();
    let mut one = rig.join(depth(4));
    rig.event(Kind::Start);
    rig.fan.flush_start(rig.now);
    rig.event(Kind::Caps);
    assert_eq!(rig.drain(&one), "");
    let before = one.woken.load(Ordering::SeqCst);
    rig.fan.flush_stop(rig.now);
    assert!(one.woken.load(Ordering::SeqCst) > before);
    assert_eq!(rig.drain(&one), "resumed S C");
    rig.fan.flush_start(rig.now);
    rig.fan.deactivate(one.id, rig.now);
    assert_eq!(rig.drain(&one), "closed");
    one.session = rig.fan.activate(one.id, Link::Made, rig.now);
    assert_eq!(rig.drain(&one), "");
    rig.fan.flush_stop(rig.now);
    assert_eq!(rig.drain(&one), "resumed S C");
}

#[test]
fn the_end_of_a_flush_undoes_any_other_end() {
    for (reason, state) in [
        (DropReason::Eos, State::Ok),
        (Error, State::Ok),
        (DropReason::NotLinked, State::NotLinked),
    ] {
        let mut rig = Rig::new();
        let one = rig.join(depth(4));
        rig.publish("k");
        let stamp = rig.frame(&one).stamp;
        rig.finish(&one, stamp, Outcome::Ended(reason));
        rig.fan.flush_start(rig.now);
        rig.fan.flush_stop(rig.now);
        assert_eq!(rig.drain(&one), "resumed");
        if reason != DropReason::NotLinked {
            // What is answered to a frame from before a flush ends nothing after it.
            rig.publish("kk");
            let stamp = rig.frame(&one).stamp;
            rig.fan.flush_start(rig.now);
            rig.fan.flush_stop(rig.now);
            rig.finish(&one, stamp, Outcome::Ended(reason));
            assert_eq!(rig.drain(&one), "resumed");
        }
        let snapshot = rig.fan.snapshot_of(one.id, rig.now).unwrap();
        assert_eq!(snapshot.state, state, "{reason}");
    }
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_lag: 1,
        ..depth(1)
    });
    rig.publish("kkk");
    for _ in 0..2 {
        assert_eq!(rig.drain(&one), "evicted");
        rig.fan.flush_start(rig.now);
        assert_eq!(rig.drain(&one), "");
        rig.fan.flush_stop(rig.now);
    }
}

#[test]
fn the_first_frame_after_a_reset_is_marked_for_whoever_had_frames_before() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.join(depth(4)), rig.join(depth(4)));
    rig.publish("k");
    assert_eq!(rig.drain(&one), "0");
    rig.leave(&two);
    rig.fan.reset();
    two = rig.join(depth(4));
    one.session = rig.fan.activate(one.id, Link::Made, rig.now);
    rig.publish("kk");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 0));
    rig.finish(&one, taken.stamp, Outcome::Delivered);
    assert_eq!(rig.drain(&one), "1");
    assert_eq!(rig.drain(&two), "0 1");
}

/// What a consumer in the application sees: each stop, and the session after it.
#[test]
fn each_stop_is_told_and_the_session_after_it() {
    let mut rig = Rig::new();
    let id = rig.fan.join(label("one"), depth(4));
    let mut one = Reader {
        id,
        session: id.joined(),
        woken: Arc::default(),
    };
    assert_eq!(rig.drain(&one), "", "not started yet");
    let begin = |rig: &mut Rig, one: &mut Reader| {
        let session = rig.fan.activate(id, Link::Made, rig.now);
        assert!(matches!(rig.take(one), Taken::Superseded(now) if now == session));
        one.session = session;
        rig.publish("k");
        assert!(matches!(rig.take(one), Taken::Frame(_)));
    };
    begin(&mut rig, &mut one);
    // Stopped behind its back, and started again.
    rig.fan.deactivate(id, rig.now);
    rig.fan.reset();
    begin(&mut rig, &mut one);
    // It sees each step.
    rig.fan.deactivate(id, rig.now);
    for _ in 0..2 {
        assert!(matches!(rig.take(&one), Taken::Closed(now) if now == one.session));
    }
    rig.fan.reset();
    let Taken::Closed(next) = rig.take(&one) else {
        panic!("not closed");
    };
    one.session = next;
    assert_eq!(rig.drain(&one), "", "waits for the start");
    begin(&mut rig, &mut one);
    // The start that it waits for is called off.
    rig.fan.deactivate(id, rig.now);
    rig.fan.reset();
    let Taken::Closed(next) = rig.take(&one) else {
        panic!("not closed");
    };
    one.session = next;
    assert_eq!(rig.drain(&one), "");
    rig.fan.dismiss();
    assert_eq!(rig.drain(&one), "closed");
    assert_eq!(rig.drain(&one), "");
    begin(&mut rig, &mut one);
    rig.leave(&one);
    assert!(matches!(rig.take(&one), Taken::Released));
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

#[test]
fn a_late_answer_is_not_for_the_next_life() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("k");
    let before = rig.frame(&one).stamp;
    rig.fan.reset();
    rig.finish(&one, before, Outcome::Ended(Error));
    assert_eq!(rig.ledger(&one), Ledger::default());

    let session = rig.fan.activate(one.id, Link::Made, rig.now);
    let again = Reader {
        session,
        ..one.clone()
    };
    rig.publish("k");
    let current = rig.frame(&again).stamp;
    rig.finish(&one, before, Outcome::Ended(Error));
    assert_eq!(rig.ledger(&again).in_flight, 1);
    rig.finish(&again, current, Outcome::Delivered);
    assert_eq!(rig.ledger(&again).frames_out, 1);
    assert!(matches!(rig.take(&one), Taken::Superseded(now) if now == session));
}

#[test]
fn an_error_from_before_a_readmission_does_not_end_it_again() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kk");
    let stamp = rig.frame(&one).stamp;
    rig.fan.readmit(one.id, true, rig.now);
    rig.finish(&one, stamp, Outcome::Ended(Error));
    assert_eq!(rig.dropped(&one, Error), 1);
    assert_eq!(rig.drain(&one), "1!");
    rig.publish("kk");
    let stamp = rig.frame(&one).stamp;
    rig.finish(&one, stamp, Outcome::Ended(Error));
    assert_eq!(rig.dropped(&one, Error), 3);
    assert_eq!(rig.publish("k").answer, Answer::Failed(-7));
    assert_eq!(rig.dropped(&one, Error), 4);
    rig.fan.readmit(one.id, true, rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "6!");
}

#[test]
fn a_frame_that_never_came_back_is_lost_at_the_restart() {
    let mut rig = Rig::new();
    let mut one = rig.join(depth(4));
    rig.publish("k");
    let stamp = rig.frame(&one).stamp;
    rig.fan.deactivate(one.id, rig.now);
    let old = one.clone();
    one.session = rig.fan.activate(one.id, Link::Made, rig.now);
    assert_eq!(rig.dropped(&one, Flushing), 1);
    rig.publish("k");
    let taken = rig.frame(&one);
    assert_eq!((taken.discont, taken.lost_before), (true, 1));
    rig.finish(&old, stamp, Outcome::Delivered);
    assert_eq!(rig.ledger(&one).in_flight, 1);
    rig.leave(&one);
    // Each is counted once, when its consumer is restarted or leaves.
    assert_eq!(rig.fan.totals(rig.now).dropped, 2);
    rig.finish(&old, stamp, Outcome::Lost(Flushing));
    assert_eq!(rig.fan.totals(rig.now).dropped, 2);
    rig.finish(&one, taken.stamp, Outcome::Lost(Flushing));
    rig.finish(&one, taken.stamp, Outcome::Lost(Flushing));
    assert_eq!(rig.fan.totals(rig.now).dropped, 2);
}

#[test]
fn stops_resets_and_releases_wake_who_waits() {
    let ends: [fn(&Rig, &Reader); 4] = [
        |rig, one| rig.fan.deactivate(one.id, rig.now),
        |rig, _| rig.fan.reset(),
        |rig, one| drop(rig.leave(one)),
        |rig, one| _ = rig.fan.activate(one.id, Link::Made, rig.now),
    ];
    for end in ends {
        let mut rig = Rig::new();
        let one = rig.join(depth(4));
        assert_eq!(rig.drain(&one), "");
        end(&rig, &one);
        assert_eq!(one.woken.load(Ordering::SeqCst), 1);
        let taken = rig.take(&one);
        let over = matches!(
            taken,
            Taken::Closed(_) | Taken::Superseded(_) | Taken::Released
        );
        assert!(over);
        assert!(rig.lock_was_free());
    }
}

#[test]
fn upstream_hears_the_end_only_when_all_have_ended() {
    let mut rig = Rig::new();
    let (one, two) = (rig.join(depth(4)), rig.join(depth(4)));
    let end = |rig: &mut Rig, reader: &Reader, reason| {
        let stamp = rig.frame(reader).stamp;
        rig.finish(reader, stamp, Outcome::Ended(reason));
    };
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &one, DropReason::Eos);
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &two, DropReason::Eos);
    assert_eq!(rig.publish("k").answer, Answer::Eos);
    rig.fan.readmit(two.id, true, rig.now);
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    end(&mut rig, &two, Error);
    assert_eq!(rig.publish("k").answer, Answer::Failed(-7));
    rig.leave(&two);
    assert_eq!(rig.publish("k").answer, Answer::Eos);
    rig.leave(&one);
    assert_eq!(rig.publish("k").answer, Answer::NoConsumer);
}

#[test]
fn a_frame_that_a_consumer_took_along_is_not_drained() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("k");
    let taken = rig.frame(&one);
    assert!(!rig.fan.is_drained());
    rig.leave(&one);
    assert!(!rig.fan.is_drained(), "its branch has not returned");
    rig.finish(&one, taken.stamp, Outcome::Delivered);
    assert!(rig.fan.is_drained());
}
