// SPDX-License-Identifier: MPL-2.0
//! The window against a queue.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Tape;
use crate::facts::DropReason;
use crate::fanout::consumer::window::{Room, Window};
use crate::fanout::tests::cases;
use crate::fanout::types::{FrameInfo, Limits};

/// A frame in the queue.
#[derive(Debug, Clone, Copy)]
struct Parcel {
    number: u64,
    came: u64,
    weight: u64,
    from: u64,
    until: u64,
}

/// The queue of a consumer that began with some parcels in it.
#[derive(Debug)]
struct Shelf {
    parcels: VecDeque<Parcel>,
    limits: Limits,
    /// Number, weight and length of what may be there on top of the limits.
    extra: (u64, u64, u64),
}

impl Shelf {
    fn weight(&self) -> u64 {
        self.parcels.iter().map(|parcel| parcel.weight).sum()
    }

    fn length(&self) -> u64 {
        let first = self.parcels.front().map_or(0, |parcel| parcel.from);
        let last = self.parcels.back().map_or(0, |parcel| parcel.until);
        last.saturating_sub(first)
    }

    fn pop(&mut self) -> Option<u64> {
        let parcel = self.parcels.pop_front()?;
        self.extra.0 = self.extra.0.min(self.parcels.len() as u64);
        self.extra.1 = self.extra.1.min(self.weight());
        self.extra.2 = self.extra.2.min(self.length());
        if self.extra.0 == 0 {
            self.extra = (0, 0, 0);
        }
        Some(parcel.number)
    }

    fn pay(&mut self) {
        let (count, weight, length) = self.extra;
        self.extra = match count {
            0 | 1 => (0, 0, 0),
            _ => (count - 1, weight - weight / count, length - length / count),
        };
    }

    /// What has to go, one by one; several over `depth` count as one step.
    fn tidy(&mut self, now: u64) -> Vec<(u64, DropReason)> {
        let Limits {
            depth,
            bytes,
            time,
            max_age,
            ..
        } = self.limits;
        let mut gone = Vec::new();
        while let Some(oldest) = self.parcels.front().copied() {
            let too_many = (self.parcels.len() as u64).saturating_sub(depth + self.extra.0);
            let heavy = bytes != 0 && self.weight() > bytes + self.extra.1;
            let long = time != 0 && self.length() > time + self.extra.2;
            let spare = self.parcels.len() as u64 > self.extra.0 + 1;
            let (count, reason) = if max_age != 0 && now - oldest.came > max_age {
                (1, DropReason::Stale)
            } else if too_many > 0 {
                (too_many, DropReason::Slow)
            } else if spare && (heavy || long) {
                (1, DropReason::Slow)
            } else {
                break;
            };
            for _ in 0..count {
                gone.extend(self.pop().map(|number| (number, reason)));
            }
            if reason == DropReason::Slow {
                self.pay();
            }
        }
        gone
    }
}

#[derive(Debug, Clone)]
enum Act {
    Put { weight: u64, length: u64 },
    Pop,
    Limit(Limits),
    Rest(u64),
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1_u64..6,
        prop_oneof![2 => Just(0), 1 => 1_u64..60],
        prop_oneof![2 => Just(0), 1 => 1_u64..60],
        prop_oneof![2 => Just(0), 1 => 1_u64..40],
    )
        .prop_map(|(depth, bytes, time, max_age)| Limits {
            depth,
            bytes,
            time,
            max_age,
            max_lag: 0,
        })
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u64..20, 0_u64..20).prop_map(|(weight, length)| Act::Put { weight, length }),
        4 => Just(Act::Pop),
        1 => limits().prop_map(Act::Limit),
        1 => (0_u64..30).prop_map(Act::Rest),
    ]
}

/// As a consumer uses it, where no frame needs another.
fn enforce(window: &mut Window, tape: &Tape, now: u64) -> Vec<(u64, DropReason)> {
    let mut gone = Vec::new();
    while let Some((count, reason)) = window.over_limit(&tape.log, now) {
        let first = window.cursor();
        gone.extend((first..first + count).map(|number| (number, reason)));
        window.advance(count, &tape.log);
        if reason == DropReason::Slow {
            window.pay_allowance();
        }
    }
    gone
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn it_holds_what_a_queue_holds(
        first in limits(),
        replayed in 0_u64..12,
        acts in vec(acts(), 1..120),
    ) {
        let mut tape = Tape::new();
        let mut now = 1_000;
        let mut clock = 0;
        let mut put = |tape: &mut Tape, now: u64, weight: u64, length: u64| {
            let parcel = Parcel {
                number: tape.log.end(),
                came: now,
                weight,
                from: clock,
                until: clock + length,
            };
            clock += length;
            let info = FrameInfo {
                bytes: weight,
                start: Some(parcel.from),
                end: Some(parcel.until),
                ..FrameInfo::default()
            };
            tape.frame(info, now);
            parcel
        };
        let parcels = (0..replayed).map(|_| put(&mut tape, 0, 7, 9));
        let parcels = parcels.map(|parcel| Parcel { came: now, ..parcel }).collect();
        let mut shelf = Shelf { parcels, limits: first, extra: (0, 0, 0) };
        shelf.extra = (replayed, shelf.weight(), shelf.length());
        let mut window = Window::new(first, 0);
        window.begin(&tape.log, 0, now);
        for act in acts {
            let mut expected = Vec::new();
            let mut gone = Vec::new();
            match act {
                Act::Put { weight, length } => {
                    let parcel = put(&mut tape, now, weight, length);
                    shelf.parcels.push_back(parcel);
                    expected = shelf.tidy(now);
                    match window.look(tape.log.end()) {
                        Room::Enough => {}
                        Room::OneTooMany => {
                            gone.push((window.cursor(), DropReason::Slow));
                            window.pop_one();
                        }
                        Room::Unknown => gone = enforce(&mut window, &tape, now),
                    }
                }
                Act::Pop => {
                    let next = (window.cursor() < tape.log.end()).then(|| window.cursor());
                    prop_assert_eq!(next, shelf.pop());
                    window.advance(next.map_or(0, |_| 1), &tape.log);
                }
                Act::Limit(limits) => {
                    shelf.limits = limits;
                    expected = shelf.tidy(now);
                    window.set_limits(limits);
                    gone = enforce(&mut window, &tape, now);
                }
                Act::Rest(time) => now += time,
            }
            prop_assert_eq!(&gone, &expected);
            let there: Vec<_> = (window.cursor()..tape.log.end()).collect();
            let on_shelf: Vec<_> = shelf.parcels.iter().map(|parcel| parcel.number).collect();
            prop_assert_eq!(there, on_shelf);
            for parcel in &shelf.parcels {
                let came = if parcel.number < replayed { 0 } else { parcel.came };
                prop_assert_eq!(window.waited(came, now), now - parcel.came);
            }
        }
    }
}

/// As in the table of the module.
#[test]
fn the_allowance_shrinks_as_the_table_says() {
    let mut tape = Tape::new();
    let limits = Limits {
        depth: 2,
        bytes: 0,
        time: 0,
        max_age: 0,
        max_lag: 0,
    };
    (0..5).for_each(|_| tape.frame(FrameInfo::default(), 0));
    let mut window = Window::new(limits, 0);
    window.begin(&tape.log, 0, 0);
    let mut levels = vec![window.level(tape.log.end())];
    for _ in 0..2 {
        window.advance(2, &tape.log);
        tape.frame(FrameInfo::default(), 0);
        assert_eq!(enforce(&mut window, &tape, 0), []);
        levels.push(window.level(tape.log.end()));
    }
    (0..3).for_each(|_| tape.frame(FrameInfo::default(), 0));
    enforce(&mut window, &tape, 0);
    levels.push(window.level(tape.log.end()));
    tape.frame(FrameInfo::default(), 0);
    enforce(&mut window, &tape, 0);
    levels.push(window.level(tape.log.end()));
    assert_eq!(levels, [5, 4, 3, 2, 2]);
}
