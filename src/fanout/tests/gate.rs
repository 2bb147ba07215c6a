// SPDX-License-Identifier: MPL-2.0
//! A consumer whose gate is closed gets no frames, all events, and starts with what it can use.

use super::*;

use DropReason::{Disabled, Error, Flushing, Slow, WaitingKeyframe};

fn state(rig: &Rig, reader: &Reader) -> State {
    rig.fan.snapshot_of(reader.id, rig.now).unwrap().state
}

fn joined(kinds: &[Kind]) -> (Rig, Reader) {
    let mut rig = Rig::new();
    let reader = rig.join(depth(8));
    for kind in kinds {
        rig.event(*kind);
    }
    (rig, reader)
}

#[test]
fn nothing_waits_behind_a_closed_gate_and_events_pass() {
    let (mut rig, reader) = joined(&[Kind::Start, Kind::Caps, Kind::Segment]);
    rig.publish("kk");
    rig.event(Kind::Tag);
    rig.enable(&reader, false);
    assert_eq!(rig.dropped(&reader, Disabled), 2, "what waited goes");
    assert_eq!(rig.publish("k").answer, Answer::Ok, "it is no refusal");
    rig.event(Kind::Custom);
    assert_eq!(rig.drain(&reader), "S C G T g c", "each in its place");
    assert!(rig.alive().is_empty(), "no frame is kept for it");
    assert_eq!(state(&rig, &reader), State::Disabled);
    rig.enable(&reader, true);
    assert_eq!(state(&rig, &reader), State::Ok);
    assert_eq!(
        rig.drain(&reader),
        "",
        "raw video goes on with the next frame"
    );
    rig.publish("kk");
    assert_eq!(rig.drain(&reader), "3! 4");
    let ledger = rig.ledger(&reader);
    assert_eq!((ledger.frames_in, ledger.frames_out), (5, 2));
    assert_eq!(ledger.dropped.get(Disabled), 3);
}

#[test]
fn a_gate_that_opens_wakes_for_what_is_kept() {
    let (mut rig, reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.enable(&reader, false);
    rig.publish("kddkdd");
    // The stand-in; then it waits.
    assert_eq!(rig.drain(&reader), "g");
    let woken = reader.woken.load(Ordering::SeqCst);
    rig.enable(&reader, true);
    assert_eq!(reader.woken.load(Ordering::SeqCst), woken + 1);
    rig.publish("d");
    assert_eq!(
        rig.drain(&reader),
        "3! 4 5 6",
        "from the newest keyframe on"
    );
    let ledger = rig.ledger(&reader);
    // Three frames were offered twice.
    assert_eq!((ledger.frames_in, ledger.dropped.get(Disabled)), (10, 6));
}

#[test]
fn no_frame_comes_twice() {
    let (mut rig, reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.publish("kdd");
    assert_eq!(rig.drain(&reader), "0 1 2");
    rig.enable(&reader, false);
    rig.publish("dd");
    rig.enable(&reader, true);
    assert_eq!(
        rig.drain(&reader),
        "3! 4",
        "it has the keyframe and all behind it"
    );
    rig.enable(&reader, false);
    rig.enable(&reader, true);
    rig.publish("d");
    assert_eq!(rig.drain(&reader), "5", "nothing was lost");
    assert_eq!(rig.dropped(&reader, WaitingKeyframe), 0);
}

#[test]
fn without_a_keyframe_it_waits_for_one() {
    let (mut rig, reader) = joined(&[]);
    rig.publish("kd");
    assert_eq!(rig.drain(&reader), "0 1");
    rig.enable(&reader, false);
    assert!(!rig.publish("d").request_keyframe, "it wants none now");
    rig.enable(&reader, true);
    assert!(rig.publish("d").request_keyframe);
    rig.publish("dkd");
    assert_eq!(rig.drain(&reader), "5! 6");
    assert_eq!(rig.dropped(&reader, Disabled), 1);
    assert_eq!(rig.dropped(&reader, WaitingKeyframe), 2);
}

#[test]
fn a_keyframe_of_a_segment_before_is_of_no_use() {
    for (kind, told, kept) in [
        (Kind::Tag, "g T", "0! 1 2"),
        (Kind::Segment, "g G", ""),
        (Kind::Eos, "g E", ""),
    ] {
        for is_told in [true, false] {
            let (mut rig, reader) = joined(&[]);
            rig.fan.set_gop_capacity(|| 8);
            rig.enable(&reader, false);
            rig.publish("kd");
            rig.event(kind);
            rig.publish("d");
            if is_told {
                assert_eq!(rig.drain(&reader), told);
                rig.enable(&reader, true);
                assert_eq!(rig.drain(&reader), kept, "{kind:?}");
            } else {
                rig.enable(&reader, true);
                let frames = rig.drain(&reader).contains('0');
                assert_eq!(frames, !kept.is_empty(), "{kind:?}");
            }
        }
    }
}

#[test]
fn events_that_still_wait_come_in_their_places() {
    let (mut rig, reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.enable(&reader, false);
    rig.event(Kind::Start);
    rig.event(Kind::Caps);
    rig.publish("kd");
    rig.event(Kind::Tag);
    rig.publish("d");
    rig.enable(&reader, true);
    assert_eq!(rig.drain(&reader), "S C 0! 1 T 2", "none comes late");
}

#[test]
fn events_that_were_thinned_out_precede_the_keyframe() {
    let (mut rig, reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.enable(&reader, false);
    rig.event(Kind::Start);
    rig.event(Kind::Caps);
    rig.event(Kind::Segment);
    rig.publish("kd");
    (0..300).for_each(|_| _ = rig.event(Kind::Tag));
    rig.enable(&reader, true);
    rig.publish("d");
    let taken = rig.drain(&reader);
    assert!(taken.starts_with("S C G 0! 1 T"), "{taken}");
    assert!(taken.ends_with("T 2"), "{taken}");
}

#[test]
fn the_frame_in_flight_comes_to_its_end() {
    let (mut rig, reader) = joined(&[]);
    rig.publish("k");
    let taken = rig.frame(&reader);
    rig.enable(&reader, false);
    assert_eq!(rig.ledger(&reader).in_flight, 1);
    rig.finish(&reader, taken.stamp, Outcome::Delivered);
    assert_eq!(rig.ledger(&reader).frames_out, 1);
    // An error is one behind a closed gate, too.
    rig.enable(&reader, true);
    rig.publish("k");
    let taken = rig.frame(&reader);
    rig.enable(&reader, false);
    rig.finish(&reader, taken.stamp, Outcome::Ended(Error));
    assert_eq!(state(&rig, &reader), State::Failed);
    assert_eq!(
        rig.publish("k").answer,
        Answer::Failed(-7),
        "no consumer lives"
    );
    assert_eq!(
        rig.dropped(&reader, Error),
        2,
        "what has ended it counts first"
    );
    rig.fan.readmit(reader.id, true, rig.now);
    assert_eq!(state(&rig, &reader), State::Disabled);
    assert_eq!(rig.publish("k").answer, Answer::Ok);
    assert_eq!(rig.dropped(&reader, Disabled), 1);
}

#[test]
fn a_branch_that_hangs_is_stalled_behind_its_gate() {
    let (mut rig, reader) = joined(&[]);
    rig.publish("k");
    let taken = rig.frame(&reader);
    rig.enable(&reader, false);
    assert_eq!(state(&rig, &reader), State::Disabled);
    rig.now += 3_000 * MS;
    assert_eq!(state(&rig, &reader), State::Stalled);
    rig.finish(&reader, taken.stamp, Outcome::Delivered);
    assert_eq!(state(&rig, &reader), State::Disabled);
}

#[test]
fn what_a_branch_lost_is_offered_from_the_keyframe_on() {
    let (mut rig, reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.publish("kd");
    assert_eq!(rig.drain(&reader), "0 1");
    rig.publish("d");
    let taken = rig.frame(&reader);
    rig.enable(&reader, false);
    rig.finish(&reader, taken.stamp, Outcome::Lost(Flushing));
    rig.enable(&reader, true);
    assert_eq!(rig.drain(&reader), "0! 1 2", "its decoder was flushed");
    // So is a branch that was linked meanwhile.
    rig.enable(&reader, false);
    rig.fan.readmit(reader.id, true, rig.now);
    rig.enable(&reader, true);
    assert_eq!(rig.drain(&reader), "0! 1 2");
}

#[test]
fn sinks_preroll_behind_a_closed_gate() {
    let (mut rig, reader) = joined(&[]);
    rig.enable(&reader, false);
    rig.publish("kk");
    assert_eq!(rig.drain(&reader), "g", "one for the first frame");
    rig.publish("k");
    assert_eq!(rig.drain(&reader), "", "and no more");
    rig.fan.flush_start(rig.now);
    rig.fan.flush_stop(rig.now);
    rig.publish("kk");
    assert_eq!(rig.drain(&reader), "resumed g", "a flush undoes it");
    rig.fan.set_playing(true, rig.now);
    rig.publish("k");
    assert_eq!(rig.drain(&reader), "");
    rig.fan.set_playing(false, rig.now);
    rig.publish("kk");
    assert_eq!(rig.drain(&reader), "g", "and so does a pause");
    let untimed = FrameInfo::default();
    rig.fan.set_playing(false, rig.now);
    let _ = rig.publish_info(untimed);
    assert_eq!(rig.drain(&reader), "", "it needs a time");
    rig.publish("k");
    assert_eq!(rig.drain(&reader), "g");
}

#[test]
fn after_a_flush_behind_a_closed_gate_a_keyframe_comes_first() {
    for flushed in [false, true] {
        let (mut rig, reader) = joined(&[]);
        rig.publish("kd");
        assert_eq!(rig.drain(&reader), "0 1");
        rig.enable(&reader, false);
        if flushed {
            rig.fan.flush_start(rig.now);
            rig.fan.flush_stop(rig.now);
        }
        rig.enable(&reader, true);
        assert_eq!(rig.publish("d").request_keyframe, flushed);
        rig.publish("k");
        let expected = if flushed { "resumed 3!" } else { "2 3" };
        assert_eq!(rig.drain(&reader), expected);
    }
}

#[test]
fn a_gate_stays_closed_over_sessions_and_lives() {
    let (mut rig, mut reader) = joined(&[]);
    rig.fan.set_gop_capacity(|| 8);
    rig.enable(&reader, false);
    rig.publish("kd");
    rig.fan.deactivate(reader.id, rig.now);
    rig.publish("d");
    assert_eq!(rig.dropped(&reader, Disabled), 3);
    assert_eq!(state(&rig, &reader), State::Disabled);
    reader.session = rig.fan.activate(reader.id, Link::Made, rig.now);
    rig.publish("d");
    assert_eq!(rig.drain(&reader), "g");
    assert_eq!(rig.dropped(&reader, Disabled), 4);
    rig.fan.reset();
    rig.publish("kd");
    reader.session = rig.fan.activate(reader.id, Link::Made, rig.now);
    assert_eq!(
        rig.ledger(&reader),
        Ledger::default(),
        "nothing is replayed to it"
    );
    rig.publish("d");
    assert_eq!(rig.dropped(&reader, Disabled), 1);
    // A stopped consumer is one whose gate was opened since.
    rig.fan.deactivate(reader.id, rig.now);
    rig.enable(&reader, true);
    rig.publish("d");
    assert_eq!(rig.dropped(&reader, Flushing), 1);
}

#[test]
fn a_closed_gate_is_no_reason_for_an_eviction() {
    let mut rig = Rig::new();
    let limits = Limits {
        max_lag: 3,
        ..depth(1)
    };
    let reader = rig.join(limits);
    rig.publish("kkk");
    assert_eq!(rig.dropped(&reader, Slow), 2);
    rig.enable(&reader, false);
    let stricter = Limits {
        max_lag: 1,
        ..limits
    };
    rig.fan.set_limits(reader.id, || stricter, rig.now);
    rig.publish("kkk");
    assert_eq!(state(&rig, &reader), State::Disabled);
    rig.fan.set_limits(reader.id, || limits, rig.now);
    rig.enable(&reader, true);
    rig.publish("k");
    assert_eq!(state(&rig, &reader), State::Ok);
}

#[test]
fn losses_that_were_not_told_are_told_with_the_next_frame() {
    let (mut rig, reader) = joined(&[]);
    rig.enable(&reader, false);
    rig.publish("kk");
    rig.enable(&reader, true);
    rig.publish("kkk");
    let taken = rig.frame(&reader);
    assert_eq!(taken.lost_before, 2);
    let done = Done {
        stamp: taken.stamp,
        outcome: Outcome::Lost(Flushing),
        flow: 0,
        untold: taken.lost_before,
    };
    rig.fan.finish(reader.id, done, rig.now);
    let taken = rig.frame(&reader);
    assert_eq!(taken.lost_before, 3);
    rig.finish(&reader, taken.stamp, Outcome::Delivered);
    assert_eq!(rig.frame(&reader).lost_before, 0);
}
