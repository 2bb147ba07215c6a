// SPDX-License-Identifier: MPL-2.0
//! Which caps: the one list of formats, and what all consumers agree on.

use gst::prelude::*;
use gst::subclass::prelude::*;
use once_cell::sync::Lazy;

use super::{CAT, DroneTeePad, imp};
use crate::facts::State;

/// Frames, not anything: raw video, Bayer, and the coded video and image types.
const FORMATS: &[&str] = &[
    "video/x-raw",
    "video/x-bayer",
    "video/mpeg",
    "video/x-av1",
    "video/x-cavs",
    "video/x-dirac",
    "video/x-divx",
    "video/x-dnxhd",
    "video/x-dv",
    "video/x-ffv",
    "video/x-flash-video",
    "video/x-h261",
    "video/x-h263",
    "video/x-h264",
    "video/x-h265",
    "video/x-h266",
    "video/x-huffyuv",
    "video/x-jpeg",
    "video/x-jpegxs",
    "video/x-msmpeg",
    "video/x-prores",
    "video/x-theora",
    "video/x-vp6",
    "video/x-vp8",
    "video/x-vp9",
    "video/x-wmv",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "image/x-j2c",
    "image/x-jpc",
    "image/x-jxsc",
];

/// The caps of all pads.
pub(super) fn template() -> &'static gst::Caps {
    static TEMPLATE: Lazy<gst::Caps> = Lazy::new(|| {
        let any = || gst::CapsFeatures::new_any();
        FORMATS
            .iter()
            .map(|format| (gst::Structure::new_empty(*format), any()))
            .collect()
    });
    &TEMPLATE
}

struct Wish {
    pad: DroneTeePad,
    caps: gst::Caps,
    /// Frames of the running format have reached it.
    running: bool,
    failed: bool,
}

impl imp::DroneTee {
    fn wishes(&self, filter: Option<&gst::Caps>) -> Vec<Wish> {
        let pads = self.linked();
        let answers = self.inquire(&pads, || gst::query::Caps::new(filter).into());
        let wish = |(pad, answer): (DroneTeePad, Option<gst::Query>)| {
            let (running, failed) = pad.imp().standing();
            let caps = match answer.as_ref().map(|answer| answer.view()) {
                Some(gst::QueryView::Caps(caps)) => caps.result_owned(),
                _ => None,
            };
            Wish {
                pad,
                // Who does not say takes any.
                caps: caps.unwrap_or_else(gst::Caps::new_any),
                running,
                failed,
            }
        };
        let mut wishes: Vec<_> = pads.into_iter().zip(answers).map(wish).collect();
        // Who runs and can go on as it is decides, then who came first; who failed comes last.
        let current = self.current_caps();
        wishes.sort_by_key(|wish| {
            let keeps = current
                .as_ref()
                .is_none_or(|current| wish.caps.can_intersect(current));
            (wish.failed, !wish.running, !keeps)
        });
        wishes
    }

    /// What upstream may send: a consumer that accepts none of what the others agree on is left
    /// out, and the running format stays the first choice, also when others join.
    pub(super) fn query_caps(&self, filter: Option<&gst::Caps>) -> gst::Caps {
        let mut agreed = match filter {
            Some(filter) => filter.intersect_with_mode(template(), gst::CapsIntersectMode::First),
            None => template().clone(),
        };
        let current = self.current_caps();
        // Nobody runs in a format that all who ran in it have left.
        let pads = self.obj().consumers();
        let running = current
            .as_ref()
            .filter(|_| pads.iter().any(|pad| pad.imp().standing().0));
        for wish in self.wishes(filter) {
            let next = agreed.intersect_with_mode(&wish.caps, gst::CapsIntersectMode::First);
            let keeps_running = |current: &gst::Caps| {
                wish.running || !agreed.can_intersect(current) || next.can_intersect(current)
            };
            if next.is_empty() || !running.is_none_or(keeps_running) {
                gst::info!(
                    CAT,
                    obj = wish.pad,
                    "Left out, it takes only {:?}",
                    wish.caps
                );
                continue;
            }
            agreed = next;
        }
        match current {
            Some(current) if agreed.can_intersect(&current) => {
                let mut caps = agreed.intersect_with_mode(&current, gst::CapsIntersectMode::First);
                caps.merge(agreed);
                caps
            }
            _ => agreed,
        }
    }

    /// Caps are accepted when at least one consumer takes them, or no branch is there. Consumers in
    /// this process take any.
    pub(super) fn accepts_caps(&self, caps: &gst::Caps) -> bool {
        if !caps.is_subset(template()) {
            return false;
        }
        let linked = self.linked();
        let mut pads = self.obj().consumers().into_iter();
        let accepted = linked.is_empty()
            || pads.any(|pad| pad.imp().is_receiver())
            || self
                .inquire(&linked, || gst::query::AcceptCaps::new(caps).into())
                .iter()
                .any(|answer| match answer.as_ref().map(|answer| answer.view()) {
                    Some(gst::QueryView::AcceptCaps(answer)) => answer.result(),
                    _ => true,
                });
        if !accepted {
            gst::warning!(CAT, imp = self, "No consumer accepts {caps:?}");
        }
        accepted
    }

    /// True when upstream has to hear that the branch wants to negotiate again.
    ///
    /// A consumer that joins is no reason to change what the others have.
    pub(super) fn must_renegotiate(&self, pad: &DroneTeePad) -> bool {
        let Some(current) = self.current_caps() else {
            return true;
        };
        if self.accepts(pad, &current) {
            return self.needs_allocation();
        }
        let others = self.obj().consumers();
        pad.imp().standing().0
            || !others.iter().any(|other| {
                let takes = other.is_linked() || other.imp().is_receiver();
                other != pad && takes && other.imp().state() == State::Ok
            })
    }

    fn accepts(&self, pad: &DroneTeePad, caps: &gst::Caps) -> bool {
        if !pad.is_linked() {
            return false;
        }
        let asked = std::slice::from_ref(pad);
        let answers = self.inquire(asked, || gst::query::AcceptCaps::new(caps).into());
        match answers
            .first()
            .and_then(Option::as_ref)
            .map(|one| one.view())
        {
            Some(gst::QueryView::AcceptCaps(answer)) => answer.result(),
            _ => true,
        }
    }
}
