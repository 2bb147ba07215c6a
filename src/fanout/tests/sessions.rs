// SPDX-License-Identifier: MPL-2.0
//! Flushes, stops and new lives: what is void after them, and who hears of them.

use super::*;

use DropReason::{Error, Flushing};

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

/// What the application has freed is out no more, although the thread that had it is still to come back.
#[test]
fn what_landed_in_the_session_before_stays_landed() {
    let mut rig = Rig::new();
    let mut one = rig.join(depth(2));
    let landed = rig.fan.landed(one.id).unwrap();
    for _ in 0..3 {
        rig.publish("k");
        let taken = (0..2).find_map(|_| match rig.take(&one) {
            Taken::Frame(frame) => Some(frame.number),
            _ => None,
        });
        let number = taken.expect("a frame");
        assert_eq!(rig.fan.totals(rig.now).pool.held, 1);
        landed.store(number, Ordering::SeqCst);
        assert_eq!(rig.fan.totals(rig.now).pool.held, 0);
        one.session = rig.fan.activate(one.id, Link::Made, rig.now);
    }
    assert_eq!(rig.fan.strays(), 3);
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

/// A flush has voided it, so that nothing else has it any more.
#[test]
fn an_end_that_a_new_life_finds_is_freed_without_the_lock() {
    let rig = Rig::new();
    rig.fan.close(Ev::new(Kind::Eos, 1), rig.now);
    rig.fan.flush_start(rig.now);
    rig.fan.reset();
    assert!(rig.lock_was_free());
}
