// SPDX-License-Identifier: MPL-2.0
//! The full table of a consumer's states and what can happen in them.

use crate::facts::DropReason::{self, Disabled, Eos, Error, Evicted, Flushing, NotLinked};
use crate::facts::State;
use crate::fanout::consumer::service::{
    Admission, Gate, Greeting, Phase, Service, StandIn, Verdict,
};
use crate::fanout::key::Stamp;

/// A service in that phase, and the newest stamp.
fn service_in(phase: Phase) -> (Service, Stamp) {
    let mut stamp = Stamp::default();
    let mut service = Service::new(stamp.advance());
    let active = |service: &mut Service, stamp: &mut Stamp| service.activate(stamp.advance());
    match phase {
        Phase::Idle => {}
        Phase::Serving => active(&mut service, &mut stamp),
        Phase::Disabled(stand_in) => {
            service.set_gate(Gate::Closed);
            active(&mut service, &mut stamp);
            if stand_in == StandIn::Given {
                service.give_stand_in();
            }
        }
        Phase::Ended(reason) => {
            active(&mut service, &mut stamp);
            service.end(reason);
        }
        Phase::Stopped(reason) => {
            if reason == Disabled {
                service.set_gate(Gate::Closed);
            }
            active(&mut service, &mut stamp);
            if ![Flushing, Disabled].contains(&reason) {
                service.end(reason);
            }
            service.deactivate();
        }
    }
    assert_eq!(service.phase(), phase);
    (service, stamp)
}

fn name(phase: Phase) -> String {
    match phase {
        Phase::Idle => "idle".into(),
        Phase::Serving => "serving".into(),
        Phase::Disabled(StandIn::Due) => "disabled:due".into(),
        Phase::Disabled(StandIn::Given) => "disabled:given".into(),
        Phase::Ended(reason) => format!("ended:{reason}"),
        Phase::Stopped(reason) => format!("stopped:{reason}"),
    }
}

const PHASES: [Phase; 14] = [
    Phase::Idle,
    Phase::Serving,
    Phase::Disabled(StandIn::Due),
    Phase::Disabled(StandIn::Given),
    Phase::Ended(NotLinked),
    Phase::Ended(Eos),
    Phase::Ended(Error),
    Phase::Ended(Evicted),
    Phase::Stopped(Flushing),
    Phase::Stopped(Disabled),
    Phase::Stopped(NotLinked),
    Phase::Stopped(Eos),
    Phase::Stopped(Error),
    Phase::Stopped(Evicted),
];

/// What comes of each, in the order of the columns of the table.
const INPUTS: [fn(&mut Service, Stamp); 12] = [
    |service, now| service.activate(now),
    |service, _| service.end(Error),
    |service, _| service.evict(),
    |service, _| service.deactivate(),
    |service, now| service.readmit(now),
    |service, now| _ = service.flush_stop(now),
    |service, _| service.cancel(),
    |service, now| service.reset(now),
    |service, _| _ = service.set_gate(Gate::Closed),
    |service, _| _ = service.set_gate(Gate::Open),
    |service, _| service.give_stand_in(),
    |service, _| service.need_stand_in(),
];

/// `.`: it stays as it is.
const TABLE: &str = "\
state              activate     end:error     evict           deactivate         readmit      flush_stop   cancel reset close            open             given          needed
idle               serving      stopped:error stopped:evicted .                  .            .            .      .     .                .                .              .
serving            .            ended:error   ended:evicted   stopped:flushing   .            .            .      idle  disabled:due     .                .              .
disabled:due       .            ended:error   ended:evicted   stopped:disabled   .            .            .      idle  .                serving          disabled:given .
disabled:given     disabled:due ended:error   ended:evicted   stopped:disabled   disabled:due disabled:due .      idle  .                serving          .              disabled:due
ended:not-linked   serving      ended:error   ended:evicted   stopped:not-linked serving      .            .      idle  .                .                .              .
ended:eos          serving      ended:error   ended:evicted   stopped:eos        serving      serving      .      idle  .                .                .              .
ended:error        serving      .             ended:evicted   stopped:error      serving      serving      .      idle  .                .                .              .
ended:evicted      serving      ended:error   .               stopped:evicted    serving      .            .      idle  .                .                .              .
stopped:flushing   serving      stopped:error stopped:evicted .                  .            .            .      idle  stopped:disabled .                .              .
stopped:disabled   disabled:due stopped:error stopped:evicted .                  .            .            .      idle  .                stopped:flushing .              .
stopped:not-linked serving      stopped:error stopped:evicted .                  .            .            .      idle  .                .                .              .
stopped:eos        serving      stopped:error stopped:evicted .                  .            .            .      idle  .                .                .              .
stopped:error      serving      .             stopped:evicted .                  .            .            .      idle  .                .                .              .
stopped:evicted    serving      stopped:error .               .                  .            .            .      idle  .                .                .              .";

#[test]
fn each_state_and_input_is_in_the_table() {
    for (phase, row) in PHASES.into_iter().zip(TABLE.lines().skip(1)) {
        let mut expected = row.split_whitespace();
        assert_eq!(expected.next(), Some(name(phase).as_str()));
        for (input, expected) in INPUTS.into_iter().zip(expected) {
            let (mut service, mut stamp) = service_in(phase);
            input(&mut service, stamp.advance());
            let expected = match expected {
                "." => name(phase),
                other => other.to_owned(),
            };
            assert_eq!(name(service.phase()), expected, "{row}");
        }
    }
}

/// The columns of the table that have the consumer served again, behind a gate that was closed before.
#[test]
fn what_ends_behind_a_closed_gate_is_served_behind_it() {
    for (phase, row) in PHASES.into_iter().zip(TABLE.lines().skip(1)) {
        let expected = row.split_whitespace().skip(1);
        for (input, expected) in INPUTS.into_iter().zip(expected).take(8) {
            let (mut service, mut stamp) = service_in(phase);
            service.set_gate(Gate::Closed);
            input(&mut service, stamp.advance());
            let served = expected == "serving" || expected == "." && phase == Phase::Serving;
            if served {
                assert_eq!(name(service.phase()), "disabled:due", "{row}");
            }
            assert_ne!(service.phase(), Phase::Serving, "{row}");
            assert_eq!(
                service.phase() == Phase::Idle,
                name(service.phase()) == "idle"
            );
        }
    }
}

#[test]
fn what_has_ended_it_shows_before_its_gate() {
    for phase in PHASES {
        let (mut service, _) = service_in(phase);
        service.set_gate(Gate::Closed);
        let expected = match phase {
            Phase::Ended(NotLinked) | Phase::Stopped(NotLinked) => State::NotLinked,
            Phase::Ended(Eos) | Phase::Stopped(Eos) => State::Eos,
            Phase::Ended(Error) | Phase::Stopped(Error) => State::Failed,
            Phase::Ended(Evicted) | Phase::Stopped(Evicted) => State::Evicted,
            _ => State::Disabled,
        };
        assert_eq!(service.state(), expected, "{phase:?}");
        service.set_gate(Gate::Open);
        assert_ne!(service.state(), State::Disabled, "{phase:?}");
    }
}

#[test]
fn what_becomes_of_a_frame_depends_on_the_state_alone() {
    for phase in PHASES {
        for flushing in [false, true] {
            let expected = match phase {
                Phase::Idle => Admission::Uncounted,
                Phase::Serving if flushing => Admission::Drop(Flushing),
                Phase::Serving => Admission::Take,
                Phase::Disabled(_) => Admission::Drop(Disabled),
                Phase::Ended(reason) | Phase::Stopped(reason) => Admission::Drop(reason),
            };
            let (service, _) = service_in(phase);
            assert_eq!(service.admission(flushing), expected, "{phase:?}");
        }
    }
}

/// What a thread of the session, and one of the session before, hears.
#[test]
fn what_a_taker_hears_first() {
    for phase in PHASES {
        for flushing in [false, true] {
            let (mut service, stamp) = service_in(phase);
            let mut old = Stamp::default();
            old.advance();
            let session = stamp;
            let idle = phase == Phase::Idle;
            let stopped = matches!(phase, Phase::Stopped(_));
            let expected = match (idle, stopped, flushing) {
                (true, ..) => Greeting::Wait,
                (_, true, _) => Greeting::Closed(session),
                (.., true) => Greeting::Wait,
                _ => Greeting::Serve,
            };
            assert_eq!(service.greet(session, flushing), expected, "{phase:?}");
            let expected = match (idle, stopped) {
                (true, _) => Greeting::Wait,
                (_, true) => Greeting::Closed(session),
                _ => Greeting::Superseded(session),
            };
            assert_eq!(service.greet(old, flushing), expected, "{phase:?}");
        }
    }
}

#[test]
fn what_is_pending_is_heard_once() {
    let twice = |service: &mut Service, stamp: Stamp| {
        [service.greet(stamp, false), service.greet(stamp, false)]
    };
    let (mut service, mut stamp) = service_in(Phase::Serving);
    let session = stamp;
    service.evict();
    assert_eq!(
        service.greet(session, true),
        Greeting::Evicted,
        "amid a flush, too"
    );
    assert_eq!(service.greet(session, false), Greeting::Serve);
    // Each flush undoes it.
    service.flush_stop(stamp.advance());
    assert_eq!(
        twice(&mut service, session),
        [Greeting::Evicted, Greeting::Serve]
    );
    service.evict();
    service.readmit(stamp.advance());
    assert_eq!(
        service.greet(session, false),
        Greeting::Serve,
        "not any more"
    );
    for phase in [
        Phase::Serving,
        Phase::Ended(Eos),
        Phase::Ended(Error),
        Phase::Ended(NotLinked),
    ] {
        let (mut service, mut stamp) = service_in(phase);
        let session = stamp;
        let again = service.flush_stop(stamp.advance());
        assert_eq!(again, matches!(phase, Phase::Ended(Eos | Error)));
        assert_eq!(
            service.greet(session, true),
            Greeting::Wait,
            "the next flush"
        );
        assert_eq!(
            twice(&mut service, session),
            [Greeting::Resumed, Greeting::Serve]
        );
        service.flush_stop(stamp.advance());
        service.flush_start();
        assert_eq!(service.greet(session, false), Greeting::Serve, "{phase:?}");
    }
    let (mut service, stamp) = service_in(Phase::Idle);
    service.cancel();
    assert_eq!(
        twice(&mut service, stamp),
        [Greeting::Cancelled, Greeting::Wait]
    );
    for phase in PHASES {
        let (mut service, mut stamp) = service_in(phase);
        let session = stamp;
        service.reset(stamp.advance());
        let expected = match phase {
            Phase::Idle => Greeting::Wait,
            _ => Greeting::Closed(stamp),
        };
        assert_eq!(service.greet(session, false), expected, "{phase:?}");
        assert_eq!(
            service.greet(stamp, false),
            Greeting::Wait,
            "the next start"
        );
    }
}

/// By what happened since it was taken.
#[test]
fn what_an_answer_is_worth() {
    type Change = fn(&mut Service, Stamp);
    let changes: [(Change, Verdict, bool); 6] = [
        (|_, _| {}, Verdict::Ours, true),
        (|service, now| service.readmit(now), Verdict::Late, true),
        (
            |service, now| _ = service.flush_stop(now),
            Verdict::Late,
            true,
        ),
        (|service, now| service.replay(now), Verdict::Ours, false),
        (|service, now| service.activate(now), Verdict::Orphan, false),
        (|service, now| service.reset(now), Verdict::Orphan, false),
    ];
    for (change, verdict, is_current) in changes {
        let (mut service, mut stamp) = service_in(Phase::Serving);
        let taken_with = service.stamp();
        change(&mut service, stamp.advance());
        assert_eq!(service.verdict(taken_with), verdict);
        assert_eq!(service.is_current(taken_with), is_current);
        // What is taken from now on is worth all.
        assert_eq!(service.verdict(service.stamp()), Verdict::Ours);
        assert!(service.is_current(service.stamp()));
    }
}

#[test]
fn the_stamp_of_what_is_taken_never_goes_back() {
    for first in INPUTS {
        for second in INPUTS {
            let (mut service, mut stamp) = service_in(Phase::Serving);
            for input in [first, second] {
                let before = service.stamp();
                input(&mut service, stamp.advance());
                assert!(service.stamp() >= before);
            }
        }
    }
}

/// Each reason is one that can be dropped for.
#[test]
fn every_end_drops_for_its_own_reason() {
    for reason in DropReason::ALL {
        let (service, _) = service_in(Phase::Ended(reason));
        assert_eq!(service.admission(false), Admission::Drop(reason));
    }
}
