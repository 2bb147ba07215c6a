// SPDX-License-Identifier: MPL-2.0
//! Who got and who lost what, as a table that updates in place on a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use gstdronetee::Health;

#[derive(Default)]
pub(crate) struct Table {
    lines: usize,
}

impl Table {
    pub(crate) fn show(&mut self, health: &Health) {
        let text = render(health);
        let mut out = std::io::stdout().lock();
        let up = if out.is_terminal() && self.lines > 0 {
            format!("\x1b[{}A\x1b[J", self.lines)
        } else {
            String::new()
        };
        self.lines = text.lines().count();
        // Nobody reads a table on a closed pipe.
        let _ = write!(out, "{up}{text}");
        let _ = out.flush();
    }
}

/// At most 80 columns wide: a line that wraps could not be updated in place.
fn render(health: &Health) -> String {
    let mut text = format!(
        "published {}, {:.1} frames/s, dropped {}\n{:<20} {:<10} {:>8} {:>8} {:>8} {:>10} {:>8}\n",
        health.published,
        health.frame_rate,
        health.dropped,
        "consumer",
        "state",
        "in",
        "out",
        "waiting",
        "in flight",
        "dropped",
    );
    for consumer in &health.consumers {
        let ledger = &consumer.ledger;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<20} {:<10} {:>8} {:>8} {:>8} {:>10} {:>8}",
            consumer.consumer,
            consumer.state.name(),
            ledger.frames_in,
            ledger.frames_out,
            ledger.waiting,
            ledger.in_flight,
            ledger.dropped.total(),
        );
        for (reason, count) in ledger.dropped.iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(
                text,
                "{:>78}",
                format!("{}={count}", reason.tag(&consumer.consumer))
            );
        }
    }
    text
}
