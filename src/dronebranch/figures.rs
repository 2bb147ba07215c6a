// SPDX-License-Identifier: MPL-2.0
//! What can be read of a branch, at one moment.

use glib::prelude::*;
use gst::subclass::prelude::*;

use super::DroneBranch;
use super::settings::BranchState;

/// Names of the states that a branch may be in.
pub(crate) const STATES: [&str; 4] = [
    BranchState::ALL[0].name(),
    BranchState::ALL[1].name(),
    BranchState::ALL[2].name(),
    BranchState::ALL[3].name(),
];

/// The branch's properties of the same names.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) state: &'static str,
    pub(crate) failures: u64,
    pub(crate) restarts: u64,
    pub(crate) abandoned: u64,
    pub(crate) dropped: u64,
}

pub(crate) fn is_one(element: &gst::Element) -> bool {
    element.is::<DroneBranch>()
}

/// `None` for any other element.
pub(crate) fn figures(element: &gst::Element) -> Option<Figures> {
    let branch = element.downcast_ref::<DroneBranch>()?;
    Some(branch.imp().figures())
}
