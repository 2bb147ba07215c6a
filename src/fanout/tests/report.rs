// SPDX-License-Identifier: MPL-2.0
//! What is told: each drop, in order, rate-limited, and nothing twice.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

use DropReason::{Error, Slow, Stale};

pub(super) fn told(rig: &Rig) -> Vec<Notice<Label>> {
    let mut notices = Vec::new();
    rig.fan.tell(
        || rig.now,
        |notice| {
            notices.push(notice);
            assert!(notices.len() < 10_000, "there is no end to it");
        },
    );
    notices
}

pub(super) fn drops(notices: &[Notice<Label>]) -> Vec<(DropReason, u64, u64)> {
    let drop = |notice: &Notice<Label>| match notice {
        Notice::Drop(drop) => Some((drop.reason, drop.count?, drop.total)),
        _ => None,
    };
    notices.iter().filter_map(drop).collect()
}

pub(super) fn states(notices: &[Notice<Label>]) -> Vec<(State, State)> {
    let state = |notice: &Notice<Label>| match notice {
        Notice::State {
            state, previous, ..
        } => Some((*previous, *state)),
        _ => None,
    };
    notices.iter().filter_map(state).collect()
}

pub(super) fn config(rig: &Rig, interval: u64, stall_timeout: u64) {
    rig.fan.set_report(|| ReportConfig {
        drops: true,
        messages: true,
        interval,
        stall_timeout,
    });
}

#[test]
fn the_first_drop_is_told_at_once_and_the_next_ones_after_the_interval() {
    let mut rig = Rig::new();
    config(&rig, 1_000 * MS, 0);
    let _one = rig.join(depth(1));
    rig.publish("kk");
    assert_eq!(drops(&told(&rig)), [(Slow, 1, 1)]);
    rig.publish("kk");
    assert_eq!(drops(&told(&rig)), []);
    rig.now += 999 * MS;
    rig.publish("k");
    assert_eq!(drops(&told(&rig)), []);
    rig.now += MS;
    assert_eq!(drops(&told(&rig)), [(Slow, 3, 4)]);
}

#[test]
fn with_interval_zero_each_drop_is_told_with_its_own_accounts() {
    let mut rig = Rig::new();
    config(&rig, 0, 0);
    let one = rig.join(depth(3));
    rig.publish("kdd");
    rig.publish("d");
    let notices = told(&rig);
    let lost: Vec<_> = notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Drop(drop) => Some(drop),
            _ => None,
        })
        .collect();
    assert_eq!(lost.len(), 4);
    for (index, drop) in lost.iter().enumerate() {
        assert_eq!(drop.count, Some(1));
        assert!(drop.ledger.balances());
        assert_eq!(drop.ledger.dropped.total(), index as u64 + 1);
        assert_eq!(drop.ledger.frames_in, 4);
        assert_eq!(drop.lost.pts(), Some(index as u64 * 10 * MS));
    }
    assert_eq!(rig.dropped(&one, Slow), 1);
}

#[test]
fn too_many_single_notices_are_joined_but_not_lost() {
    let mut rig = Rig::new();
    config(&rig, 0, 0);
    let one = rig.join(depth(1));
    for _ in 0..5_000 {
        rig.publish("k");
    }
    rig.fan.summarize(one.id, rig.now);
    let counts = drops(&told(&rig));
    assert!(counts.len() < 5_000);
    let sum: u64 = counts.iter().map(|(_, count, _)| count).sum();
    assert_eq!(sum, 4_999);
}

#[test]
fn a_transition_is_told_once() {
    let mut rig = Rig::new();
    config(&rig, 0, 100 * MS);
    let one = rig.join(depth(4));
    rig.publish("k");
    let stamp = rig.frame(&one).stamp;
    rig.now += 100 * MS;
    assert_eq!(states(&told(&rig)), []);
    rig.now += 1;
    assert_eq!(states(&told(&rig)), [(State::Ok, State::Stalled)]);
    rig.now += 500 * MS;
    assert_eq!(states(&told(&rig)), []);
    rig.finish(&one, stamp, Outcome::Ended(Error));
    let notices = told(&rig);
    assert_eq!(states(&notices), [(State::Stalled, State::Failed)]);
    assert!(notices.iter().any(|notice| matches!(
        notice,
        Notice::State { in_flight_for, flow: -7, .. } if *in_flight_for == 600 * MS + 1
    )));
    rig.publish("k");
    assert_eq!(states(&told(&rig)), []);
    rig.fan.readmit(one.id, true, rig.now);
    assert_eq!(states(&told(&rig)), [(State::Failed, State::Ok)]);
    assert_eq!(states(&told(&rig)), []);
}

#[test]
fn a_stop_is_no_recovery_but_a_new_life_is() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("k");
    let stamp = rig.frame(&one).stamp;
    rig.finish(&one, stamp, Outcome::Ended(Error));
    assert_eq!(states(&told(&rig)), [(State::Ok, State::Failed)]);
    rig.fan.deactivate(one.id, rig.now);
    rig.fan.summarize(one.id, rig.now);
    let notices = told(&rig);
    assert_eq!(states(&notices), []);
    let Some(Notice::Summary(summary)) = notices.last() else {
        panic!("no summary");
    };
    assert_eq!(summary.state, State::Failed);
    rig.fan.reset();
    assert_eq!(states(&told(&rig)), [(State::Failed, State::Ok)]);
}

#[test]
fn an_eviction_tells_how_long_the_frame_was_in_flight() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_lag: 1,
        ..depth(1)
    });
    rig.publish("k");
    let _taken = rig.frame(&one);
    rig.now += 50 * MS;
    rig.publish("kkk");
    let notices = told(&rig);
    assert!(notices.iter().any(|notice| matches!(
        notice,
        Notice::State { state: State::Evicted, in_flight_for, .. } if *in_flight_for == 50 * MS
    )));
}

#[test]
fn the_summary_of_a_consumer_that_leaves_comes_after_its_drops() {
    let mut rig = Rig::new();
    let one = rig.join(depth(4));
    rig.publish("kkkkkk");
    let summary = rig.leave(&one);
    assert!(summary.ledger.balances());
    let notices = told(&rig);
    let counts = drops(&notices);
    assert_eq!(counts, [(Slow, 2, 2), (DropReason::Flushing, 4, 4)]);
    assert!(matches!(notices.last(), Some(Notice::Summary(_))));
    assert_eq!(rig.fan.totals(rig.now).dropped, 6);
}

#[test]
fn a_summary_does_not_wait_for_the_interval() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.publish("kk");
    assert_eq!(drops(&told(&rig)), [(Slow, 1, 1)]);
    rig.publish("kk");
    rig.fan.summarize(one.id, rig.now);
    let notices = told(&rig);
    assert_eq!(drops(&notices), [(Slow, 2, 3)]);
    assert!(matches!(notices.last(), Some(Notice::Summary(_))));
}

/// The thread that passes the end on waits for the summary, also if another one is telling just then.
#[test]
fn a_summary_that_is_due_counts_as_untold() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.publish("kk");
    rig.event(Kind::Eos);
    rig.fan.tell(
        || rig.now,
        |_| assert_eq!(rig.drain(&one), "1! E", "in the middle of it"),
    );
    assert!(!rig.fan.is_told());
    assert_eq!(
        rig.fan.next_report(rig.now, &bell(&Arc::default())),
        Some(0)
    );
    let notices = told(&rig);
    let Some(Notice::Summary(summary)) = notices.last() else {
        panic!("no summary");
    };
    assert_eq!(summary.ledger.frames_out, 1);
    assert!(rig.fan.is_told());
    rig.fan.readmit(one.id, true, rig.now);
    assert_eq!(rig.drain(&one), "E");
    assert_eq!(told(&rig).len(), 0, "the same end once more");
}

/// A handler of a property wants to hear of drops while messages are off.
#[test]
fn messages_tell_what_came_while_they_were_off() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    let report = |rig: &Rig, messages| {
        rig.fan.set_report(|| ReportConfig {
            drops: true,
            messages,
            interval: 0,
            stall_timeout: 0,
        });
    };
    report(&rig, false);
    rig.publish("kkkk");
    let notices = told(&rig);
    let silent =
        |notice: &&Notice<Label>| matches!(notice, Notice::Drop(drop) if drop.count.is_none());
    assert_eq!(notices.iter().filter(silent).count(), 3);
    report(&rig, true);
    rig.publish("k");
    assert_eq!(rig.dropped(&one, Slow), 4);
    let counts = drops(&told(&rig));
    let sum: u64 = counts.iter().map(|(_, count, _)| count).sum();
    assert_eq!(sum, 4);
}

#[test]
fn a_stall_timeout_that_is_never_over_is_none() {
    let mut rig = Rig::new();
    let one = rig.join(depth(1));
    rig.fan.set_report(|| ReportConfig {
        drops: true,
        messages: true,
        interval: 1,
        stall_timeout: u64::MAX,
    });
    rig.publish("k");
    rig.frame(&one);
    told(&rig);
    let next = rig.fan.next_report(rig.now, &bell(&Arc::default()));
    assert!(next.is_none_or(|next| next > u64::MAX / 2), "{next:?}");
}

#[test]
fn events_lost_are_told_once() {
    let mut rig = Rig::new();
    let _one = rig.join(depth(4));
    let mut warnings = 0;
    for _ in 0..1_000 {
        rig.event(Kind::Gap);
        let warns = |notice: &Notice<Label>| matches!(notice, Notice::EventsDropped { .. });
        warnings += told(&rig).iter().filter(|notice| warns(notice)).count();
    }
    assert_eq!(warnings, 1);
}

proptest! {
    #![proptest_config(cases(64))]

    /// Frames come, are taken or not, and are told of at odd times: the sums are the counters.
    #[test]
    fn the_sum_of_the_counts_is_what_the_summary_says(
        interval in prop_oneof![Just(0), 1..500 * MS],
        steps in vec((0_u8..6, 0..200 * MS), 1..200),
    ) {
        let mut rig = Rig::new();
        config(&rig, interval, 0);
        let one = rig.join(Limits { max_age: 300 * MS, ..depth(2) });
        let mut sums = [0; DropReason::ALL.len()];
        let mut last = [None; DropReason::ALL.len()];
        let mut add = |rig: &Rig| -> Result<(), TestCaseError> {
            for notice in told(rig) {
                let Notice::Drop(drop) = notice else { continue };
                let index = drop.reason.index();
                sums[index] += drop.count.unwrap();
                prop_assert_eq!(sums[index], drop.total);
                prop_assert!(drop.ledger.balances());
                let then = last[index].replace(rig.now);
                prop_assert!(then.is_none_or(|then| rig.now - then >= interval));
            }
            Ok(())
        };
        for (what, pause) in steps {
            match what {
                0..3 => _ = rig.publish("k"),
                3 => _ = rig.publish("dd"),
                4 => _ = rig.drain(&one),
                _ => add(&rig)?,
            }
            rig.now += pause;
        }
        rig.now += interval;
        rig.fan.summarize(one.id, rig.now);
        add(&rig)?;
        let counted = rig.ledger(&one).dropped;
        let counted: Vec<u64> = counted.iter().map(|(_, count)| count).collect();
        prop_assert_eq!(&sums[..], &counted[..]);
        prop_assert!(rig.lock_was_free());
    }
}

#[test]
fn stale_drops_are_told_with_their_time() {
    let mut rig = Rig::new();
    let one = rig.join(Limits {
        max_age: 10 * MS,
        ..depth(4)
    });
    rig.publish("kk");
    rig.now += 11 * MS;
    assert_eq!(rig.drain(&one), "");
    let notices = told(&rig);
    assert_eq!(drops(&notices), [(Stale, 2, 2)]);
    assert!(notices.iter().any(|notice| matches!(
        notice,
        Notice::Drop(drop) if drop.lost.running_time() == Some(10 * MS)
    )));
}
