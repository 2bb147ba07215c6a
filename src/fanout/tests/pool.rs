// SPDX-License-Identifier: MPL-2.0
//! No more frames are out than the limit allows, and what goes for it goes in the right order.

use super::*;

use DropReason::{Pool, Slow, WaitingKeyframe};

fn limited(frames: u64) -> Rig {
    let rig = Rig::new();
    rig.fan.set_max_held(|| frames, rig.now);
    rig
}

fn held(rig: &Rig) -> u64 {
    let held = rig.fan.totals(rig.now).pool.held;
    assert_eq!(held, rig.alive().len() as u64, "{:?}", rig.alive());
    held
}

/// All that is taken is kept here, and so is out.
type Flights = Vec<TakenFrame<Frame>>;

#[test]
fn a_frame_that_is_out_is_counted_once() {
    let mut rig = Rig::new();
    let [one, two] = [(); 2].map(|()| rig.join(depth(4)));
    assert_eq!(held(&rig), 0);
    rig.publish("kkk");
    let mut flights: Flights = vec![rig.frame(&one)];
    assert_eq!(held(&rig), 3);
    flights.push(rig.frame(&two));
    assert_eq!(held(&rig), 3, "both have the same one");
    rig.finish(&one, flights[0].stamp, Outcome::Delivered);
    flights.remove(0);
    assert_eq!(held(&rig), 3);
    rig.finish(&two, flights[0].stamp, Outcome::Delivered);
    flights.clear();
    assert_eq!(held(&rig), 2);
    // One of a consumer that leaves is out until it comes back.
    flights.push(rig.frame(&one));
    rig.fan.leave(two.id, label("two"), rig.now, |_| {});
    rig.fan.leave(one.id, label("one"), rig.now, |_| {});
    assert_eq!(held(&rig), 1);
    rig.finish(&one, flights[0].stamp, Outcome::Delivered);
    flights.clear();
    assert_eq!(held(&rig), 0);
}

#[test]
fn a_frame_of_a_life_before_is_out_until_it_comes_back() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("k");
    let old = rig.frame(&one);
    rig.fan.reset();
    let session = rig.fan.activate(one.id, Link::Made, rig.now);
    let one = Reader { session, ..one };
    rig.publish("k");
    let new = rig.frame(&one);
    assert_eq!((old.sequence, new.sequence), (0, 0));
    assert_eq!(held(&rig), 2);
    let stamp = old.stamp;
    drop(old);
    rig.finish(&one, stamp, Outcome::Delivered);
    assert_eq!(held(&rig), 1);
}

/// The application keeps it after the receiver took the next one.
#[test]
fn a_frame_in_the_application_s_hands_is_out() {
    let mut rig = limited(2);
    let one = rig.join(depth(4));
    rig.publish("k");
    let kept = rig.frame(&one);
    rig.fan.keep(kept.number);
    rig.fan.keep(kept.number);
    rig.finish(&one, kept.stamp, Outcome::Delivered);
    assert_eq!(held(&rig), 1);
    rig.publish("kkk");
    assert_eq!((held(&rig), rig.dropped(&one, Pool)), (2, 2));
    let number = kept.number;
    drop(kept);
    rig.fan.unkeep(number, rig.now);
    assert_eq!(rig.fan.totals(rig.now).pool.held, 2, "another handle");
    rig.fan.unkeep(number, rig.now);
    assert_eq!(held(&rig), 1);
}

/// A frame that waits for others, too, can be taken back when it is in no hands any more: no other frame comes that would do it.
#[test]
fn a_lowered_limit_reaches_what_is_in_hands_when_it_lands() {
    for keeps in [false, true] {
        let mut rig = limited(4);
        let stuck = rig.join(depth(8));
        let takers = [(); 3].map(|()| rig.join(depth(8)));
        let flights = takers.each_ref().map(|one| {
            rig.publish("k");
            while rig.ledger(one).waiting > 1 {
                let skipped = rig.frame(one);
                rig.finish(one, skipped.stamp, Outcome::Delivered);
            }
            rig.frame(one)
        });
        rig.fan.set_max_held(|| 1, rig.now);
        assert_eq!((held(&rig), rig.dropped(&stuck, Pool)), (3, 0));
        let mut expected = [(3, 0), (2, 1), (1, 2)].into_iter();
        for (one, frame) in takers.iter().zip(flights) {
            let (number, stamp) = (frame.number, frame.stamp);
            if keeps {
                rig.fan.keep(number);
            }
            drop(frame);
            rig.finish(one, stamp, Outcome::Delivered);
            if keeps {
                rig.fan.unkeep(number, rig.now);
            }
            let is_out = (held(&rig), rig.dropped(&stuck, Pool));
            assert_eq!(Some(is_out), expected.next());
        }
        assert!(rig.lock_was_free());
    }
}

#[test]
fn no_frame_is_left_out_for_a_consumer_that_hangs() {
    let mut rig = limited(4);
    let hung = rig.join(depth(8));
    rig.publish("k");
    let _in_hands = rig.frame(&hung);
    let other = rig.join(depth(8));
    rig.publish("k");
    let frame = rig.frame(&other);
    rig.fan.set_max_held(|| 1, rig.now);
    assert_eq!(held(&rig), 2);
    let stamp = frame.stamp;
    drop(frame);
    rig.finish(&other, stamp, Outcome::Delivered);
    assert_eq!((held(&rig), rig.dropped(&hung, Pool)), (1, 1));
}

#[test]
fn the_oldest_frame_that_only_waits_goes_for_all_who_wait_for_it() {
    let mut rig = limited(4);
    let [stuck, slow, fast] = [(); 3].map(|()| rig.join(depth(8)));
    rig.publish("k");
    let _zero = rig.frame(&stuck);
    rig.publish("kk");
    // 0 in flight, 1 and 2 wait for the stuck one.
    assert_eq!(rig.drain(&fast), "0 1 2");
    assert_eq!(rig.drain(&slow), "0 1 2");
    rig.publish("kk");
    assert_eq!(held(&rig), 4, "1 went");
    assert_eq!(rig.dropped(&stuck, Pool), 1);
    assert_eq!([&slow, &fast].map(|one| rig.dropped(one, Pool)), [0, 0]);
    let _three = rig.frame(&slow);
    rig.publish("kkk");
    // 0 and 3 in flight: two may wait, and the frame in flight went for who waited for it.
    assert_eq!(held(&rig), 4);
    assert_eq!(rig.drain(&stuck), "6! 7");
    assert_eq!(rig.dropped(&stuck, Pool), 5);
    assert_eq!((rig.dropped(&slow, Pool), rig.dropped(&fast, Pool)), (2, 3));
    assert_eq!(rig.drain(&fast), "6! 7");
    assert!(rig.lock_was_free());
}

#[test]
fn while_flights_are_as_many_as_allowed_nothing_waits() {
    let mut rig = limited(2);
    let [a, b, fast] = [(); 3].map(|()| rig.join(depth(8)));
    rig.publish("k");
    let _zero = rig.frame(&a);
    assert_eq!(rig.drain(&fast), "0");
    rig.drain(&b);
    rig.publish("k");
    let _one = rig.frame(&b);
    assert_eq!(rig.drain(&fast), "1");
    for n in 2..6 {
        rig.publish("k");
        assert_eq!(held(&rig), 3);
        assert_eq!(rig.drain(&fast), n.to_string());
        assert_eq!(held(&rig), 2);
    }
    assert_eq!((rig.dropped(&a, Pool), rig.dropped(&b, Pool)), (5, 4));
    // One that does not come keeps the newest alone.
    rig.publish("kkk");
    assert_eq!(held(&rig), 3);
    assert_eq!(rig.drain(&fast), "8!");
}

#[test]
fn a_lower_limit_takes_effect_at_once_and_a_higher_one_with_the_next_frame() {
    let mut rig = Rig::new();
    let one = rig.join(depth(8));
    rig.publish("kkkkk");
    rig.fan.set_max_held(|| 2, rig.now);
    assert_eq!((held(&rig), rig.dropped(&one, Pool)), (2, 3));
    rig.fan.set_max_held(|| 4, rig.now);
    rig.publish("kkk");
    assert_eq!((held(&rig), rig.dropped(&one, Pool)), (4, 4));
    rig.fan.set_max_held(|| 0, rig.now);
    rig.publish("kkkkk");
    assert_eq!((held(&rig), rig.dropped(&one, Slow)), (8, 1));
}

#[test]
fn what_is_given_back_leaves_nothing_that_can_not_be_decoded() {
    let mut rig = limited(4);
    let one = rig.join(depth(8));
    rig.publish("kdkd");
    assert!(
        !rig.publish("d").request_keyframe,
        "there is one that waits"
    );
    assert_eq!(rig.dropped(&one, Pool), 1);
    assert_eq!(rig.dropped(&one, WaitingKeyframe), 1);
    assert!(!rig.publish("d").request_keyframe);
    assert!(rig.publish("d").request_keyframe, "the group is lost");
    assert_eq!(rig.drain(&one), "");
    rig.publish("k");
    assert_eq!(rig.drain(&one), "7!");
}

#[test]
fn what_is_kept_for_joiners_is_given_back_before_what_a_consumer_waits_for() {
    let mut rig = limited(4);
    rig.fan.set_gop_capacity(|| 30);
    let [slow, fast] = [(); 2].map(|()| rig.join(depth(8)));
    rig.publish("kd");
    assert_eq!(
        (rig.drain(&slow), rig.drain(&fast)),
        ("0 1".into(), "0 1".into())
    );
    rig.publish("dd");
    assert_eq!(rig.drain(&fast), "2 3");
    assert_eq!(held(&rig), 4);
    rig.publish("d");
    assert_eq!((held(&rig), rig.dropped(&slow, Pool)), (3, 0));
    let joiner = rig.join(depth(8));
    assert_eq!(rig.drain(&joiner), "", "nothing is kept");
    assert_eq!(rig.drain(&slow), "2 3 4");
    // The stream goes on, and so does the cache with the next keyframe.
    rig.drain(&fast);
    rig.publish("kd");
    let joiner = rig.join(depth(8));
    assert_eq!(rig.drain(&joiner), "5 6");
}

#[test]
fn what_is_kept_for_joiners_is_given_back_while_flights_are_as_many_as_allowed() {
    let mut rig = limited(1);
    rig.fan.set_gop_capacity(|| 1);
    let one = rig.join(depth(8));
    rig.publish("k");
    let _zero = rig.frame(&one);
    rig.publish("k");
    assert_eq!((held(&rig), rig.dropped(&one, Pool)), (1, 1));
}

#[test]
fn two_buffers_of_a_known_pool_are_upstream_s() {
    for (size, limit) in [(1, 1), (2, 1), (3, 1), (4, 2), (32, 30)] {
        let rig = Rig::new();
        rig.fan.set_pool(size, rig.now);
        let pool = rig.fan.totals(rig.now).pool;
        assert_eq!(
            (pool.max_held, pool.pool_size, pool.learned),
            (limit, size, false)
        );
        rig.fan.set_max_held(|| 7, rig.now);
        let pool = rig.fan.totals(rig.now).pool;
        assert_eq!((pool.max_held, pool.pool_size), (7, size));
        rig.fan.set_max_held(|| 0, rig.now);
        rig.fan.set_pool(0, rig.now);
        let pool = rig.fan.totals(rig.now).pool;
        assert_eq!((pool.max_held, pool.pool_size), (0, 0));
    }
}

#[test]
fn a_limit_is_told_once_and_warned_of_when_it_takes_a_frame() {
    let mut rig = Rig::new();
    let told = |rig: &Rig| {
        let mut told = String::new();
        rig.fan.tell(
            || rig.now,
            |notice| match notice {
                Notice::MaxHeld(pool) => told += &format!("limit {} ", pool.max_held),
                Notice::SmallPool(pool) => told += &format!("small {} ", pool.pool_size),
                _ => {}
            },
        );
        told
    };
    let one = rig.join(depth(8));
    rig.fan.set_pool(5, rig.now);
    rig.fan.set_pool(5, rig.now);
    assert_eq!(told(&rig), "limit 3 ");
    rig.publish("kkk");
    assert_eq!(told(&rig), "");
    rig.publish("kk");
    assert_eq!(
        (told(&rig), rig.dropped(&one, Pool)),
        ("small 5 ".into(), 2)
    );
    rig.fan.set_pool(4, rig.now);
    assert_eq!(told(&rig), "limit 2 small 4 ");
    // What the application sets is its own.
    rig.fan.set_max_held(|| 1, rig.now);
    rig.publish("kk");
    assert_eq!(told(&rig), "");
}
