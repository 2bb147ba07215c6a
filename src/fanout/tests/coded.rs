// SPDX-License-Identifier: MPL-2.0
//! Coded streams.

use super::*;

use DropReason::{NotLinked, Slow, WaitingKeyframe};

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
    rig.finish(&one, taken.stamp, Outcome::Lost(NotLinked));
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
    rig.fan.flush_stop(rig.now);
    for (delta, pts) in [(false, 10), (true, 8), (true, 9), (true, 11)] {
        publish_at(&mut rig, delta, Some(pts));
    }
    assert_eq!(rig.drain(&one), "resumed 1 4!");
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
    rig.fan.set_gop_capacity(|| 5);
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
        rig.fan.set_gop_capacity(|| 5);
        publish_header(&mut rig, None);
        let one = rig.join(depth(6));
        if flush {
            rig.fan.flush_start(rig.now);
            publish_header(&mut rig, None);
            rig.fan.flush_stop(rig.now);
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
