// SPDX-License-Identifier: MPL-2.0
//! Who got and who lost what, as a table that updates in place on a terminal of any size.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use gstdronetee::{ConsumerHealth, Health};

/// The wide table's; a narrower terminal gets the narrow one.
const WIDE: usize = 79;
/// Of `movement_detector`, and a space.
const NARROW_NAME: usize = 18;

#[derive(Default)]
pub(crate) struct Table {
    lines: usize,
}

impl Table {
    /// In place of the one before, as much as the terminal has lines for.
    pub(crate) fn update(&mut self, health: &Health) {
        let terminal = Terminal::of_stdout();
        let text = match &terminal {
            Some(terminal) => shortened(lines(health, terminal.columns), terminal.rows),
            None => lines(health, WIDE + 1),
        };
        let up = match terminal {
            Some(_) if self.lines > 0 => format!("\x1b[{}A\x1b[J", self.lines),
            _ => String::new(),
        };
        self.lines = text.len();
        print(&up, &text);
    }

    /// Whole, below what was printed before.
    pub(crate) fn show(health: &Health) {
        let columns = match std::io::stdout().is_terminal() {
            true => size().map_or(WIDE + 1, |(_, columns)| columns),
            false => WIDE + 1,
        };
        print("", &lines(health, columns));
    }
}

/// Where a table can be updated in place.
struct Terminal {
    rows: usize,
    columns: usize,
}

impl Terminal {
    fn of_stdout() -> Option<Self> {
        let name = std::env::var("TERM").unwrap_or_default();
        if !std::io::stdout().is_terminal() || name.is_empty() || name == "dumb" {
            return None;
        }
        let (rows, columns) = size().unwrap_or((24, 80));
        Some(Self { rows, columns })
    }
}

/// Rows and columns, as `stty` tells: the terminal may be resized at any time.
fn size() -> Option<(usize, usize)> {
    let terminal = std::io::stdout().as_fd().try_clone_to_owned().ok()?;
    let output = Command::new("stty")
        .arg("size")
        .stdin(Stdio::from(terminal))
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    let size = (rows.parse().ok()?, columns.parse().ok()?);
    // A serial line does not know.
    (size.0 > 0 && size.1 > 0).then_some(size)
}

fn print(before: &str, lines: &[String]) {
    let mut text = before.to_owned();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    // Nobody reads a table on a closed pipe.
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// None longer than `columns`: a line that wraps could not be updated in place.
fn lines(health: &Health, columns: usize) -> Vec<String> {
    let mut lines = if columns > WIDE {
        wide(health)
    } else {
        narrow(health, columns)
    };
    for line in &mut lines {
        if line.chars().count() > columns {
            *line = line.chars().take(columns).collect();
        }
    }
    lines
}

/// The cursor's line is one of the terminal's. What comes last is what may be left out.
fn shortened(mut lines: Vec<String>, rows: usize) -> Vec<String> {
    lines.truncate(rows.saturating_sub(1).max(1));
    lines
}

fn wide(health: &Health) -> Vec<String> {
    let mut lines = vec![
        format!(
            "published {}, {:.1} frames/s, dropped {}",
            health.published, health.frame_rate, health.dropped
        ),
        format!(
            "{:<20} {:<10} {:>8} {:>8} {:>8} {:>10} {:>8}",
            "consumer", "state", "in", "out", "waiting", "in flight", "dropped",
        ),
    ];
    for consumer in &health.consumers {
        let ledger = &consumer.ledger;
        lines.push(format!(
            "{:<20} {:<10} {:>8} {:>8} {:>8} {:>10} {:>8}",
            consumer.consumer,
            consumer.state.name(),
            ledger.frames_in,
            ledger.frames_out,
            ledger.waiting,
            ledger.in_flight,
            ledger.dropped.total(),
        ));
        lines.extend(reasons(consumer).map(|reason| format!("{reason:>78}")));
    }
    lines
}

/// First all consumers, then what is wrong with them, for a terminal of few lines.
fn narrow(health: &Health, columns: usize) -> Vec<String> {
    let figure = columns.saturating_sub(NARROW_NAME) / 3;
    let row = |name: &str, figures: [String; 3]| {
        let mut row: String = name.chars().take(NARROW_NAME - 1).collect();
        row = format!("{row:<NARROW_NAME$}");
        for text in figures {
            // Writing to a string does not fail.
            let _ = write!(row, "{text:>figure$}");
        }
        row
    };
    let mut lines = vec![
        format!(
            "{} frames, {:.1}/s, dropped {}",
            health.published, health.frame_rate, health.dropped
        ),
        row("consumer", ["in", "out", "lost"].map(String::from)),
    ];
    for consumer in &health.consumers {
        let ledger = &consumer.ledger;
        let figures = [ledger.frames_in, ledger.frames_out, ledger.dropped.total()];
        lines.push(row(
            &consumer.consumer,
            figures.map(|figure| figure.to_string()),
        ));
    }
    for consumer in &health.consumers {
        if !consumer.is_healthy() {
            lines.push(format!(
                "{} is {}",
                consumer.consumer,
                consumer.state.name()
            ));
        }
        lines.extend(reasons(consumer));
    }
    lines
}

fn reasons(consumer: &ConsumerHealth) -> impl Iterator<Item = String> + '_ {
    let dropped = consumer.ledger.dropped.iter();
    dropped
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{}={count}", reason.tag(&consumer.consumer)))
}
