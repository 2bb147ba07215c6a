// SPDX-License-Identifier: MPL-2.0
//! Events against a list.

use proptest::collection::vec;
use proptest::prelude::*;

use super::Tape;
use crate::fanout::consumer::events::Events;
use crate::fanout::tests::{Ev, Kind, cases};
use crate::fanout::types::{Event, FrameInfo};

#[derive(Debug, Clone)]
enum Act {
    Frame,
    Event(Kind),
    /// So many frames are taken or lost, and then an event if there is one.
    Move(u64),
    Flush,
    Clear,
    JoinAnew,
}

fn acts() -> impl Strategy<Value = Act> {
    let kinds = [
        Kind::Start,
        Kind::Caps,
        Kind::Segment,
        Kind::Tag,
        Kind::Eos,
        Kind::Gap,
        Kind::Custom,
    ];
    prop_oneof![
        4 => Just(Act::Frame),
        6 => proptest::sample::select(kinds.to_vec()).prop_map(Act::Event),
        6 => (0_u64..3).prop_map(Act::Move),
        1 => Just(Act::Flush),
        1 => Just(Act::Clear),
        1 => Just(Act::JoinAnew),
    ]
}

fn id(event: &Ev) -> (Kind, u64) {
    (event.kind, event.body.0)
}

proptest! {
    #![proptest_config(cases(512))]

    /// As long as no more wait than are allowed to.
    #[test]
    fn they_come_as_from_a_list(acts in vec(acts(), 1..200)) {
        let mut tape = Tape::new();
        let mut events = Events::new(0);
        let mut freed: Vec<Ev> = Vec::new();
        let mut list: Vec<(u64, (Kind, u64))> = Vec::new();
        let (mut cursor, mut next_id) = (0, 0);
        for act in acts {
            match act {
                Act::Frame => tape.frame(FrameInfo::default(), 0),
                Act::Event(kind) => {
                    next_id += 1;
                    tape.event(kind, next_id);
                    list.push((tape.log.end(), (kind, next_id)));
                    prop_assert!(!events.bound(&tape.log, cursor, &mut freed));
                }
                Act::Move(frames) => {
                    // No further than the next event, nor than there are frames.
                    let limit = list.first().map_or(u64::MAX, |(at, _)| *at);
                    cursor = (cursor + frames).min(tape.log.end()).min(limit.max(cursor));
                    let due = list.first().is_some_and(|(at, _)| *at <= cursor);
                    let wanted = due.then(|| list.remove(0).1);
                    let placed = events.take(&tape.log, cursor);
                    prop_assert_eq!(placed.map(|placed| id(&placed.event)), wanted);
                }
                Act::Flush => {
                    cursor = tape.log.end();
                    tape.flush();
                    events.flush(&tape.log, &mut freed);
                    list.retain(|(_, (kind, _))| kind.survives_flush());
                }
                Act::Clear => {
                    events.clear(&tape.log, &mut freed);
                    list.clear();
                }
                Act::JoinAnew => {
                    let start = tape.log.start_live();
                    cursor = start.position;
                    list = start.events.iter().map(|one| (one.at, id(&one.event))).collect();
                    let kinds: Vec<_> = list.iter().map(|(_, (kind, _))| *kind).collect();
                    prop_assert!(kinds.is_sorted(), "{:?}", kinds);
                    events.clear(&tape.log, &mut freed);
                    events.begin(start);
                }
            }
            let waiting = events.waiting(&tape.log).map(|one| (one.at, id(&one.event)));
            prop_assert_eq!(waiting.collect::<Vec<_>>(), list.clone());
        }
        prop_assert_eq!(events.dropped(), 0);
    }

    /// However many come: those that may go do, and of the others each kind's last one stays.
    #[test]
    fn their_number_is_bounded(kinds in vec(0_u8..5, 300..700)) {
        let kinds: Vec<_> = kinds
            .into_iter()
            .map(|kind| [Kind::Caps, Kind::Segment, Kind::Tag, Kind::Gap, Kind::Custom][kind as usize])
            .collect();
        let mut tape = Tape::new();
        let mut events = Events::new(0);
        let mut freed: Vec<Ev> = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            tape.event(*kind, number as u64);
            events.bound(&tape.log, 0, &mut freed);
            prop_assert!(events.waiting(&tape.log).count() <= 256);
        }
        let left: Vec<_> = events.waiting(&tape.log).map(|one| id(&one.event)).collect();
        let went = kinds.len() - left.len();
        prop_assert!(went > 0);
        for kind in [Kind::Caps, Kind::Segment, Kind::Tag] {
            let last = kinds.iter().rposition(|other| *other == kind);
            let last = last.map(|number| (kind, number as u64));
            prop_assert!(last.is_none_or(|last| left.contains(&last)), "{:?}", last);
        }
        let expendable = |one: &&Kind| Ev::new(**one, 0).is_expendable();
        let came = kinds.iter().filter(expendable).count() as u64;
        let stayed = left.iter().filter(|(kind, _)| !kind.sticky()).count() as u64;
        prop_assert_eq!(came - stayed, events.dropped());
    }
}
