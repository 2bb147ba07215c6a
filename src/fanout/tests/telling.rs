// SPDX-License-Identifier: MPL-2.0
//! Who tells, and when: one thread at a time, in order, and woken when there is something.

use std::sync::mpsc;

use super::report::{config, drops, states, told};
use super::*;

use DropReason::{Error, Slow};

#[test]
fn next_report_says_when_to_look_again() {
    let mut rig = Rig::new();
    config(&rig, 1_000 * MS, 0);
    let one = rig.join(depth(1));
    let woken = Arc::default();
    let next = |rig: &Rig| rig.fan.next_report(rig.now, &bell(&woken));
    told(&rig);
    assert_eq!(next(&rig), None);
    rig.publish("kk");
    assert_eq!(woken.load(Ordering::SeqCst), 1, "the first drop wakes");
    assert_eq!(next(&rig), Some(0));
    told(&rig);
    rig.now += 100 * MS;
    rig.publish("k");
    assert_eq!(woken.load(Ordering::SeqCst), 1, "the next has time");
    assert_eq!(next(&rig), Some(900 * MS));
    config(&rig, 1_000 * MS, 50 * MS);
    let _taken = rig.frame(&one);
    assert_eq!(next(&rig), Some(50 * MS));
    rig.now += 30 * MS;
    assert_eq!(next(&rig), Some(20 * MS + 1));
    rig.now += 20 * MS + 1;
    assert_eq!(next(&rig), Some(0));
    assert!(rig.lock_was_free());
}

/// What came up between the last look and the question is due at once.
#[test]
fn next_report_misses_no_transition() {
    let mut rig = Rig::new();
    config(&rig, 1_000 * MS, 0);
    let one = rig.join(depth(4));
    rig.publish("k");
    let stamp = rig.frame(&one).stamp;
    told(&rig);
    rig.finish(&one, stamp, Outcome::Ended(DropReason::NotLinked));
    told(&rig);
    rig.fan.readmit(one.id, true, rig.now);
    let next = rig.fan.next_report(rig.now, &bell(&Arc::default()));
    assert_eq!(next, Some(0));
}

#[test]
fn a_second_teller_keeps_the_order_and_does_not_spin() {
    let mut rig = Rig::new();
    config(&rig, 0, 0);
    let one = rig.join(depth(1));
    rig.publish("kk");
    let woken = Arc::default();
    let (entered, enter) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let now = rig.now;
    let mut order = Vec::new();
    std::thread::scope(|scope| {
        // Gone with this closure, so that the teller does not wait if an assertion fails.
        let leave = leave;
        let (fan, order) = (&rig.fan, &mut order);
        scope.spawn(move || {
            fan.tell(
                || now,
                |notice| {
                    order.extend(drops(&[notice]));
                    if order.len() == 1 {
                        entered.send(()).unwrap();
                        left.recv().unwrap();
                    }
                },
            );
        });
        enter.recv().unwrap();
        let last = Arc::new(Body(2));
        let _ = rig.fan.publish(last, FrameInfo::default(), now);
        rig.fan.tell(|| now, |_| panic!("out of order"));
        assert!(!rig.fan.is_told());
        assert_eq!(rig.fan.next_report(now, &bell(&woken)), None);
        leave.send(()).unwrap();
    });
    // What came up meanwhile is left to the thread that reports, which is told so.
    assert_eq!(order, [(Slow, 1, 1)]);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    rig.fan
        .tell(|| now, |notice| order.extend(drops(&[notice])));
    assert_eq!(order, [(Slow, 1, 1), (Slow, 1, 2)]);
    assert!(rig.fan.is_told());
    assert_eq!(rig.dropped(&one, Slow), 2);
}

/// A transition is not written down before a thread looks: the one that was kept from it has to.
#[test]
fn who_was_kept_from_telling_is_woken() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.publish("kk");
    let stamp = rig.frame(&one).stamp;
    let woken = Arc::default();
    let mut told_states = Vec::new();
    rig.fan.tell(
        || rig.now,
        |notice| {
            told_states.extend(states(&[notice]));
            rig.finish(&one, stamp, Outcome::Ended(Error));
            rig.fan.tell(|| rig.now, |_| panic!("out of order"));
            assert_eq!(rig.fan.next_report(rig.now, &bell(&woken)), None);
        },
    );
    assert_eq!(told_states, []);
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert_eq!(states(&told(&rig)), [(State::Ok, State::Failed)]);
    assert!(rig.lock_was_free());
}

#[test]
fn a_panic_in_a_handler_does_not_silence_the_rest() {
    let mut rig = Rig::new();
    config(&rig, 0, 0);
    let _one = rig.join(depth(1));
    rig.publish("kkk");
    let woken = Arc::default();
    assert_eq!(rig.fan.next_report(rig.now, &bell(&woken)), Some(0));
    let fan = rig.fan.clone();
    let told_first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fan.tell(|| 0, |_| std::panic::resume_unwind(Box::new(())));
    }));
    assert!(told_first.is_err());
    assert_eq!(woken.load(Ordering::SeqCst), 1, "a thread has to go on");
    assert_eq!(drops(&told(&rig)), [(Slow, 1, 2)]);
}
