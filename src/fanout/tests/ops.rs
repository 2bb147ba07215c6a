// SPDX-License-Identifier: MPL-2.0
//! Random work.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Op {
    Publish {
        delta: bool,
        bytes: u64,
        timed: bool,
        header: bool,
        /// So many frames earlier it is shown.
        earlier: u64,
    },
    Events(Kind, usize),
    Take(usize),
    TakeAll(usize),
    /// And how many losses before the frame the consumer has not heard of.
    Finish(usize, Outcome, u64),
    FinishStray(usize, Outcome),
    FlushStart,
    FlushStop,
    /// And whether it is a receiver in the application, whose thread outlives sessions.
    Join(Limits, bool),
    /// Whether it is linked.
    Activate(usize, bool),
    Deactivate(usize),
    Leave(usize),
    Readmit(usize),
    SetLimits(usize, Limits),
    /// Opens or closes its gate.
    Enable(usize, bool),
    Pause,
    SetCapacity(u64),
    MaxHeld(u64),
    Pool(u64),
    /// The application keeps the frame in flight for longer.
    Keep(usize),
    Unkeep(usize),
    /// The application frees the frame in flight before that is said.
    Land(usize),
    /// The application ends the stream.
    Close,
    /// The stream will not start.
    Dismiss,
    ForgetGop,
    Reset,
    Pass(u64),
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    use DropReason::{Eos, Error, Flushing, NotLinked};
    prop_oneof![
        4 => Just(Outcome::Delivered),
        1 => Just(Outcome::Lost(Flushing)),
        1 => proptest::sample::select(vec![Eos, Error, NotLinked]).prop_map(Outcome::Ended),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1_u64..6,
        prop_oneof![3 => Just(0), 1 => 100_u64..1_000],
        prop_oneof![3 => Just(0), 1 => 5 * MS..50 * MS],
        prop_oneof![3 => Just(0), 1 => 10 * MS..300 * MS],
        prop_oneof![3 => Just(0), 1 => 1_u64..12],
    )
        .prop_map(|(depth, bytes, time, max_age, max_lag)| Limits {
            depth,
            bytes,
            time,
            max_age,
            max_lag,
        })
}

fn kinds() -> impl Strategy<Value = Kind> {
    use Kind::{Caps, Custom, Eos, Gap, Segment, Start, Tag};
    proptest::sample::select(vec![
        Start, Caps, Segment, Segment, Tag, Tag, Gap, Custom, Eos,
    ])
}

fn frames() -> impl Strategy<Value = Op> {
    let header = proptest::bool::weighted(0.2);
    let earlier = prop_oneof![2 => Just(0), 1 => 1_u64..4];
    (any::<bool>(), 0_u64..300, any::<bool>(), header, earlier).prop_map(
        |(delta, bytes, timed, header, earlier)| Op::Publish {
            delta,
            bytes,
            timed,
            header,
            earlier,
        },
    )
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    let who = 0_usize..4;
    let untold = prop_oneof![9 => Just(0), 1 => 1_u64..3];
    let frames_out = prop_oneof![1 => Just(0), 2 => 1_u64..8];
    prop_oneof![
        20 => frames(),
        6 => (kinds(), prop_oneof![8 => 1_usize..3, 1 => 100_usize..200])
            .prop_map(|(kind, count)| Op::Events(kind, count)),
        12 => who.clone().prop_map(Op::Take),
        2 => who.clone().prop_map(Op::TakeAll),
        8 => (who.clone(), outcomes(), untold)
            .prop_map(|(who, outcome, untold)| Op::Finish(who, outcome, untold)),
        1 => (who.clone(), outcomes()).prop_map(|(who, outcome)| Op::FinishStray(who, outcome)),
        1 => Just(Op::FlushStart),
        2 => Just(Op::FlushStop),
        2 => (limits(), any::<bool>()).prop_map(|(limits, keeps)| Op::Join(limits, keeps)),
        3 => (who.clone(), proptest::bool::weighted(0.8))
            .prop_map(|(who, linked)| Op::Activate(who, linked)),
        1 => who.clone().prop_map(Op::Deactivate),
        1 => who.clone().prop_map(Op::Leave),
        2 => who.clone().prop_map(Op::Readmit),
        1 => (who.clone(), limits()).prop_map(|(who, limits)| Op::SetLimits(who, limits)),
        3 => (who.clone(), any::<bool>()).prop_map(|(who, enabled)| Op::Enable(who, enabled)),
        1 => frames_out.clone().prop_map(Op::MaxHeld),
        1 => frames_out.prop_map(Op::Pool),
        1 => who.clone().prop_map(Op::Keep),
        2 => who.clone().prop_map(Op::Unkeep),
        2 => who.prop_map(Op::Land),
        1 => prop_oneof![1 => Just(Op::Close), 9 => Just(Op::Dismiss)],
        1 => Just(Op::Pause),
        1 => (0_u64..6).prop_map(Op::SetCapacity),
        1 => Just(Op::ForgetGop),
        1 => proptest::bool::weighted(0.1)
            .prop_map(|reset| if reset { Op::Reset } else { Op::ForgetGop }),
        4 => (0..400 * MS).prop_map(Op::Pass),
    ]
}
