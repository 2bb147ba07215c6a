// SPDX-License-Identifier: MPL-2.0
//! The account: nothing is counted twice, and nothing is forgotten.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::facts::DropReason;
use crate::fanout::consumer::account::{Account, Flight};
use crate::fanout::key::Stamp;
use crate::fanout::tests::cases;
use crate::fanout::types::Lost;

#[derive(Debug, Clone)]
enum Act {
    Come,
    Lose(DropReason),
    Take,
    /// A frame comes back and is done with, or is lost.
    Return(Option<DropReason>),
    Abandon,
    Replay(u64),
    Forgive,
}

fn acts() -> impl Strategy<Value = Act> {
    let reason = || proptest::sample::select(DropReason::ALL.to_vec());
    prop_oneof![
        6 => Just(Act::Come),
        3 => reason().prop_map(Act::Lose),
        4 => Just(Act::Take),
        2 => Just(Act::Return(None)),
        1 => reason().prop_map(|reason| Act::Return(Some(reason))),
        1 => Just(Act::Abandon),
        1 => (0_u64..4).prop_map(Act::Replay),
        1 => Just(Act::Forgive),
    ]
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn it_balances_after_each_step(joined in 0_u64..9, acts in vec(acts(), 1..200)) {
        let mut account = Account::new(0);
        account.join(joined);
        let (mut end, mut waiting, mut now) = (joined, 0, 0);
        let (mut lost, mut told, mut slow, mut forgiven) = (0, 0, 0, 0);
        for act in acts {
            now += 1;
            match act {
                Act::Come => {
                    end += 1;
                    waiting += 1;
                }
                Act::Lose(reason) if waiting > 0 => {
                    waiting -= 1;
                    lost += 1;
                    slow += u64::from(reason == DropReason::Slow);
                    account.drop(reason, 1);
                }
                Act::Take if waiting > 0 => {
                    waiting -= 1;
                    let is_discont = account.is_discont();
                    let flight = Flight { stamp: Stamp::default(), number: 0, since: now, lost: Lost::default() };
                    let (discont, lost_before) = account.take(flight);
                    prop_assert_eq!(discont, is_discont);
                    prop_assert_eq!(discont, lost > told);
                    told += lost_before;
                    prop_assert_eq!(told, lost, "what was lost before it");
                }
                Act::Return(outcome) => match (account.land(now), outcome) {
                    (None, _) => {}
                    (Some(_), None) => account.deliver(),
                    (Some(flight), Some(reason)) => {
                        prop_assert_eq!(account.last_flight(), now - flight.since);
                        lost += 1;
                        slow += u64::from(reason == DropReason::Slow);
                        account.drop(reason, 1);
                    }
                },
                Act::Abandon => {
                    let lands_not = u64::from(account.abandon().is_some());
                    lost += lands_not;
                    account.drop(DropReason::Flushing, lands_not);
                }
                Act::Replay(frames) => {
                    waiting += frames;
                    account.offer_again(frames);
                }
                Act::Forgive => {
                    forgiven = slow;
                    account.forgive();
                }
                _ => {}
            }
            let ledger = account.ledger(end, waiting);
            prop_assert!(ledger.balances(), "{:?}", ledger);
            prop_assert_eq!(ledger.dropped.total(), lost);
            prop_assert_eq!(account.lag(), slow - forgiven);
            prop_assert_eq!(ledger.in_flight, u64::from(account.flight().is_some()));
        }
        let had_frames = account.ledger(end, waiting) != account.ledger(end, waiting + 1)
            && (lost > 0 || account.has_delivered() || account.flight().is_some());
        account.reset();
        prop_assert_eq!(account.ledger(0, 0), crate::facts::Ledger::default());
        prop_assert_eq!(account.is_discont(), had_frames);
    }
}
