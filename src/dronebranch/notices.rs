// SPDX-License-Identifier: MPL-2.0
//! What the application hears of a branch. Notices are queued under the keeper's lock and told with
//! no lock held, in order, by one thread at a time.

use gst::prelude::*;

use super::DroneBranch;
use super::course::Failure;

/// Something to tell.
pub(super) enum Notice {
    /// The property `state` has changed.
    State,
    Failed(Box<Report>),
    /// Content was left behind: why.
    Abandoned(&'static str),
    /// The bin has come to its end of the stream.
    End(Option<gst::Seqnum>),
}

/// A failure of the content.
pub(super) struct Report {
    pub(super) failure: Failure,
    /// The path of the element that failed.
    pub(super) source: String,
    pub(super) error: glib::Error,
    pub(super) debug: String,
    /// The stream has ended: the restart waits for a new one.
    pub(super) has_ended: bool,
}

impl Report {
    /// What the property `last-error` says.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.source, self.error.message())
    }

    fn next_step(&self) -> String {
        match self.failure.restart_in {
            Some(_) if self.has_ended => "restarts with the next stream".to_owned(),
            Some(delay) => format!("restarts in {}", gst::ClockTime::from_nseconds(delay)),
            None => "the branch has failed".to_owned(),
        }
    }

    /// Ns; the largest number if no restart is due.
    fn restart_in(&self) -> u64 {
        let due = self.failure.restart_in.filter(|_| !self.has_ended);
        due.unwrap_or(u64::MAX)
    }

    fn structure(&self, branch: &DroneBranch) -> gst::Structure {
        gst::Structure::builder("dronebranch-error")
            .field("branch", branch.name())
            .field("source", &self.source)
            .field("domain", self.error.domain().as_str())
            .field("code", self.error.code())
            .field("message", self.error.message())
            .field("debug", &self.debug)
            .field("restart-in", self.restart_in())
            .field("failures", self.failure.failures)
            .build()
    }
}

/// Tells it, `cell` being the child of the bin whose EOS counts.
pub(super) fn tell(notice: &Notice, branch: &DroneBranch, cell: &gst::Element) {
    match notice {
        Notice::State => branch.notify("state"),
        Notice::Failed(report) => {
            let message = gst::message::Element::builder(report.structure(branch));
            post(branch, message.src(branch).build());
            let debug = format!(
                "{}; {}. {}",
                report.source,
                report.next_step(),
                report.debug
            );
            let warning = gst::message::Warning::builder_from_error(of_gstreamer(&report.error));
            post(branch, warning.debug(&debug).src(branch).build());
        }
        Notice::Abandoned(why) => {
            let error = glib::Error::new(gst::StreamError::Failed, why);
            let warning = gst::message::Warning::builder_from_error(error);
            post(branch, warning.src(branch).build());
        }
        Notice::End(seqnum) => {
            let message = gst::message::Eos::builder().src(cell);
            let message = match seqnum {
                Some(seqnum) => message.seqnum(*seqnum).build(),
                None => message.build(),
            };
            post(cell, message);
        }
    }
}

/// A message takes errors of GStreamer's own domains only.
fn of_gstreamer(error: &glib::Error) -> glib::Error {
    let is_own = error.is::<gst::CoreError>()
        || error.is::<gst::LibraryError>()
        || error.is::<gst::ResourceError>()
        || error.is::<gst::StreamError>();
    match is_own {
        true => error.clone(),
        false => glib::Error::new(gst::StreamError::Failed, error.message()),
    }
}

fn post(element: &impl IsA<gst::Element>, message: gst::Message) {
    // Without a bus there is no reader.
    let _ = element.post_message(message);
}
