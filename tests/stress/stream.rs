// SPDX-License-Identifier: MPL-2.0
//! The operations on the stream: events, queries, settings.

use std::time::Duration;

use gst::prelude::*;

use crate::fault::{note, watch};
use crate::ops::{any_consumer, any_linked, any_tee};
use crate::source::{self, Order};
use crate::world::{Feed, World};

/// Has the tee's own source do something.
fn order(world: &mut World, tee: usize, order: Order) {
    if let Feed::Own(source) = &world.tees[tee].feed {
        note(format!("tee{tee}: {order:?}"));
        source.order(order);
    }
}

pub(crate) fn flush(world: &mut World) {
    let tee = any_tee(world);
    let resets_time = world.rng.once_in(2);
    if let Feed::Own(source) = &world.tees[tee].feed {
        note(format!("flush tee{tee}"));
        let flush = source.flushing(resets_time);
        world.call("flush", flush);
    }
}

pub(crate) fn seek(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    let is_flushing = !world.rng.once_in(3);
    let at = &world.consumers[consumer];
    if let Feed::Elements = &world.tees[at.tee].feed {
        // A live source is not to be sought in.
        return;
    }
    let flags = match is_flushing {
        true => gst::SeekFlags::FLUSH,
        false => gst::SeekFlags::empty(),
    };
    note(format!("seek from behind {} {flags:?}", at.pad.name()));
    let event = gst::event::Seek::new(
        1.0,
        flags,
        gst::SeekType::Set,
        gst::ClockTime::ZERO,
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    let Some(branch) = &at.branch else { return };
    let head = branch.head.clone();
    world.call("seek", move || {
        head.push_event(event);
    });
}

pub(crate) fn change_caps(world: &mut World) {
    let tee = any_tee(world);
    let Feed::Own(source) = &world.tees[tee].feed else {
        return;
    };
    let (formats, asks) = (source.formats(), world.rng.once_in(2));
    let format = world.rng.below(formats);
    if let (Feed::Own(source), true) = (&world.tees[tee].feed, asks) {
        let caps = source.caps(format);
        note(format!("tee{tee}: asks for {caps}"));
        watch("query CAPS", || source.pad.peer_query_caps(Some(&caps)));
        watch("query ACCEPT_CAPS", || {
            source.pad.peer_query_accept_caps(&caps)
        });
    }
    order(world, tee, Order::Caps(format));
}

/// Serialized events, lists and queries.
pub(crate) fn serialized(world: &mut World) {
    let tee = any_tee(world);
    world.next_link += 1;
    let number = world.next_link;
    let few = 1 + world.rng.below(9);
    let what = match world.rng.below(12) {
        0 => Order::Gap,
        1 => Order::Tag(number),
        2..6 => Order::Marked(number),
        6 => Order::List(few),
        7 | 8 => Order::Burst(few),
        9 => Order::Segment,
        10 => Order::Allocation,
        _ => Order::Drain,
    };
    let many = if let Order::Marked(_) = what {
        world.rng.once_in(20)
    } else {
        false
    };
    order(world, tee, what);
    if many {
        for _ in 0..300 {
            world.next_link += 1;
            let number = world.next_link;
            if let Feed::Own(source) = &world.tees[tee].feed {
                source.order(Order::Marked(number));
            }
        }
    }
}

/// An event that is not serialized.
pub(crate) fn around(world: &mut World) {
    let tee = any_tee(world);
    let structure = gst::Structure::new_empty("stress-around");
    note(format!("tee{tee}: an event around the stream"));
    let event = gst::event::CustomDownstreamOob::new(structure);
    let sink = world.tees[tee].element.static_pad("sink").unwrap();
    world.call("send an event around", move || {
        sink.send_event(event);
    });
}

pub(crate) fn end(world: &mut World) {
    let tee = any_tee(world);
    order(world, tee, Order::Eos);
}

pub(crate) fn begin(world: &mut World) {
    for tee in 0..world.tees.len() {
        if let Feed::Own(source) = &world.tees[tee].feed
            && source.has_ended()
        {
            order(world, tee, Order::Stream);
        }
    }
}

pub(crate) fn pace(world: &mut World) {
    let tee = any_tee(world);
    let period = *world.rng.pick(&[100_u64, 500, 2000, 10_000]);
    if let Feed::Own(source) = &world.tees[tee].feed {
        note(format!("tee{tee}: a frame in {period} µs"));
        source.set_period(Duration::from_micros(period));
    }
}

pub(crate) fn set_element(world: &mut World) {
    let tee = any_tee(world);
    let element = world.tees[tee].element.clone();
    let Some((name, value)) = setting(world, element.upcast_ref()) else {
        return;
    };
    note(format!("tee{tee}.{name}={value:?}"));
    if name == "post-drop-messages" {
        world.tees[tee].handler.told.mute(true);
    }
    watch("set a property", || {
        element.set_property_from_value(&name, &value)
    });
}

pub(crate) fn set_pad(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    let pad = world.consumers[consumer].pad.clone();
    let Some((name, value)) = setting(world, pad.upcast_ref()) else {
        return;
    };
    note(format!("{}.{name}={value:?}", pad.name()));
    watch("set a pad's property", || {
        pad.set_property_from_value(&name, &value)
    });
}

/// A property of `object`'s own class and a value for it.
fn setting(world: &mut World, object: &glib::Object) -> Option<(String, glib::Value)> {
    let specs: Vec<_> = object
        .list_properties()
        .iter()
        .filter(|spec| spec.owner_type().name().starts_with("GstDrone"))
        .filter(|spec| spec.flags().contains(glib::ParamFlags::WRITABLE))
        .cloned()
        .collect();
    if specs.is_empty() {
        return None;
    }
    let rng = &mut world.rng;
    let spec = rng.pick(&specs).clone();
    let type_ = spec.value_type();
    let value = if type_ == bool::static_type() {
        (!rng.once_in(3)).to_value()
    } else if type_ == u32::static_type() {
        let numbers = [0_u32, 1, 2, 3, 8, 40, 1000];
        let least = u32::from(spec.name() == "depth" && object.is::<gst::Element>());
        rng.pick(&numbers).max(&least).to_value()
    } else if type_ == u64::static_type() {
        rng.pick(&[0_u64, 1, 5, 30, 1_000_000, 20_000_000, 2_000_000_000])
            .to_value()
    } else if type_ == String::static_type() {
        match rng.once_in(4) {
            true => None::<String>.to_value(),
            false => Some(format!("name{}", rng.below(9))).to_value(),
        }
    } else {
        return None;
    };
    Some((spec.name().to_owned(), value))
}

fn a_query(world: &mut World, caps: &gst::Caps, is_upstream: bool) -> gst::Query {
    let kind = match is_upstream {
        true => 2 + world.rng.below(7),
        false => *world.rng.pick(&[0, 1, 2, 3, 4, 5, 6, 8]),
    };
    match kind {
        0 => gst::query::Allocation::new(Some(caps), true).into(),
        1 => gst::query::Drain::new().into(),
        2 => gst::query::Caps::new(None).into(),
        3 => gst::query::Caps::new(Some(caps)).into(),
        4 => gst::query::AcceptCaps::new(caps).into(),
        5 => gst::query::Latency::new().into(),
        6 => gst::query::Position::new(gst::Format::Time).into(),
        7 => gst::query::Scheduling::new().into(),
        _ => gst::query::Custom::new(gst::Structure::new_empty("stress")).into(),
    }
}

fn caps_of(world: &mut World, tee: usize) -> gst::Caps {
    match &world.tees[tee].feed {
        Feed::Own(source) => {
            let formats = source.formats();
            let format = world.rng.below(formats);
            match &world.tees[tee].feed {
                Feed::Own(source) => source.caps(format),
                Feed::Elements => gst::Caps::new_any(),
            }
        }
        Feed::Elements => {
            let sink = world.tees[tee].element.static_pad("sink").unwrap();
            sink.current_caps()
                .unwrap_or_else(|| source::raw().remove(0).caps)
        }
    }
}

/// A query to the sink pad, as from upstream, or to a src pad.
pub(crate) fn ask_down(world: &mut World) {
    let tee = any_tee(world);
    let caps = caps_of(world, tee);
    let mut query = a_query(world, &caps, false);
    let sink = world.tees[tee].element.static_pad("sink").unwrap();
    let name = format!("query {} at tee{tee}", query.type_().name());
    note(&name);
    if query.is_serialized() {
        // The thread of the source asks these.
        if let Feed::Own(source) = &world.tees[tee].feed {
            source.pause();
            if !source.is_at_end() {
                watch(&name, || sink.query(query.make_mut()));
            }
            source.go_on();
        }
        return;
    }
    world.call(&name, move || {
        sink.query(query.make_mut());
    });
}

/// A query from a branch.
pub(crate) fn ask_up(world: &mut World) {
    let Some(consumer) = any_consumer(world) else {
        return;
    };
    let tee = world.consumers[consumer].tee;
    let caps = caps_of(world, tee);
    let mut query = a_query(world, &caps, true);
    let pad = world.consumers[consumer].pad.clone();
    let name = format!("query {} at {}", query.type_().name(), pad.name());
    note(&name);
    world.call(&name, move || {
        pad.query(query.make_mut());
    });
}

/// An event from a branch.
pub(crate) fn send_up(world: &mut World) {
    let Some(consumer) = any_linked(world) else {
        return;
    };
    let event: gst::Event = match world.rng.below(6) {
        0 | 1 => gst::event::Reconfigure::new(),
        2 => gst_video::UpstreamForceKeyUnitEvent::builder().build(),
        3 => gst::event::Latency::new(gst::ClockTime::from_mseconds(50)),
        4 => gst::event::Qos::new(
            gst::QOSType::Underflow,
            1.5,
            5,
            gst::ClockTime::from_mseconds(7),
        ),
        _ => gst::event::CustomUpstream::new(gst::Structure::new_empty("stress")),
    };
    let at = &world.consumers[consumer];
    let Some(branch) = &at.branch else { return };
    note(format!("{:?} from behind {}", event.type_(), at.pad.name()));
    let head = branch.head.clone();
    world.call("an event from a branch", move || {
        head.push_event(event);
    });
}

/// What elements of a branch can be set to.
pub(crate) fn tune_branch(world: &mut World) {
    let drops = world.rng.once_in(2);
    let name = match world.rng.once_in(2) {
        true => "valve",
        false => "hub-input-selector",
    };
    let Some(element) = world.pipeline.by_name(name) else {
        return;
    };
    note(format!("tune {name}"));
    if name == "valve" {
        element.set_property("drop", drops);
    } else if let Some(pad) = element.sink_pads().first() {
        watch("select an input", || {
            element.set_property("active-pad", pad)
        });
    }
}
