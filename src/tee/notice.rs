// SPDX-License-Identifier: MPL-2.0
//! What an application is told, as plain data: from the core's notices, and from messages on the bus.

use std::time::Duration;

use super::Label;
use super::flows::flow_name;
use super::stats::{consumer_health, consumer_health_of};
use crate::facts::{
    ConsumerHealth, DropReason, Dropped, GopTruncated, PoolLimit, State, Transition,
};
use crate::fanout::{self, DropNotice};

/// Something that happened to a stream or to one of its consumers.
///
/// They come from [`FramePublisher::notices`](crate::FramePublisher::notices), or from the messages on
/// the bus by [`Notice::from_message`]: take one of the two, as they say the same.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Notice {
    /// A consumer lost frames (`dronetee-drop`).
    Dropped(Dropped),
    /// A consumer came to another state than [`State::Evicted`] (`dronetee-consumer`).
    State(Transition),
    /// A consumer lost more frames than its `max-lag`, and gets none any more (`dronetee-consumer`).
    Evicted(Transition),
    /// A group of pictures is longer than `gop-cache`, and not kept (`dronetee-gop-truncated`).
    GopTruncated(GopTruncated),
    /// The limit on the frames that are out changed by itself (`dronetee-pool`).
    Pool(PoolLimit),
    /// A consumer's accounts at the end of the stream, at a stop or at its release
    /// (`dronetee-summary`).
    Summary(Box<ConsumerHealth>),
}

impl Notice {
    /// The notice that an element message of a `dronetee` carries; `None` for any other message. Does
    /// not block.
    ///
    /// With `post-drop-messages=false` the element posts no drops; those of
    /// [`FramePublisher::notices`](crate::FramePublisher::notices) come all the same.
    pub fn from_message(message: &gst::MessageRef) -> Option<Self> {
        let gst::MessageView::Element(element) = message.view() else {
            return None;
        };
        let said = element.structure()?;
        Some(match said.name().as_str() {
            "dronetee-drop" => Self::Dropped(dropped_in(said)?),
            "dronetee-consumer" => Self::of_transition(transition_in(said)?),
            "dronetee-gop-truncated" => Self::GopTruncated(GopTruncated {
                capacity: said.get::<u32>("capacity").ok()?.into(),
                count: 1,
            }),
            "dronetee-pool" => Self::Pool(PoolLimit {
                held: said.get::<u32>("held").ok()?.into(),
                max_held: said.get::<u32>("max-held").ok()?.into(),
                pool_size: said.get::<u32>("pool-size").ok()?.into(),
                learned: said.get("learned").ok()?,
            }),
            "dronetee-summary" => Self::Summary(Box::new(consumer_health_of(said)?)),
            _ => return None,
        })
    }

    /// The consumer that it is about; `None` where it is about the stream, or stands for several.
    pub fn consumer(&self) -> Option<&str> {
        match self {
            Self::Dropped(dropped) if dropped.consumer.is_empty() => None,
            Self::Dropped(dropped) => Some(&dropped.consumer),
            Self::State(transition) | Self::Evicted(transition) => Some(&transition.consumer),
            Self::Summary(health) => Some(&health.consumer),
            Self::GopTruncated(_) | Self::Pool(_) => None,
        }
    }

    /// Of what the core has to tell; `None` for what is told by the log and by warnings alone.
    pub(super) fn of(notice: &fanout::Notice<Label>) -> Option<Self> {
        Some(match notice {
            fanout::Notice::Drop(notice) if notice.fresh > 0 => Self::Dropped(dropped(notice)),
            fanout::Notice::State {
                label,
                state,
                previous,
                flow,
                in_flight_for,
            } => Self::of_transition(Transition {
                consumer: label.consumer.clone(),
                pad: label.pad.clone(),
                state: *state,
                previous: *previous,
                flow: flow_name(*flow).to_owned(),
                in_flight_for: Duration::from_nanos(*in_flight_for),
            }),
            fanout::Notice::Summary(snapshot) => {
                let pad = snapshot.label.pad();
                Self::Summary(Box::new(consumer_health(snapshot, pad.as_ref())))
            }
            fanout::Notice::GopTruncated { capacity } => Self::GopTruncated(GopTruncated {
                capacity: *capacity,
                count: 1,
            }),
            fanout::Notice::MaxHeld(pool) => Self::Pool(PoolLimit {
                held: pool.held,
                max_held: pool.max_held,
                pool_size: pool.pool_size,
                learned: pool.learned,
            }),
            _ => return None,
        })
    }

    fn of_transition(transition: Transition) -> Self {
        match transition.state {
            State::Evicted => Self::Evicted(transition),
            _ => Self::State(transition),
        }
    }
}

fn dropped(notice: &DropNotice<Label>) -> Dropped {
    let (label, ledger, lost) = (&notice.label, &notice.ledger, &notice.lost);
    Dropped {
        consumer: label.consumer.clone(),
        pad: label.pad.clone(),
        reason: notice.reason,
        count: notice.fresh,
        total: notice.total,
        frames_in: ledger.frames_in,
        frames_out: ledger.frames_out,
        dropped: ledger.dropped.total(),
        timestamp: lost.pts().map(Duration::from_nanos),
        running_time: lost.running_time().map(Duration::from_nanos),
    }
}

fn dropped_in(said: &gst::StructureRef) -> Option<Dropped> {
    let number = |field: &str| said.get::<u64>(field).ok();
    let time = |field: &str| {
        let time = number(field)?;
        Some((time != u64::MAX).then(|| Duration::from_nanos(time)))
    };
    Some(Dropped {
        consumer: said.get("consumer").ok()?,
        pad: said.get("pad").ok()?,
        reason: DropReason::from_name(said.get("reason").ok()?)?,
        count: number("count")?,
        total: number("total")?,
        frames_in: number("in")?,
        frames_out: number("out")?,
        dropped: number("dropped")?,
        timestamp: time("timestamp")?,
        running_time: time("running-time")?,
    })
}

fn transition_in(said: &gst::StructureRef) -> Option<Transition> {
    let state = |field: &str| State::from_name(said.get(field).ok()?);
    Some(Transition {
        consumer: said.get("consumer").ok()?,
        pad: said.get("pad").ok()?,
        state: state("state")?,
        previous: state("previous")?,
        flow: said.get("flow").ok()?,
        in_flight_for: Duration::from_nanos(said.get("in-flight-for").ok()?),
    })
}
