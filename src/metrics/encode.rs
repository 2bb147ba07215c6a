// SPDX-License-Identifier: MPL-2.0
//! What there is to serve: the families, with name, help, labels, and where each value is.

use std::collections::HashSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::hide::hide_passwords;
use crate::dronebranch::{self, Figures};
use crate::facts::{ConsumerHealth, Health, State};

/// What was read of the elements, each with its label.
#[derive(Debug, Default)]
pub(super) struct Scrape {
    pub(super) streams: Vec<(String, Health)>,
    pub(super) branches: Vec<(String, Figures)>,
}

#[derive(Clone, Copy)]
enum Value {
    Counter(u64),
    Gauge(u64),
    Seconds(f64),
}

impl Value {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) | Self::Seconds(_) => MetricType::Gauge,
        }
    }

    fn encode(self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => ConstCounter::new(count).encode(encoder),
            Self::Gauge(level) => ConstGauge::new(level).encode(encoder),
            Self::Seconds(time) => ConstGauge::new(time).encode(encoder),
        }
    }
}

/// Name and help of a metric.
type About = (&'static str, &'static str);
/// A metric of each `T`; `None` where there is no value.
type Figure<T> = (About, fn(&T) -> Option<Value>);
type Labels<'a> = Vec<(&'static str, &'a str)>;

const STREAM: [Figure<Health>; 10] = [
    (
        (
            "dronetee_frames_published",
            "Frames that arrived at the element.",
        ),
        |health| Some(Value::Counter(health.published)),
    ),
    (
        (
            "dronetee_published_bytes",
            "Bytes that arrived at the element.",
        ),
        |health| Some(Value::Counter(health.bytes)),
    ),
    (
        (
            "dronetee_stream_frames_dropped",
            "Frames dropped over all consumers, released ones included.",
        ),
        |health| Some(Value::Counter(health.dropped)),
    ),
    (
        (
            "dronetee_frames_held",
            "Frames of upstream's that are out, each counted once.",
        ),
        |health| Some(Value::Gauge(health.held)),
    ),
    (
        (
            "dronetee_max_frames_held",
            "How many may be out at once, 0 without a limit.",
        ),
        |health| Some(Value::Gauge(health.max_held)),
    ),
    (
        // Before the first frame there is none that could be old.
        (
            "dronetee_last_frame_age_seconds",
            "Time since the last frame arrived.",
        ),
        |health| Some(Value::Seconds(health.last_frame_age?.as_secs_f64())),
    ),
    (
        (
            "dronetee_input_gaps",
            "Jumps of time of more than 1.5 frame durations in what arrived.",
        ),
        |health| Some(Value::Counter(health.input.gaps)),
    ),
    (
        (
            "dronetee_input_frames_missing",
            "Frames that fit into the gaps: lost before the element.",
        ),
        |health| Some(Value::Counter(health.input.missing)),
    ),
    (
        (
            "dronetee_input_disconts",
            "Frames that arrived with the flag DISCONT, without the first of a stream or after a seek.",
        ),
        |health| Some(Value::Counter(health.input.disconts)),
    ),
    (
        (
            "dronetee_input_frames_corrupted",
            "Frames that arrived with the flag CORRUPTED.",
        ),
        |health| Some(Value::Counter(health.input.corrupted)),
    ),
];

const CONSUMER: [Figure<ConsumerHealth>; 8] = [
    (
        (
            "dronetee_frames_in",
            "Frames offered to the consumer since it joined.",
        ),
        |consumer| Some(Value::Counter(consumer.ledger.frames_in)),
    ),
    (
        (
            "dronetee_frames_delivered",
            "Frames that the consumer took and was done with.",
        ),
        |consumer| Some(Value::Counter(consumer.ledger.frames_out)),
    ),
    (
        (
            "dronetee_queue_level",
            "Frames that wait in the consumer's queue.",
        ),
        |consumer| Some(Value::Gauge(consumer.ledger.waiting)),
    ),
    (
        (
            "dronetee_frames_in_flight",
            "Frames handed to the consumer that it is not done with, 0 or 1.",
        ),
        |consumer| Some(Value::Gauge(consumer.ledger.in_flight)),
    ),
    (
        (
            "dronetee_consumer_healthy",
            "0 while the consumer is stalled, failed or evicted.",
        ),
        |consumer| Some(Value::Gauge(consumer.is_healthy().into())),
    ),
    (
        (
            "dronetee_wait_p99_seconds",
            "How long frames waited in the queue, 99th percentile since start.",
        ),
        |consumer| Some(Value::Seconds(consumer.wait.p99.as_secs_f64())),
    ),
    (
        (
            "dronetee_service_p99_seconds",
            "How long the consumer took for a frame, 99th percentile since start.",
        ),
        |consumer| Some(Value::Seconds(consumer.service.p99.as_secs_f64())),
    ),
    (
        (
            "dronetee_in_flight_seconds",
            "How long the frame in flight has been so.",
        ),
        |consumer| Some(Value::Seconds(consumer.in_flight_for.as_secs_f64())),
    ),
];

const BRANCH: [Figure<Figures>; 4] = [
    (
        ("dronebranch_failures", "Failures of the branch's content."),
        |branch| Some(Value::Counter(branch.failures)),
    ),
    (
        ("dronebranch_restarts", "Restarts of the branch's content."),
        |branch| Some(Value::Counter(branch.restarts)),
    ),
    (
        (
            "dronebranch_abandoned",
            "Contents that hung in their teardown and were left behind.",
        ),
        |branch| Some(Value::Counter(branch.abandoned)),
    ),
    (
        (
            "dronebranch_frames_dropped",
            "Frames that came and that the branch's content did not take.",
        ),
        |branch| Some(Value::Counter(branch.dropped)),
    ),
];

const DROPS: About = (
    "dronetee_frames_dropped",
    "Frames that the consumer did not get, by reason.",
);
const STATE: About = (
    "dronetee_consumer_state",
    "1 for the state that the consumer is in.",
);
const BRANCH_STATE: About = (
    "dronebranch_state",
    "1 for the state that the branch is in.",
);

/// A consumer with its element's label and its own.
struct Consumer<'a> {
    element: &'a str,
    name: String,
    health: &'a ConsumerHealth,
}

impl Consumer<'_> {
    fn labels(&self) -> Labels<'_> {
        vec![("element", self.element), ("consumer", &self.name)]
    }

    fn labels_and<'a>(&'a self, name: &'static str, value: &'a str) -> Labels<'a> {
        let mut labels = self.labels();
        labels.push((name, value));
        labels
    }
}

/// Prometheus takes nothing of a scrape that has a series twice, so a name that a consumer before has
/// gets a number.
fn consumers(streams: &[(String, Health)]) -> Vec<Consumer<'_>> {
    let mut consumers = Vec::new();
    for (element, health) in streams {
        let mut taken = HashSet::new();
        for health in &health.consumers {
            let own = hide_passwords(&health.consumer).into_owned();
            let numbered = (2u64..).map(|n| format!("{own}#{n}"));
            let mut names = std::iter::once(own.clone()).chain(numbered);
            let name = names.find(|name| taken.insert(name.clone()));
            consumers.push(Consumer {
                element,
                name: name.unwrap_or_default(),
                health,
            });
        }
    }
    consumers
}

/// One family, unless there is no sample of it.
fn encode<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): About,
    samples: impl IntoIterator<Item = (Labels<'a>, Value)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    let Some(type_) = samples.peek().map(|(_, value)| value.metric_type()) else {
        return Ok(());
    };
    // The unit ends the name, and is said beside it.
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    let (name, unit) = units
        .iter()
        .find_map(|(end, unit)| Some((name.strip_suffix(end)?, Some(unit))))
        .unwrap_or((name, None));
    let mut family = encoder.encode_descriptor(name, help, unit, type_)?;
    for (labels, value) in samples {
        value.encode(family.encode_family(&labels.as_slice())?)?;
    }
    Ok(())
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let consumers = consumers(&self.streams);
        for (about, value) in STREAM {
            let samples = self.streams.iter().filter_map(|(element, health)| {
                Some((vec![("element", element.as_str())], value(health)?))
            });
            encode(&mut encoder, about, samples)?;
        }
        for (about, value) in CONSUMER {
            let samples = consumers
                .iter()
                .filter_map(|own| Some((own.labels(), value(own.health)?)));
            encode(&mut encoder, about, samples)?;
        }
        encode_drops(&mut encoder, &consumers)?;
        encode_states(&mut encoder, &consumers)?;
        self.encode_branches(&mut encoder)
    }
}

/// Every reason is there from the start: `rate()` misses the first drops of a series that begins with
/// them.
fn encode_drops(encoder: &mut DescriptorEncoder<'_>, consumers: &[Consumer<'_>]) -> fmt::Result {
    let samples = consumers.iter().flat_map(|own| {
        own.health
            .ledger
            .dropped
            .iter()
            .map(move |(reason, count)| {
                (
                    own.labels_and("reason", reason.name()),
                    Value::Counter(count),
                )
            })
    });
    encode(encoder, DROPS, samples)
}

fn encode_states(encoder: &mut DescriptorEncoder<'_>, consumers: &[Consumer<'_>]) -> fmt::Result {
    let samples = consumers.iter().flat_map(|own| {
        State::ALL.into_iter().map(move |state| {
            let is_it = own.health.state == state;
            (
                own.labels_and("state", state.name()),
                Value::Gauge(is_it.into()),
            )
        })
    });
    encode(encoder, STATE, samples)
}

impl Scrape {
    fn encode_branches(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (about, value) in BRANCH {
            let samples = self.branches.iter().filter_map(|(element, figures)| {
                Some((vec![("element", element.as_str())], value(figures)?))
            });
            encode(encoder, about, samples)?;
        }
        let samples = self.branches.iter().flat_map(|(element, figures)| {
            dronebranch::STATES.into_iter().map(move |state| {
                let labels = vec![("element", element.as_str()), ("state", state)];
                (labels, Value::Gauge((figures.state == state).into()))
            })
        });
        encode(encoder, BRANCH_STATE, samples)
    }
}

/// As text, in OpenMetrics.
pub(super) fn open_metrics(scrape: Scrape) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}
