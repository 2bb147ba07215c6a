// SPDX-License-Identifier: MPL-2.0
//! Which caps: the one list of formats, and what all consumers agree on.

use once_cell::sync::Lazy;

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
pub(in crate::tee) fn template() -> &'static gst::Caps {
    static TEMPLATE: Lazy<gst::Caps> = Lazy::new(|| {
        let any = || gst::CapsFeatures::new_any();
        FORMATS
            .iter()
            .map(|format| (gst::Structure::new_empty(*format), any()))
            .collect()
    });
    &TEMPLATE
}

/// True if frames of these caps come in the order of their times; others may be coded out of it.
pub(in crate::tee) fn comes_in_order(caps: &gst::CapsRef) -> bool {
    let name = caps.structure(0).map(|structure| structure.name().as_str());
    name.is_some_and(|name| {
        matches!(name, "video/x-raw" | "video/x-bayer" | "video/x-jpeg")
            || name.starts_with("image/")
    })
}

/// What a branch answered to CAPS.
#[derive(Debug, Clone)]
pub(in crate::tee) struct CapsAnswer<T> {
    /// Whose answer it is.
    pub(in crate::tee) of: T,
    /// A branch that does not say takes any.
    pub(in crate::tee) caps: gst::Caps,
    /// Frames of the running format have reached it.
    pub(in crate::tee) is_running: bool,
    pub(in crate::tee) has_failed: bool,
}

/// What upstream may send, and who is left out: those that take none of what the others agree on.
///
/// Branches that run and can go on as they are say first what they take, then those that came first;
/// those that have failed come last. `current` is the running format, which stays the first choice;
/// it is given up only for branches that run in it. `is_kept` says whether any consumer does.
pub(in crate::tee) fn agree<T>(
    mut answers: Vec<CapsAnswer<T>>,
    filter: Option<&gst::Caps>,
    current: Option<&gst::Caps>,
    is_kept: bool,
) -> (gst::Caps, Vec<CapsAnswer<T>>) {
    answers.sort_by_key(|answer| {
        let keeps = current.is_none_or(|current| answer.caps.can_intersect(current));
        (answer.has_failed, !answer.is_running, !keeps)
    });
    let mut agreed = match filter {
        Some(filter) => both(filter, template()),
        None => template().clone(),
    };
    let kept = current.filter(|_| is_kept);
    let mut left_out = Vec::new();
    for answer in answers {
        let next = both(&agreed, &answer.caps);
        let keeps = |current: &gst::Caps| {
            answer.is_running || !agreed.can_intersect(current) || next.can_intersect(current)
        };
        if next.is_empty() || !kept.is_none_or(keeps) {
            left_out.push(answer);
        } else {
            agreed = next;
        }
    }
    (first_choice(agreed, current), left_out)
}

fn both(first: &gst::Caps, second: &gst::Caps) -> gst::Caps {
    first.intersect_with_mode(second, gst::CapsIntersectMode::First)
}

/// The same caps, with what is in `current` in front.
fn first_choice(agreed: gst::Caps, current: Option<&gst::Caps>) -> gst::Caps {
    match current {
        Some(current) if agreed.can_intersect(current) => {
            let mut caps = both(&agreed, current);
            caps.merge(agreed);
            caps
        }
        _ => agreed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn raw(widths: &[i32]) -> gst::Caps {
        let width = |width| {
            gst::Structure::builder("video/x-raw")
                .field("width", width)
                .build()
        };
        widths.iter().copied().map(width).collect()
    }

    struct Case {
        answers: Vec<CapsAnswer<&'static str>>,
        current: Option<i32>,
        is_kept: bool,
    }

    impl Case {
        fn new(current: Option<i32>, is_kept: bool) -> Self {
            let answers = Vec::new();
            gst::init().unwrap();
            Self {
                answers,
                current,
                is_kept,
            }
        }

        fn answer(mut self, of: &'static str, widths: &[i32]) -> Self {
            self.answers.push(CapsAnswer {
                of,
                caps: raw(widths),
                is_running: of.starts_with("running"),
                has_failed: of.starts_with("failed"),
            });
            self
        }

        /// The widths that upstream may send, best first, and who is left out.
        fn agreed(self) -> (Vec<i32>, Vec<&'static str>) {
            let current = self.current.map(|width| raw(&[width]));
            let filter = raw(&[8, 16, 24]);
            let (caps, left_out) =
                agree(self.answers, Some(&filter), current.as_ref(), self.is_kept);
            let widths = caps.iter().map(|fields| fields.get("width").unwrap());
            (
                widths.collect(),
                left_out.into_iter().map(|out| out.of).collect(),
            )
        }
    }

    #[test]
    fn upstreams_order_is_kept_and_the_running_format_first() {
        let (widths, _) = Case::new(None, false).answer("a", &[24, 16, 8]).agreed();
        assert_eq!(widths, [8, 16, 24]);
        let (widths, _) = Case::new(Some(16), true)
            .answer("running", &[24, 16, 8])
            .agreed();
        assert_eq!(widths, [16, 8, 24]);
        assert_eq!(Case::new(None, false).agreed().0, [8, 16, 24]);
    }

    #[test]
    fn who_takes_nothing_of_what_the_others_agree_on_is_left_out() {
        let case = Case::new(None, false)
            .answer("first", &[8, 16])
            .answer("odd", &[24]);
        let (widths, left_out) = case.answer("last", &[16]).agreed();
        assert_eq!((widths, left_out), (vec![16], vec!["odd"]));
    }

    #[test]
    fn who_runs_says_first_and_who_failed_last() {
        let case = Case::new(Some(8), true)
            .answer("failed", &[16])
            .answer("late", &[16, 24]);
        let (widths, left_out) = case.answer("running", &[8, 16]).agreed();
        // The late one could go with 16, but the stream runs with 8.
        assert_eq!((widths, left_out), (vec![8, 16], vec!["late", "failed"]));
        // Of those that run, the one that has changed its mind comes second.
        let case = Case::new(Some(8), true).answer("running, changed", &[16]);
        let (widths, left_out) = case.answer("running", &[8, 24]).agreed();
        assert_eq!((widths, left_out), (vec![8, 24], vec!["running, changed"]));
    }

    #[test]
    fn the_running_format_is_given_up_when_no_consumer_runs_in_it() {
        let (widths, left_out) = Case::new(Some(8), false).answer("late", &[16]).agreed();
        assert_eq!((widths, left_out), (vec![16], vec![]));
        let (widths, left_out) = Case::new(Some(8), true).answer("late", &[16]).agreed();
        assert_eq!((widths, left_out), (vec![8, 16, 24], vec!["late"]));
        // The only one that runs may change its mind.
        let (widths, left_out) = Case::new(Some(8), true).answer("running", &[16]).agreed();
        assert_eq!((widths, left_out), (vec![16], vec![]));
    }
}
