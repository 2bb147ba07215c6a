// SPDX-License-Identifier: MPL-2.0
//! The type of the pad property `state`.

use crate::facts::State;

/// [`State`] as GObject knows it: the same states, with a description each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDroneTeeState")]
pub(super) enum PadState {
    #[default]
    #[enum_value(name = "Served", nick = "ok")]
    Ok,
    #[enum_value(
        name = "A frame is in flight for longer than stall-timeout",
        nick = "stalled"
    )]
    Stalled,
    #[enum_value(name = "No peer, or the branch said NOT_LINKED", nick = "not-linked")]
    NotLinked,
    #[enum_value(name = "The branch said EOS", nick = "eos")]
    Eos,
    #[enum_value(name = "The branch said an error", nick = "failed")]
    Failed,
    #[enum_value(name = "Lost more than max-lag frames", nick = "evicted")]
    Evicted,
    #[enum_value(name = "The gate is closed (enabled=false)", nick = "disabled")]
    Disabled,
}

impl From<State> for PadState {
    fn from(state: State) -> Self {
        match state {
            State::Ok => Self::Ok,
            State::Stalled => Self::Stalled,
            State::NotLinked => Self::NotLinked,
            State::Eos => Self::Eos,
            State::Failed => Self::Failed,
            State::Evicted => Self::Evicted,
            State::Disabled => Self::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use glib::prelude::*;

    use super::PadState;
    use crate::facts::State;

    #[test]
    fn both_call_a_state_by_the_same_name() {
        let class = glib::EnumClass::with_type(PadState::static_type());
        for state in State::ALL {
            let value = PadState::from(state) as i32;
            let nick = class.as_ref().and_then(|class| class.value(value));
            assert_eq!(nick.map(|value| value.nick()), Some(state.name()));
        }
    }
}
