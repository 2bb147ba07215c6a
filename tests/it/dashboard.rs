// SPDX-License-Identifier: MPL-2.0
//! What the documents say of the metrics is what is served: the table, the dashboard, the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gst::prelude::*;
use gstdronetee::metrics::{Exporter, Format};
use serde_json::Value;

use crate::common::{Rig, init};
use crate::scrape::Scrape;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

type Metrics = BTreeMap<String, BTreeSet<String>>;

/// The labels of every metric that there is.
fn served() -> Metrics {
    let rig = Rig::started();
    let _consumer = rig.consumer("one");
    rig.push(0).unwrap();
    let branch = gst::ElementFactory::make("dronebranch").build().unwrap();
    branch.set_state(gst::State::Ready).unwrap();
    let exporter = Exporter::new();
    exporter.add(&rig.tee).unwrap();
    exporter.add(&branch).unwrap();
    let scrape = Scrape::parse(&exporter.text(Format::OpenMetrics));
    branch.set_state(gst::State::Null).unwrap();
    let mut metrics = Metrics::new();
    for key in scrape.keys() {
        let (name, labels) = key.split_once('{').unwrap();
        let names = labels.split('"').step_by(2);
        let names = names.filter_map(|name| name.trim_start_matches(',').strip_suffix('='));
        let known = metrics.entry(name.to_owned()).or_default();
        known.extend(names.map(str::to_owned));
    }
    metrics
}

#[test]
fn the_table_is_what_is_served() {
    let mut told = Metrics::new();
    for row in document("metrics.md").lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, labels, ..] = cells[..] else {
            continue;
        };
        let name = name.trim_matches('`');
        if name.starts_with("dronetee_") || name.starts_with("dronebranch_") {
            let labels = labels
                .split(", ")
                .map(|label| label.trim_matches('`').to_owned());
            let twice = told.insert(name.to_owned(), labels.collect());
            assert!(twice.is_none(), "{name}");
        }
    }
    assert_eq!(told, served());
}

fn dashboard() -> Value {
    serde_json::from_str(&document("grafana.json")).unwrap()
}

/// Each panel's queries with their legends.
fn targets() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let text = |target: &Value, key: &str| target[key].as_str().unwrap().to_owned();
    targets
        .map(|target| (text(&target, "expr"), text(&target, "legendFormat")))
        .collect()
}

pub(crate) fn queries() -> Vec<String> {
    targets().into_iter().map(|(query, _)| query).collect()
}

/// Metrics of a query, each with the labels that it is selected by.
fn named(query: &str) -> Metrics {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut metrics = Metrics::new();
    for (begin, _) in query.match_indices("drone") {
        let rest = &query[begin..];
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = selector.map_or("", |(selector, _)| selector);
        let labels = labels.split('"').step_by(2);
        let labels = labels.map(|label| label.trim_matches(|c| !is_of_name(c)).to_owned());
        let labels = labels.filter(|label| !label.is_empty());
        metrics.insert(name.to_owned(), labels.collect());
    }
    metrics
}

/// The labels that stand in `{{…}}`.
fn shown(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts
        .map(|part| part.split("}}").next().unwrap().trim().to_owned())
        .collect()
}

#[test]
fn the_dashboard_names_what_is_served() {
    let served = served();
    let mut used = BTreeSet::new();
    for (query, legend) in targets() {
        let named = named(&query);
        assert!(!named.is_empty(), "{query}");
        for (name, mut labels) in named {
            labels.extend(shown(&legend));
            let known = served
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is not served"));
            assert!(
                labels.is_subset(known),
                "{query} {legend}: {name} has {known:?}"
            );
            used.insert(name);
        }
    }
    let unused: Vec<_> = served.keys().filter(|name| !used.contains(*name)).collect();
    assert_eq!(unused, [""; 0]);
    for variable in dashboard()["templating"]["list"].as_array().unwrap() {
        if let Some(definition) = variable["definition"].as_str() {
            let inner = definition.strip_prefix("label_values(").unwrap();
            let (name, label) = inner.strip_suffix(')').unwrap().split_once(", ").unwrap();
            assert!(served[name].contains(label), "{definition}");
        }
    }
}

#[test]
fn no_two_panels_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        assert!(ids.insert(panel["id"].as_u64()));
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(
                taken.insert((place("x") + x, place("y") + y)),
                "{}",
                panel["title"]
            );
        }
    }
}

#[test]
fn a_graph_of_the_pipeline_shows_the_accounts() {
    init();
    let line = "videotestsrc num-buffers=10 ! video/x-raw,width=8,height=8 ! dronetee name=t max-held=100 \
        t.src_stuck ! fakesink sync=true t.src_telemetry ! fakesink";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let wait = gst::ClockTime::from_seconds(30);
    let end = bus.timed_pop_filtered(wait, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(end.expect("no end").type_(), gst::MessageType::Eos);
    let dot = pipeline.debug_to_dot_data(gst::DebugGraphDetails::all());
    let tee = pipeline.by_name("t").unwrap();
    for pad in ["src_stuck", "src_telemetry"] {
        let own = tee.static_pad(pad).unwrap();
        let node = dot
            .lines()
            .find(|line| line.contains(&format!("label=\"{pad}\\n")));
        let node = node.unwrap_or_else(|| panic!("no {pad} in {dot}"));
        assert_eq!(own.property::<u64>("in"), 10);
        for account in ["in", "out", "dropped"] {
            let count: u64 = own.property(account);
            // A graph leaves out what is at its default.
            let shown = format!("\\n{account}={count}");
            assert_eq!(node.contains(&shown), count > 0, "{shown} in {node}");
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
