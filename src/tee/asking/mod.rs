// SPDX-License-Identifier: MPL-2.0
//! Who is asked when upstream asks, and how.

pub(super) mod aside;
pub(super) mod in_stream;

use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::DroneTeePad;
use crate::facts::State;

/// How long upstream waits for branches that are busy with a frame.
pub(super) const BUSY_PATIENCE: Duration = Duration::from_millis(20);

/// One consumer's part in what upstream is answered: the one place that says who takes part.
///
/// | consumer | [asked around the frames](Self::is_asked_around) | [asked in the stream](Self::is_asked_in_stream) | [asked to drain](Self::is_asked_to_drain) |
/// | --- | --- | --- | --- |
/// | branch that is served | yes | yes | yes |
/// | branch that has ended, or is evicted | yes: it may recover | no | if it may hold frames |
/// | branch of a pad that is not active | yes | no | no |
/// | in this process | no: it takes any caps | no: what it offers is known | no |
/// | pad without a link | has no part | | |
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pad: DroneTeePad,
    pub(super) is_receiver: bool,
    /// It gets the frames that come.
    pub(super) is_served: bool,
    /// Frames of the running format have reached it, and it has not failed.
    pub(super) is_running: bool,
    pub(super) has_failed: bool,
    is_active: bool,
    may_hold_frames: bool,
}

impl Part {
    /// Nothing for a pad that no consumer is behind.
    fn of(pad: &DroneTeePad) -> Option<Self> {
        let own = pad.imp();
        let (is_receiver, is_active) = (own.is_receiver(), pad.is_active());
        if !is_receiver && !pad.is_linked() {
            return None;
        }
        let (is_running, has_failed) = own.standing();
        let has_ended = matches!(
            own.state(),
            State::Eos | State::Failed | State::Evicted | State::NotLinked
        );
        Some(Self {
            is_receiver,
            is_served: is_active && !has_ended,
            is_running,
            has_failed,
            is_active,
            may_hold_frames: own.may_hold_frames(),
            pad: pad.clone(),
        })
    }

    pub(super) fn all(pads: &[DroneTeePad]) -> Vec<Self> {
        pads.iter().filter_map(Self::of).collect()
    }

    /// CAPS, ACCEPT_CAPS and what is not serialized.
    pub(super) fn is_asked_around(&self) -> bool {
        !self.is_receiver
    }

    /// ALLOCATION and what is serialized.
    pub(super) fn is_asked_in_stream(&self) -> bool {
        !self.is_receiver && self.is_served
    }

    /// DRAIN. A branch that has ended may have frames all the same; one that can not be asked has.
    pub(super) fn is_asked_to_drain(&self) -> bool {
        !self.is_receiver && self.is_active && (self.is_served || self.may_hold_frames)
    }
}

/// The pads of those that `is_asked` says yes to.
pub(super) fn pads(parts: &[Part], is_asked: impl Fn(&Part) -> bool) -> Vec<DroneTeePad> {
    let asked = parts.iter().filter(|part| is_asked(part));
    asked.map(|part| part.pad.clone()).collect()
}
