// SPDX-License-Identifier: MPL-2.0
//! The properties: names, units, defaults, and when they may be set.

use glib::prelude::*;
use gst::prelude::*;

use super::course::{self, Rules};
use super::watch::Patience;

const SECOND: u64 = 1_000_000_000;
const DEFAULT_RESTART: bool = true;
const DEFAULT_RESTART_DELAY: u64 = SECOND;
const DEFAULT_RESTART_DELAY_MAX: u64 = 30 * SECOND;
const DEFAULT_MAX_RESTARTS: u32 = 0;
const DEFAULT_STOP_TIMEOUT: u64 = SECOND;

/// How a branch does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstDroneBranchState")]
pub(crate) enum BranchState {
    #[default]
    #[enum_value(name = "The bin is not in PAUSED or PLAYING", nick = "stopped")]
    Stopped,
    #[enum_value(name = "The content takes frames", nick = "running")]
    Running,
    #[enum_value(name = "The content failed and will be restarted", nick = "waiting")]
    Waiting,
    #[enum_value(name = "The content failed and will not be restarted", nick = "failed")]
    Failed,
}

impl BranchState {
    #[cfg(any(test, feature = "metrics"))]
    pub(super) const ALL: [Self; 4] = [Self::Stopped, Self::Running, Self::Waiting, Self::Failed];

    /// The nick of the property's value.
    #[cfg(any(test, feature = "metrics"))]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

impl From<course::State> for BranchState {
    fn from(state: course::State) -> Self {
        match state {
            course::State::Stopped => Self::Stopped,
            course::State::Running => Self::Running,
            course::State::Waiting => Self::Waiting,
            course::State::Failed => Self::Failed,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) description: Option<String>,
    pub(super) restart: bool,
    pub(super) restart_delay: u64,
    pub(super) restart_delay_max: u64,
    pub(super) max_restarts: u32,
    pub(super) stop_timeout: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            description: None,
            restart: DEFAULT_RESTART,
            restart_delay: DEFAULT_RESTART_DELAY,
            restart_delay_max: DEFAULT_RESTART_DELAY_MAX,
            max_restarts: DEFAULT_MAX_RESTARTS,
            stop_timeout: DEFAULT_STOP_TIMEOUT,
        }
    }
}

impl Settings {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            restart: self.restart,
            delay: self.restart_delay,
            delay_max: self.restart_delay_max,
            max_restarts: self.max_restarts,
        }
    }

    /// With content that may take so much longer.
    pub(super) fn patience(&self, grace: u64) -> Patience {
        Patience {
            stop_timeout: self.stop_timeout.saturating_add(grace),
            delay_max: self.restart_delay_max,
            grace,
        }
    }
}

pub(super) fn properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("description")
            .nick("Description")
            .blurb("Launch line of the content; its one open sink pad is the bin's (NULL: the content is what is added to the bin)")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("restart")
            .nick("Restart")
            .blurb("Restart content that failed (FALSE: fail once, stay failed)")
            .default_value(DEFAULT_RESTART)
            .mutable_playing()
            .build(),
        time(
            "restart-delay",
            "Time from a failure to the restart, doubled with each failure in a row, in ns",
            DEFAULT_RESTART_DELAY,
        ),
        time(
            "restart-delay-max",
            "Longest time from a failure to the restart, in ns; having run for as long ends a row of failures",
            DEFAULT_RESTART_DELAY_MAX,
        ),
        glib::ParamSpecUInt::builder("max-restarts")
            .nick("Maximum restarts")
            .blurb("Failures in a row after which the branch gives up (0: never)")
            .default_value(DEFAULT_MAX_RESTARTS)
            .mutable_playing()
            .build(),
        time(
            "stop-timeout",
            "Time that content gets to be torn down, and to end once the stream has ended, in ns",
            DEFAULT_STOP_TIMEOUT,
        ),
        glib::ParamSpecEnum::builder::<BranchState>("state")
            .nick("State")
            .blurb("How the branch does")
            .read_only()
            .build(),
        count("failures", "Failures of the content"),
        count("restarts", "Restarts of the content"),
        count("abandoned", "Contents that hung in their teardown and were left behind"),
        count("dropped", "Frames that came and that the content did not take"),
        glib::ParamSpecString::builder("last-error")
            .nick("Last error")
            .blurb("What the content failed of last (NULL: it has not failed)")
            .read_only()
            .build(),
    ]
}

fn time(name: &str, blurb: &str, default: u64) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(name)
        .blurb(blurb)
        .default_value(default)
        .mutable_playing()
        .build()
}

fn count(name: &str, what: &str) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(name)
        .blurb(&format!("{what}, since NULL→READY"))
        .read_only()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name() {
        let class = glib::EnumClass::with_type(BranchState::static_type());
        for state in BranchState::ALL {
            let value = class.as_ref().and_then(|class| class.value(state as i32));
            assert_eq!(value.map(|value| value.nick()), Some(state.name()));
        }
    }
}
