// SPDX-License-Identifier: MPL-2.0
//! The pad that feeds the content of one life: it stands outside of every element, and can be told from
//! other pads that do.

use std::sync::Weak;

use gst::subclass::prelude::*;

use super::course::LifeId;
use super::life::Host;

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
/// follow links it continues at the host's.
pub(super) fn pad<H: Host>(id: LifeId, host: &Weak<H>) -> FeedPad {
    let [events, queries, links] = [host.clone(), host.clone(), host.clone()];
    gst::PadBuilder::<FeedPad>::new(gst::PadDirection::Src)
        .name(format!("feed_{id}"))
        .event_function(move |_, _, event| {
            let host = events.upgrade();
            host.is_some_and(|host| host.upstream_event(id, event))
        })
        .query_function(move |_, _, query| {
            let host = queries.upgrade();
            host.is_some_and(|host| host.upstream_query(id, query))
        })
        .iterate_internal_links_function(move |_, _| {
            let host = links.upgrade();
            gst::Iterator::from_vec(host.map(|host| host.source()).into_iter().collect())
        })
        .build()
}
