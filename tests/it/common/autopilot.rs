// SPDX-License-Identifier: MPL-2.0
//! Runs of the program that `scripts/demo.sh` runs.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The program gives a camera up after 10 s, the rest is for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// `cargo test` builds it, `cargo test --test it` alone does not.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    let program = target.join("examples/autopilot");
    assert!(
        program.exists(),
        "build it first: cargo build --example autopilot"
    );
    program
}

/// A run of a program that is killed if it takes longer than any should.
pub(crate) struct Run {
    child: Child,
    lines: Receiver<String>,
    deadline: Instant,
    seen: Vec<String>,
}

impl Run {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| {
                let _ = sender.send(line);
            });
        });
        Self {
            child,
            lines,
            deadline: Instant::now() + DEADLINE,
            seen: Vec::new(),
        }
    }

    pub(crate) fn autopilot(args: &[&str]) -> Self {
        Self::start(Command::new(program()).args(args))
    }

    /// The next line, `None` when there are no more.
    pub(crate) fn line(&mut self) -> Option<&str> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => self.seen.push(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                self.child.kill().unwrap();
                panic!("still running after {DEADLINE:?}: {:#?}", self.seen);
            }
        }
        self.seen.last().map(String::as_str)
    }

    /// The next line with `wanted` in it.
    pub(crate) fn until(&mut self, wanted: &str) -> String {
        loop {
            match self.line() {
                Some(line) if line.contains(wanted) => return line.to_owned(),
                Some(_) => {}
                None => panic!("no '{wanted}' in {:#?}", self.seen),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for the end; the status, all of stdout, and stderr.
    pub(crate) fn end(mut self) -> Output {
        while self.line().is_some() {}
        let mut stderr = Vec::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_end(&mut stderr).unwrap();
        Output {
            status: self.child.wait().unwrap(),
            stdout: self.seen.join("\n").into_bytes(),
            stderr,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Of a test that failed; else it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it said.
pub(crate) fn fails_with(run: Run, reason: &str) -> String {
    let output = run.end();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(reason), "'{reason}' is not in: {error}");
    assert_eq!(error.lines().count(), 1, "more than one line: {error}");
    error
}

/// The final table of a run that ended well.
pub(crate) fn final_table(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    let end = text.split("at the end:").nth(1).expect("no final table");
    end.to_owned()
}

/// Columns of a consumer's row: in, out, waiting, in flight, dropped.
pub(crate) fn numbers(table: &str, consumer: &str) -> [u64; 5] {
    let mut lines = table.lines();
    let row = lines
        .find(|line| line.split_whitespace().next() == Some(consumer))
        .unwrap_or_else(|| panic!("no row of {consumer} in {table}"));
    let numbers: Vec<_> = row
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers.try_into().unwrap()
}

pub(crate) fn tagged(table: &str, tag: &str) -> u64 {
    let count = table
        .split_whitespace()
        .find_map(|word| word.strip_prefix(tag)?.strip_prefix('='));
    count.map_or(0, |count| count.parse().unwrap())
}
