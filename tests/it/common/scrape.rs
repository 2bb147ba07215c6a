// SPDX-License-Identifier: MPL-2.0
//! What Prometheus would get, read without any of what serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::{DEADLINE, REASONS};

/// Status line and headers, and the body, of whatever is asked.
pub(crate) fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut server = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    server.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    server.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("no end of headers");
    (head.to_owned(), body.to_owned())
}

/// The samples of a scrape, by name and labels as they are written.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let request = format!("GET /metrics HTTP/1.1\r\nHost: drone\r\n{accept}\r\n\r\n");
        let (head, body) = ask(address, &request);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{head}");
        Self::parse(&body)
    }

    /// Each sample once, of a family that was introduced before it, and `# EOF` last.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("no end");
        let mut samples = BTreeMap::new();
        let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (kind, family) = (words.next().unwrap(), words.next().unwrap());
                let rest = words.next().expect(line);
                let end = if rest == "counter" { "_total" } else { "" };
                match kind {
                    "HELP" => assert!(helped.insert(family), "{line}"),
                    "TYPE" => assert!(typed.insert(format!("{family}{end}")), "{line}"),
                    "UNIT" => assert!(family.ends_with(rest), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect(line);
            let name = key.split('{').next().unwrap();
            assert!(typed.contains(name), "no type of {name}");
            let family = name.strip_suffix("_total").unwrap_or(name);
            assert!(helped.contains(family), "no help for {name}");
            let known = samples.insert(key.to_owned(), value.parse().expect(line));
            assert!(known.is_none(), "twice: {key}");
        }
        Self { samples }
    }

    pub(crate) fn find(&self, key: &str) -> Option<f64> {
        self.samples.get(key).copied()
    }

    /// True if there is a sample of this name, whatever its labels are.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.keys().any(|key| key.split('{').next() == Some(name))
    }

    /// A sample of the element `t` without further labels.
    #[track_caller]
    pub(crate) fn of_stream(&self, name: &str) -> f64 {
        self.get(&format!("{name}{{element=\"t\"}}"))
    }

    /// A sample by its name and all labels.
    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> f64 {
        self.find(key)
            .unwrap_or_else(|| panic!("no {key} in {self:#?}"))
    }

    /// A sample of a consumer of the element `t`, whose name needs no escapes.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, consumer: &str) -> u64 {
        whole(self.get(&format!("{name}{{element=\"t\",consumer=\"{consumer}\"}}")))
    }

    #[track_caller]
    pub(crate) fn dropped(&self, consumer: &str, reason: &str) -> u64 {
        let labels = format!("element=\"t\",consumer=\"{consumer}\",reason=\"{reason}\"");
        whole(self.get(&format!("dronetee_frames_dropped_total{{{labels}}}")))
    }

    /// In, delivered, waiting, in flight, dropped: as in the program's table.
    #[track_caller]
    pub(crate) fn numbers(&self, consumer: &str) -> [u64; 5] {
        let of = |name| self.count(name, consumer);
        [
            of("dronetee_frames_in_total"),
            of("dronetee_frames_delivered_total"),
            of("dronetee_queue_level"),
            of("dronetee_frames_in_flight"),
            REASONS
                .iter()
                .map(|reason| self.dropped(consumer, reason))
                .sum(),
        ]
    }

    #[track_caller]
    pub(crate) fn assert_balanced(&self, consumer: &str) {
        let [arrived, out, waiting, in_flight, dropped] = self.numbers(consumer);
        assert_eq!(arrived, out + waiting + in_flight + dropped, "{self:#?}");
    }

    /// Names and labels.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}

#[track_caller]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value}");
    value as u64
}
