// SPDX-License-Identifier: MPL-2.0
//! Which consumer's branch a message comes from.

use std::collections::HashSet;

use gst::prelude::*;

use super::upstream;

/// The consumer in whose branch the message's source is: from each element that holds the source,
/// up to the pipeline, links are followed upstream until they come to a pad of `tee`.
///
/// `None` for messages of `tee` itself, of what feeds it, and of other elements. For an element
/// that several branches feed, as a muxer, it is one of their consumers.
pub(crate) fn consumer_of(tee: &gst::Element, message: &gst::Message) -> Option<String> {
    let mut source = Some(message.src()?.clone());
    while let Some(object) = source {
        if &object == tee.upcast_ref::<gst::Object>() {
            return None;
        }
        if let Some(pad) = object.downcast_ref::<gst::Pad>()
            && let Some(consumer) = consumer_at(tee, pad)
        {
            return Some(consumer);
        }
        if let Some(element) = object.downcast_ref::<gst::Element>()
            && let Some(consumer) = consumer_above(tee, element)
        {
            return Some(consumer);
        }
        source = object.parent();
    }
    None
}

/// The consumer whose pad it is.
fn consumer_at(tee: &gst::Element, pad: &gst::Pad) -> Option<String> {
    let is_of_tee = pad.parent_element().as_ref() == Some(tee) && upstream::is_tee_pad(pad);
    is_of_tee.then(|| pad.property("consumer"))
}

fn consumer_above(tee: &gst::Element, element: &gst::Element) -> Option<String> {
    let mut seen = HashSet::from([element.clone()]);
    let mut elements = vec![element.clone()];
    while let Some(element) = elements.pop() {
        for source in element.sink_pads().iter().filter_map(upstream::source_of) {
            if let Some(consumer) = consumer_at(tee, &source) {
                return Some(consumer);
            }
            let next = source.parent_element().filter(|next| next != tee);
            elements.extend(next.filter(|next| seen.insert(next.clone())));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::consumer_of;
    use gst::prelude::*;

    fn pipeline() -> gst::Pipeline {
        gst::init().unwrap();
        // The types are what counts, not the plugin that they came with.
        let _ = crate::plugin_register_static();
        let line = "videotestsrc name=camera ! dronetee name=t src_b::consumer=recorder \
             t.src_a ! queue ! bin.( name=box identity name=inside ! fakesink name=a ) \
             t.src_b ! dronebranch.( name=branch queue ! fakesink name=b ) \
             t.src_c ! fakesink name=c  videotestsrc ! fakesink name=other";
        gst::parse::launch(line).unwrap().downcast().unwrap()
    }

    fn consumer(pipeline: &gst::Pipeline, source: &gst::Object) -> Option<String> {
        let message = gst::message::Eos::builder().src(source).build();
        consumer_of(&pipeline.by_name("t").unwrap(), &message)
    }

    #[test]
    fn a_message_is_of_the_consumer_whose_branch_it_comes_from() {
        let pipeline = pipeline();
        for (source, expected) in [
            ("inside", Some("a")),
            ("a", Some("a")),
            ("box", Some("a")),
            ("branch", Some("recorder")),
            ("b", Some("recorder")),
            ("c", Some("c")),
            ("t", None),
            ("camera", None),
            ("other", None),
        ] {
            let element = pipeline.by_name(source).unwrap();
            let found = consumer(&pipeline, element.upcast_ref());
            assert_eq!(found.as_deref(), expected, "{source}");
        }
        assert_eq!(consumer(&pipeline, pipeline.upcast_ref()), None);
        let pad = pipeline.by_name("t").unwrap().static_pad("src_c").unwrap();
        assert_eq!(consumer(&pipeline, pad.upcast_ref()).as_deref(), Some("c"));
        let other = gst::ElementFactory::make("dronetee").build().unwrap();
        let sink = pipeline.by_name("a").unwrap();
        let message = gst::message::Eos::builder().src(&sink).build();
        assert_eq!(consumer_of(&other, &message), None);
    }

    /// What is in the content has no link to the bin's own pad: it is the bin that leads there.
    #[test]
    fn also_while_the_branch_runs() {
        let pipeline = pipeline();
        pipeline.set_state(gst::State::Paused).unwrap();
        let _ = pipeline.state(gst::ClockTime::from_seconds(30));
        let inside = pipeline.by_name("b").unwrap();
        let found = consumer(&pipeline, inside.upcast_ref());
        assert_eq!(found.as_deref(), Some("recorder"));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
