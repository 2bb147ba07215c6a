// SPDX-License-Identifier: MPL-2.0
//! The pad that feeds the content of one life: it stands outside of every element, and can be told from
//! other pads that do.

use std::sync::Weak;

use gst::subclass::prelude::*;

use super::course::LifeId;

/// Where what the content asks and tells goes.
pub(super) trait Upstream: Send + Sync + 'static {
    fn upstream_event(&self, life: LifeId, event: gst::Event) -> bool;
    fn upstream_query(&self, life: LifeId, query: &mut gst::QueryRef) -> bool;
    /// The pad from which frames come.
    fn source(&self) -> gst::Pad;
}

glib::wrapper! {
    pub struct FeedPad(ObjectSubclass<imp::FeedPad>)
        @extends gst::Pad, gst::Object;
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct FeedPad;

    #[glib::object_subclass]
    impl ObjectSubclass for FeedPad {
        const NAME: &'static str = super::super::upstream::FEED_PAD;
        type Type = super::FeedPad;
        type ParentType = gst::Pad;
    }

    impl ObjectImpl for FeedPad {}
    impl GstObjectImpl for FeedPad {}
    impl PadImpl for FeedPad {}
}

/// A pad of the life's own: what its content asks and tells upstream ends with the life. For those who
/// follow links it continues at the bin's.
pub(super) fn pad<U: Upstream>(id: LifeId, upstream: &Weak<U>) -> FeedPad {
    let [events, queries, links] = [upstream.clone(), upstream.clone(), upstream.clone()];
    gst::PadBuilder::<FeedPad>::new(gst::PadDirection::Src)
        .name(format!("feed_{id}"))
        .event_function(move |_, _, event| {
            let upstream = events.upgrade();
            upstream.is_some_and(|upstream| upstream.upstream_event(id, event))
        })
        .query_function(move |_, _, query| {
            let upstream = queries.upgrade();
            upstream.is_some_and(|upstream| upstream.upstream_query(id, query))
        })
        .iterate_internal_links_function(move |_, _| {
            let upstream = links.upgrade();
            let source = upstream.map(|upstream| upstream.source());
            gst::Iterator::from_vec(source.into_iter().collect())
        })
        .build()
}
