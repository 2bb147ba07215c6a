// SPDX-License-Identifier: MPL-2.0
//! The stream that comes from upstream: its newest sticky events, whether it flushes, and its end.

use super::content::now;
use super::sticky::Sticky;

/// At most one request for a keyframe in this time, ns.
const REQUEST_INTERVAL: u64 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Stream {
    sticky: Sticky,
    /// Between flush-start and flush-stop.
    flushing: bool,
    /// A delta frame came: keyframes have to be asked for.
    is_coded: bool,
    /// When upstream was last asked for a keyframe.
    keyframe_asked_at: Option<u64>,
    end: Option<End>,
}

/// The end of the stream, from when it is known until a new stream, segment or flush.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) since: u64,
    pub(super) seqnum: Option<gst::Seqnum>,
    /// The bin has posted its EOS.
    pub(super) is_told: bool,
    /// The sinks are being watched; written by the supervisor.
    pub(super) is_watched: bool,
}

impl End {
    fn new(seqnum: Option<gst::Seqnum>) -> Self {
        Self {
            since: now(),
            seqnum,
            is_told: false,
            is_watched: false,
        }
    }
}

impl Stream {
    /// For the next stream. Returns what was kept, to be freed after unlocking.
    pub(super) fn reset(&mut self) -> Self {
        std::mem::take(self)
    }

    /// An event has come. Returns what it made void, to be freed after unlocking.
    #[must_use]
    pub(super) fn note_event(&mut self, event: &gst::Event) -> Vec<gst::Event> {
        use gst::EventType::{Eos, FlushStart, FlushStop, Segment, StreamStart};
        match event.type_() {
            FlushStart => self.flushing = true,
            FlushStop => {
                self.flushing = false;
                self.end = None;
            }
            StreamStart | Segment => self.end = None,
            Eos => {
                // Content that has ended by itself does not end again.
                let is_told = self.end.is_some_and(|end| end.is_told);
                let end = End::new(Some(event.seqnum()));
                self.end = Some(End { is_told, ..end });
            }
            _ => {}
        }
        self.sticky.note(event)
    }

    pub(super) fn note_frame(&mut self, is_delta: bool) {
        self.is_coded |= is_delta;
    }

    pub(super) fn sticky_events(&self) -> Vec<gst::Event> {
        self.sticky.events()
    }

    pub(super) fn is_flushing(&self) -> bool {
        self.flushing
    }

    pub(super) fn is_coded(&self) -> bool {
        self.is_coded
    }

    /// True if upstream may be asked for a keyframe now; counts as having asked.
    pub(super) fn takes_request(&mut self, now: u64) -> bool {
        let last = self.keyframe_asked_at;
        let is_due = last.is_none_or(|at| now - at >= REQUEST_INTERVAL);
        if is_due {
            self.keyframe_asked_at = Some(now);
        }
        is_due
    }

    // ---- the end -----------------------------------------------------------------------------

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Upstream has ended, of which no event has come.
    pub(super) fn note_end(&mut self) {
        self.end.get_or_insert_with(|| End::new(None));
    }

    /// The end has to be told, unless it was: with this number.
    pub(super) fn tell_end(&mut self) -> Option<Option<gst::Seqnum>> {
        let end = self.end.as_mut()?;
        let was_told = std::mem::replace(&mut end.is_told, true);
        (!was_told).then_some(end.seqnum)
    }

    /// The content has ended by itself, or with the stream; that is told each time.
    pub(super) fn content_ended(&mut self, seqnum: gst::Seqnum) {
        let end = self.end.get_or_insert_with(|| End::new(Some(seqnum)));
        end.is_told = true;
    }

    /// True once for each end.
    pub(super) fn begins_watch(&mut self) -> bool {
        let end = self.end.as_mut();
        end.is_some_and(|end| !std::mem::replace(&mut end.is_watched, true))
    }
}
