// SPDX-License-Identifier: MPL-2.0
//! The newest sticky events of the stream, which each life of the content gets first.

use glib::translate::IntoGlib;

/// In the order in which they have to be delivered. It holds no EOS: the end is told apart.
#[derive(Default)]
pub(super) struct Sticky(Vec<gst::Event>);

impl Sticky {
    /// Keeps `event` if it is sticky, in place of an older one of its kind; what it made void, to be
    /// freed after unlocking.
    #[must_use]
    pub(super) fn note(&mut self, event: &gst::Event) -> Vec<gst::Event> {
        use gst::EventType::{Eos, FlushStop, Segment, StreamStart, Tag, Toc};
        let type_ = event.type_();
        let mut gone = match type_ {
            StreamStart => self.take(|old| matches!(old.type_(), Tag | Toc)),
            FlushStop => self.take(|old| old.type_() == Segment),
            _ => Vec::new(),
        };
        if !type_.is_sticky() || type_ == Eos {
            return gone;
        }
        gone.extend(self.take(|old| is_same_kind(old, event)));
        let order = |event: &gst::Event| event.type_().into_glib();
        let at = self.0.partition_point(|old| order(old) <= order(event));
        self.0.insert(at, event.clone());
        gone
    }

    fn take(&mut self, is_void: impl Fn(&gst::Event) -> bool) -> Vec<gst::Event> {
        let all = std::mem::take(&mut self.0);
        let (gone, kept) = all.into_iter().partition(is_void);
        self.0 = kept;
        gone
    }

    pub(super) fn events(&self) -> Vec<gst::Event> {
        self.0.clone()
    }
}

fn is_same_kind(old: &gst::Event, new: &gst::Event) -> bool {
    let name = |event: &gst::Event| event.structure().map(|s| s.name().to_owned());
    old.type_() == new.type_() && (!new.type_().is_sticky_multi() || name(old) == name(new))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Sticky;

    fn types(sticky: &Sticky) -> Vec<gst::EventType> {
        sticky.events().iter().map(|event| event.type_()).collect()
    }

    #[test]
    fn keeps_the_newest_of_each_kind_in_order() {
        use gst::EventType::{Caps, Segment, StreamStart, Tag};
        gst::init().unwrap();
        let mut sticky = Sticky::default();
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let caps = |width: i32| {
            let caps = gst::Caps::builder("video/x-raw").field("width", width);
            gst::event::Caps::new(&caps.build())
        };
        for event in [
            gst::event::StreamStart::new("first"),
            gst::event::Segment::new(&segment),
            caps(1),
            gst::event::Tag::new(gst::TagList::new()),
            caps(2),
            gst::event::Eos::new(),
            gst::event::Gap::new(gst::ClockTime::ZERO, None),
        ] {
            drop(sticky.note(&event));
        }
        assert_eq!(types(&sticky), [StreamStart, Caps, Segment, Tag]);
        let kept = sticky.events()[1].clone();
        let gst::EventView::Caps(kept) = kept.view() else {
            panic!("{kept:?}")
        };
        let width = kept.caps().structure(0).unwrap().get::<i32>("width");
        assert_eq!(width, Ok(2));

        drop(sticky.note(&gst::event::FlushStop::new(true)));
        assert_eq!(types(&sticky), [StreamStart, Caps, Tag]);
        drop(sticky.note(&gst::event::StreamStart::new("second")));
        assert_eq!(types(&sticky), [StreamStart, Caps]);
    }
}
