// SPDX-License-Identifier: MPL-2.0
//! What `GST_DEBUG=dronetee:N` shows, as the page says.

use super::{Page, empty_folder, table};
use crate::pipelines::{run, tool};

/// The lines of the log that are of the element's category, at its highest level or at this one.
fn log_of(line: &str, level: u32) -> Vec<String> {
    let file = empty_folder(&format!("log-{level}")).join("log");
    let child = tool("gst-launch-1.0")
        .args(line.split_whitespace())
        .env("GST_DEBUG", format!("dronetee:{level}"))
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", &file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    run(child, |_| false);
    let log = std::fs::read_to_string(&file).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

const SLOW: &str = "videotestsrc num-buffers=40 is-live=true ! video/x-raw,framerate=30/1 \
    ! dronetee name=t depth=1 stall-timeout=100000000 src_detection_client::max-lag=5 \
    t.src_detection_client ! identity sleep-time=200000 ! fakesink sync=false async=false \
    t.src_telemetry ! fakesink async=false";
const TWICE: &str = "videotestsrc num-buffers=1 ! dronetee name=t src_b::consumer=a t.src_b ! fakesink t.src_a ! fakesink";

#[test]
fn show_what_the_page_says() {
    let page = Page::read("docs/troubleshooting.md");
    let rows = table(&page.text, "| level | shows |");
    assert_eq!(rows.len(), 5, "{rows:?}");
    let mut log = log_of(SLOW, 7);
    log.extend(log_of(TWICE, 7));
    for row in &rows {
        let (_, word) = row[0].split_once(' ').unwrap();
        for example in row[2].split('`').skip(1).step_by(2) {
            let here: Vec<_> = log.iter().filter(|line| line.contains(example)).collect();
            assert!(!here.is_empty(), "level {word}: no '{example}'");
            for line in here {
                assert!(line.contains(&format!(" {word} ")), "{word}: {line}");
            }
        }
    }
    // There is no level between them that the page leaves out.
    let words = ["FIXME", "LOG"];
    for line in &log {
        assert!(
            !words.iter().any(|word| line.contains(&format!(" {word} "))),
            "{line}"
        );
    }
}

#[test]
fn a_level_shows_those_before_it_and_no_more() {
    let log = log_of(SLOW, 4);
    assert!(log.iter().any(|line| line.contains(" INFO ")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains(" WARN ")), "{log:#?}");
    for more in [" DEBUG ", " TRACE "] {
        assert!(!log.iter().any(|line| line.contains(more)), "{log:#?}");
    }
}
