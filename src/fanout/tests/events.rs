// SPDX-License-Identifier: MPL-2.0
//! Events: their place among the frames, and what goes when too many wait.

use super::*;

use Kind::{Caps, Custom, Eos, Gap, Segment, Start, Tag};

/// Takes all there is: events with their numbers.
fn drain_ids(rig: &Rig, reader: &Reader) -> Vec<(Kind, u64)> {
    let mut all = Vec::new();
    loop {
        match rig.take(reader) {
            Taken::Event(event, _) => all.push((event.kind, event.body.0)),
            Taken::Frame(taken) => rig.finish(reader, taken.stamp, Outcome::Delivered),
            Taken::Wait => return all,
            other => panic!("{other:?}"),
        }
    }
}

fn many(rig: &mut Rig, kind: Kind, count: usize) {
    for _ in 0..count {
        rig.event(kind);
    }
}

#[test]
fn events_keep_their_place_among_the_frames_that_survive() {
    let mut rig = Rig::new();
    let one = rig.join(depth(2));
    for kind in [Start, Caps, Segment] {
        rig.event(kind);
    }
    rig.publish("k");
    rig.event(Gap);
    rig.publish("k");
    rig.event(Caps);
    rig.publish("k");
    rig.event(Tag);
    rig.publish("k");
    rig.event(Eos);
    assert_eq!(rig.drain(&one), "S C G g C 2! T 3 E");
}

#[test]
fn below_the_bound_no_event_is_lost() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    for _ in 0..64 {
        for kind in [Tag, Gap, Custom, Tag] {
            rig.event(kind);
        }
        rig.publish("kk");
    }
    assert_eq!(drain_ids(&rig, &one).len(), 256);
    assert_eq!(rig.fan.snapshot_of(one.id, 0).unwrap().events_dropped, 0);
}

#[test]
fn a_late_joiner_gets_the_sticky_events_in_order() {
    let mut rig = Rig::new();
    for kind in [Start, Caps, Tag, Gap, Segment, Caps, Tag] {
        rig.event(kind);
    }
    let one = rig.join(depth(1));
    assert_eq!(
        drain_ids(&rig, &one),
        [(Start, 1), (Caps, 6), (Segment, 5), (Tag, 7)]
    );
}

#[test]
fn expendable_events_go_oldest_first() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    for kind in [Start, Caps, Segment] {
        rig.event(kind);
    }
    many(&mut rig, Gap, 300);
    rig.event(Eos);
    let got = drain_ids(&rig, &one);
    assert_eq!(got.len(), 256);
    assert_eq!(got[..3], [(Start, 1), (Caps, 2), (Segment, 3)]);
    assert_eq!(got[3], (Gap, 304 - 252));
    assert_eq!(got[255], (Eos, 304));
    let dropped = rig.fan.snapshot_of(one.id, 0).unwrap().events_dropped;
    assert_eq!(dropped, 48);
    assert!(rig.lock_was_free());
}

#[test]
fn replaced_sticky_events_are_merged_before_any_is_lost() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    for kind in [Start, Caps, Segment, Gap] {
        rig.event(kind);
    }
    many(&mut rig, Tag, 300);
    let got = drain_ids(&rig, &one);
    assert_eq!(
        got[..4],
        [(Start, 1), (Caps, 2), (Segment, 3), (Gap, 4)],
        "all but the tags"
    );
    // Each time that there were too many, all tags but the newest went.
    assert_eq!(got.len(), 4 + 300 - 252);
    assert_eq!(rig.fan.snapshot_of(one.id, 0).unwrap().events_dropped, 0);
}

#[test]
fn sticky_events_with_a_frame_between_are_not_merged() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.event(Caps);
    rig.publish("k");
    rig.event(Caps);
    many(&mut rig, Gap, 300);
    let got = drain_ids(&rig, &one);
    assert_eq!(got[..2], [(Caps, 1), (Caps, 2)]);
}

#[test]
fn merged_events_keep_the_order_that_elements_need() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    for kind in [Start, Caps, Segment, Gap, Tag, Start, Caps, Segment, Tag] {
        rig.event(kind);
    }
    many(&mut rig, Custom, 251);
    let got = drain_ids(&rig, &one);
    assert_eq!(
        got[..5],
        [(Start, 6), (Caps, 7), (Segment, 8), (Gap, 4), (Tag, 9)],
    );
    assert!(rig.lock_was_free());
}

#[test]
fn nothing_passes_the_end_of_the_stream() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    for kind in [Start, Caps, Segment, Eos, Start, Caps, Segment] {
        rig.event(kind);
    }
    many(&mut rig, Tag, 260);
    let got = drain_ids(&rig, &one);
    assert_eq!(
        got[..7],
        [
            (Start, 1),
            (Caps, 2),
            (Segment, 3),
            (Eos, 4),
            (Start, 5),
            (Caps, 6),
            (Segment, 7)
        ]
    );
}

#[test]
fn streams_without_frames_do_not_pile_up() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    let mut last = 0;
    for _ in 0..500 {
        for kind in [Start, Caps, Segment] {
            rig.event(kind);
        }
        last = rig.event(Eos);
    }
    let got = drain_ids(&rig, &one);
    assert!(got.len() <= 256, "{}", got.len());
    assert_eq!(got.last(), Some(&(Eos, last)));
}

/// What can not be thinned out does not let others pile up later.
#[test]
fn the_bound_holds_again_after_it_could_not_be_held() {
    let mut rig = Rig::new();
    let one = rig.join(depth(300));
    for _ in 0..280 {
        rig.event(Tag);
        rig.publish("k");
    }
    assert_eq!(drain_ids(&rig, &one).len(), 280);
    many(&mut rig, Gap, 500);
    assert_eq!(drain_ids(&rig, &one).len(), 256);
}

#[test]
fn the_cache_does_not_hold_events_without_bound() {
    let mut rig = Rig::new();
    rig.fan.set_gop_capacity(|| 5);
    rig.event(Start);
    rig.publish("kd");
    rig.event(Tag);
    let first = Ev::new(Gap, 0);
    let kept = Arc::downgrade(&first.body);
    rig.fan.publish_event(first, rig.now);
    assert!(kept.upgrade().is_some());
    many(&mut rig, Gap, 1_000);
    assert!(kept.upgrade().is_none());
    rig.publish("d");
    let one = rig.join(depth(1));
    let all = rig.drain(&one);
    assert!(all.starts_with("S 0 1 T g"), "{all}");
    assert!(all.ends_with("g 2"), "{all}");
    assert_eq!(all.matches('g').count(), 255);
    assert!(rig.lock_was_free());
}

#[test]
fn a_flush_keeps_what_survives_it() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    for kind in [Start, Caps, Segment, Gap] {
        rig.event(kind);
    }
    rig.publish("k");
    rig.event(Tag);
    rig.event(Eos);
    rig.fan.flush_start(rig.now);
    rig.fan.flush_stop(rig.now);
    rig.event(Segment);
    let two = rig.join(depth(4));
    rig.publish("k");
    assert_eq!(rig.drain(&one), "resumed S C T G 1!");
    assert_eq!(rig.drain(&two), "S C G T 1");
    assert!(rig.lock_was_free());
}

/// The end of a stream that is on its way when a flush begins is void, or the next one ends at once.
#[test]
fn what_comes_during_a_flush_survives_it_or_not_as_what_waits() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.event(Start);
    rig.fan.flush_start(rig.now);
    for kind in [Caps, Gap, Eos] {
        rig.event(kind);
    }
    rig.fan.flush_stop(rig.now);
    rig.event(Segment);
    rig.publish("k");
    assert_eq!(rig.drain(&one), "resumed S C G 0");
    let two = rig.join(depth(4));
    assert_eq!(rig.drain(&two), "S C G");
}

#[test]
fn a_new_segment_after_the_end_serves_again() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kk");
    let stamp = rig.frame(&one).stamp;
    rig.finish(&one, stamp, Outcome::Ended(DropReason::Eos));
    rig.publish("k");
    rig.event(Tag);
    rig.event(Segment);
    rig.publish("dk");
    assert_eq!(rig.drain(&one), "T G 4!");
    assert_eq!(rig.dropped(&one, DropReason::Eos), 3);
}

#[test]
fn a_readmitted_consumer_gets_the_last_event_again_if_none_waits() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    for kind in [Start, Caps, Segment] {
        rig.event(kind);
    }
    assert_eq!(rig.drain(&one), "S C G");
    let before = one.woken.load(Ordering::SeqCst);
    rig.fan.readmit(one.id, true, rig.now);
    assert!(one.woken.load(Ordering::SeqCst) > before);
    assert_eq!(rig.drain(&one), "G");
    rig.event(Tag);
    rig.fan.readmit(one.id, true, rig.now);
    assert_eq!(rig.drain(&one), "T");
}

#[test]
fn a_restart_while_frames_wait_begins_anew() {
    let mut rig = Rig::new();
    let mut one = rig.join(depth(4));
    rig.event(Caps);
    rig.publish("k");
    rig.event(Tag);
    one.session = rig.fan.activate(one.id, Link::Made, rig.now);
    assert_eq!(rig.dropped(&one, DropReason::Flushing), 1);
    assert!(rig.alive().is_empty());
    rig.publish("k");
    assert_eq!(rig.drain(&one), "C T 1!");
}
