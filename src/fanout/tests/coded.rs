// SPDX-License-Identifier: MPL-2.0
//! Coded streams, and the frames that are kept for late joiners.

use super::*;

use DropReason::{NotLinked, Slow, Stale, WaitingKeyframe};

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
fn overtaken_amid_a_group_of_pictures_it_goes_on_at_the_next_keyframe() {
    let mut rig = Rig::new();
    let one = rig.join(depth(6));
    rig.publish("kdkdkd");
    assert!(!rig.publish("d").request_keyframe);
    assert_eq!(rig.drain(&one), "2! 3 4 5 6");
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 1);
    assert_eq!(rig.dropped(&one, Slow), 1);
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
fn a_joiner_that_falls_back_further_goes_on_at_the_next_keyframe() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
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
    rig.fan.set_gop_capacity(10);
    rig.publish("kd");
    let one = rig.join(depth(2));
    for _ in 0..10 {
        rig.publish("k");
    }
    assert_eq!(rig.ledger(&one).waiting, 2);
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
        rig.fan.set_gop_capacity(20);
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
    rig.fan.set_gop_capacity(4);
    rig.publish("kdd");
    for capacity in [2, 2, 0] {
        rig.fan.set_gop_capacity(capacity);
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

fn publish_at(rig: &mut Rig, delta: bool, pts: Option<u64>) {
    let _ = rig.publish_info(FrameInfo {
        delta,
        pts,
        ..FrameInfo::default()
    });
}

/// As in an open group of pictures: they need the group before, which was lost.
#[test]
fn frames_shown_before_the_keyframe_that_a_consumer_starts_at_are_not_for_it() {
    let mut rig = Rig::new();
    let one = rig.join(depth(5));
    // In the order of decoding: two that are shown before the keyframe, one after it, one untimed.
    let group = |rig: &mut Rig, first: u64| {
        publish_at(rig, false, Some(first + 3));
        publish_at(rig, true, Some(first + 1));
        rig.event(Kind::Tag);
        publish_at(rig, true, Some(first + 2));
        publish_at(rig, true, Some(first + 4));
        publish_at(rig, true, None);
    };
    group(&mut rig, 0);
    assert_eq!(rig.drain(&one), "0 T 3! 4");
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 2);
    group(&mut rig, 5);
    assert_eq!(rig.drain(&one), "5 6 T 7 8 9", "nothing was lost before");
    publish_at(&mut rig, true, Some(10));
    group(&mut rig, 10);
    assert_eq!(rig.drain(&one), "11! T 14! 15");
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 4);
}

#[test]
fn frames_shown_before_the_first_keyframe_after_a_flush_are_not_for_anybody() {
    let mut rig = Rig::new();
    let one = rig.join(depth(5));
    publish_at(&mut rig, false, Some(0));
    assert_eq!(rig.drain(&one), "0");
    rig.fan.flush_start(rig.now);
    rig.fan.flush_stop(Ev::new(Kind::FlushStop, 0), rig.now);
    for (delta, pts) in [(false, 10), (true, 8), (true, 9), (true, 11)] {
        publish_at(&mut rig, delta, Some(pts));
    }
    assert_eq!(rig.drain(&one), "f 1 4!");
}

#[test]
fn time_that_goes_back_behind_a_keyframe_is_no_reason_to_wait_for_ever() {
    let mut rig = Rig::new();
    let one = rig.join(depth(100));
    publish_at(&mut rig, false, Some(1000));
    (0..40).for_each(|pts| publish_at(&mut rig, true, Some(pts)));
    assert_eq!(rig.drain(&one), "0");
    assert!(rig.publish("d").request_keyframe);
    publish_at(&mut rig, false, Some(50));
    assert_eq!(rig.drain(&one), "42!");
}

#[test]
fn headers_before_a_keyframe_stay_with_it() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(5);
    let one = rig.join(depth(6));
    // Two headers, one without a time, then the keyframe and one that needs it.
    let group = |rig: &mut Rig, at: u64| {
        for (header, delta, pts) in [
            (true, false, None),
            (true, false, Some(at)),
            (false, false, Some(at)),
            (false, true, Some(at + 1)),
        ] {
            let _ = rig.publish_info(FrameInfo {
                header,
                delta,
                pts,
                ..FrameInfo::default()
            });
        }
    };
    group(&mut rig, 10);
    group(&mut rig, 20);
    assert_eq!(rig.drain(&one), "4! 5 6 7");
    let two = rig.join(depth(6));
    assert_eq!(rig.drain(&two), "4 5 6 7");
}

fn publish_header(rig: &mut Rig, pts: Option<u64>) {
    let _ = rig.publish_info(FrameInfo {
        header: true,
        pts,
        ..FrameInfo::default()
    });
}

#[test]
fn headers_are_not_for_a_keyframe_behind_a_flush_or_new_caps() {
    for flush in [false, true] {
        let mut rig = Rig::new();
        rig.fan.set_gop_capacity(5);
        publish_header(&mut rig, None);
        let one = rig.join(depth(6));
        if flush {
            rig.fan.flush_start(rig.now);
            publish_header(&mut rig, None);
            rig.fan.flush_stop(Ev::new(Kind::FlushStop, 0), rig.now);
        } else {
            rig.event(Kind::Caps);
        }
        publish_at(&mut rig, false, Some(0));
        publish_at(&mut rig, true, Some(1));
        let at = 1 + u64::from(flush);
        let wanted = format!("{at} {}", at + 1);
        let got = rig.drain(&one);
        assert!(
            got.ends_with(&wanted.replacen(' ', if flush { "! " } else { " " }, 1)),
            "{got}"
        );
        let two = rig.join(depth(6));
        let got = rig.drain(&two);
        assert!(got.ends_with(&wanted), "{got}");
    }
}

#[test]
fn frames_shown_before_the_keyframe_are_not_for_who_starts_at_its_headers() {
    for header in [None, Some(10)] {
        let mut rig = Rig::new();
        let one = rig.join(depth(9));
        publish_header(&mut rig, header);
        for (delta, pts) in [(false, 10), (true, 8), (true, 9), (true, 11)] {
            publish_at(&mut rig, delta, Some(pts));
        }
        assert_eq!(rig.drain(&one), "0 1 4!");
        publish_header(&mut rig, header.map(|_| 20));
        for (delta, pts) in [(false, 20), (true, 18), (true, 21)] {
            publish_at(&mut rig, delta, Some(pts));
        }
        assert_eq!(rig.drain(&one), "5 6 7 8", "nothing was lost before");
    }
}

#[test]
fn keyframes_that_have_their_headers_in_them_stand_alone() {
    let mut rig = Rig::new();
    let one = rig.join(depth(2));
    for pts in [Some(1), Some(2), Some(3), None, None] {
        let _ = rig.publish_info(FrameInfo {
            header: true,
            pts,
            ..FrameInfo::default()
        });
    }
    assert_eq!(rig.drain(&one), "3! 4");
    assert_eq!(rig.dropped(&one, Slow), 3);
}

#[test]
fn whoever_is_linked_after_it_joined_gets_the_cached_frames_then() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(10);
    rig.event(Kind::Start);
    rig.publish("kdkd");
    let id = rig.fan.join(label("one"), depth(4));
    let run = rig.fan.activate(id, Some(-7), rig.now).unwrap();
    let woken = Arc::default();
    let one = Reader { id, run, woken };
    assert_eq!(rig.drain(&one), "S");
    rig.publish("dd");
    assert_eq!(rig.dropped(&one, NotLinked), 2);
    rig.fan.readmit(one.id, rig.now);
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
    rig.finish(&one, taken.ticket, ended);
    rig.fan.readmit(one.id, rig.now);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "S 8!");
}
