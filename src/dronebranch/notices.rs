// SPDX-License-Identifier: MPL-2.0
//! What the application hears of a branch. Notices are queued under the state's lock and told with
//! no lock held, in order, by one thread at a time.

use std::collections::VecDeque;
use std::time::Duration;

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

/// What is to be told, in order.
#[derive(Default)]
pub(super) struct Notices {
    queue: VecDeque<Notice>,
    /// A thread tells notices, until there are none.
    is_telling: bool,
}

impl Notices {
    pub(super) fn add(&mut self, notice: Notice) {
        self.queue.push_back(notice);
    }

    /// The next one, for the thread that tells them; `is_first`: it begins to. `None` if there are no
    /// more, or another thread is at it.
    pub(super) fn next(&mut self, is_first: bool) -> Option<Notice> {
        if is_first && self.is_telling {
            return None;
        }
        let next = self.queue.pop_front();
        self.is_telling = next.is_some();
        next
    }
}

/// What content failed of.
pub(super) struct Fault {
    /// The path of the element that said so; `None`: the branch itself.
    pub(super) source: Option<String>,
    pub(super) error: glib::Error,
    pub(super) debug: String,
    /// No restart could mend it.
    pub(super) is_final: bool,
}

impl Fault {
    pub(super) fn own(error: glib::Error) -> Self {
        Self {
            source: None,
            error,
            debug: String::new(),
            is_final: false,
        }
    }
}

/// A failure of the content.
pub(super) struct Report {
    pub(super) failure: Failure,
    pub(super) fault: Fault,
    /// The stream has ended: the restart waits for a new one.
    pub(super) has_ended: bool,
}

impl Report {
    fn source(&self, branch: &DroneBranch) -> String {
        let source = self.fault.source.clone();
        source.unwrap_or_else(|| branch.path_string().into())
    }

    fn next_step(&self) -> String {
        match self.failure.restart_in {
            Some(_) if self.has_ended => "restarts with the next stream".to_owned(),
            // Not as GStreamer's clock time, which the longest delay is none of.
            Some(delay) => format!("restarts in {:?}", Duration::from_nanos(delay)),
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
            .field("source", self.source(branch))
            .field("domain", self.fault.error.domain().as_str())
            .field("code", self.fault.error.code())
            .field("message", self.fault.error.message())
            .field("debug", &self.fault.debug)
            .field("restart-in", self.restart_in())
            .field("failures", self.failure.failures)
            .build()
    }
}

/// Tells it, `cell` being the child of the bin whose EOS counts.
pub(super) fn tell(notice: &Notice, branch: &DroneBranch, cell: &gst::Bin) {
    match notice {
        Notice::State => branch.notify("state"),
        Notice::Failed(report) => {
            let message = gst::message::Element::builder(report.structure(branch));
            post(branch, message.src(branch).build());
            let (source, next) = (report.source(branch), report.next_step());
            let debug = format!("{source}; {next}. {}", report.fault.debug);
            let error = of_gstreamer(&report.fault.error);
            let warning = gst::message::Warning::builder_from_error(error);
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
