// SPDX-License-Identifier: MPL-2.0
//! What travels among the frames: serialized events, and the questions of serialized queries.

use std::sync::Arc;

use glib::translate::IntoGlib;

use super::asking::in_stream::Travelling;
use crate::facts::DropReason;
use crate::fanout;

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Event(gst::Event),
    /// A serialized query, to be put to the branch when it gets here.
    Query(Arc<Travelling>),
}

impl Item {
    fn event_type(&self) -> Option<gst::EventType> {
        match self {
            Self::Event(event) => Some(event.type_()),
            Self::Query(_) => None,
        }
    }

    fn is(&self, type_: gst::EventType) -> bool {
        self.event_type() == Some(type_)
    }
}

/// Sticky, but not serialized with the frames: it takes effect when it comes.
pub(super) fn is_around(type_: gst::EventType) -> bool {
    type_.is_sticky() && !type_.is_serialized()
}

impl fanout::Event for Item {
    fn is_sticky(&self) -> bool {
        self.event_type().is_some_and(gst::EventType::is_sticky)
    }

    fn replaces(&self, older: &Self) -> bool {
        let (Self::Event(event), Self::Event(older)) = (self, older) else {
            return false;
        };
        let (type_, older_type) = (event.type_(), older.type_());
        let name = |event: &gst::Event| event.structure().map(|s| s.name().to_owned());
        match type_ {
            gst::EventType::StreamStart | gst::EventType::Segment
                if older_type == gst::EventType::Eos =>
            {
                true
            }
            _ if type_ != older_type => false,
            _ => !type_.is_sticky_multi() || name(event) == name(older),
        }
    }

    fn order(&self) -> u32 {
        let number = |type_: gst::EventType| type_.into_glib().unsigned_abs();
        match self.event_type() {
            // As GStreamer has it: a change of the rate is one of the segment's.
            Some(type_) if is_around(type_) => number(gst::EventType::Segment) + 1,
            type_ => type_.map_or(0, number),
        }
    }

    fn must_precede_later_kinds(&self) -> bool {
        use gst::EventType::{Caps, Segment, StreamStart};
        matches!(self.event_type(), Some(StreamStart | Caps | Segment))
    }

    fn voids(&self, older: &Self) -> bool {
        use gst::EventType::{StreamGroupDone, StreamStart, Tag};
        self.is(StreamStart) && matches!(older.event_type(), Some(Tag | StreamGroupDone))
    }

    fn ends_stream(&self) -> bool {
        self.is(gst::EventType::Eos)
    }

    fn is_expendable(&self) -> bool {
        use gst::EventType::{CustomBoth, CustomDownstream, Gap};
        matches!(
            self.event_type(),
            None | Some(Gap | CustomDownstream | CustomBoth)
        )
    }

    fn survives_flush(&self) -> bool {
        use gst::EventType::{Eos, Segment, StreamGroupDone};
        // A seek that flushes sets the rate anew, and sinks forget what changed it.
        let is_around = self.event_type().is_some_and(is_around);
        let is_void = matches!(self.event_type(), Some(Eos | Segment | StreamGroupDone));
        self.is_sticky() && !is_void && !is_around
    }

    fn readmits(&self, reason: DropReason) -> bool {
        use gst::EventType::{Caps, Segment, StreamStart};
        match self.event_type() {
            Some(StreamStart | Segment) => reason == DropReason::Eos,
            Some(Caps) => reason == DropReason::Error,
            _ => false,
        }
    }

    fn starts_format(&self) -> bool {
        self.is(gst::EventType::Caps)
    }

    fn in_place_of(pts: u64, duration: u64) -> Self {
        let time = gst::ClockTime::from_nseconds;
        let gap = gst::event::Gap::builder(time(pts))
            .duration_if_some((duration > 0).then(|| time(duration)));
        Self::Event(gap.build())
    }
}
