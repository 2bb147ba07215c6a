// SPDX-License-Identifier: MPL-2.0
//! A file that whole lines are appended to, by a thread of its own: what is posted waits for no disk.
//!
//! A line is handed over and waited for, for a moment: when its message is seen by the application, the
//! line is in the file, and a process that is killed loses none that it has seen. A writer that has not
//! come back in that moment is stuck, and is not waited for until it writes again.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::CAT;
use super::line;

/// Lines that may wait for the writer.
const LONGEST_QUEUE: usize = 1024;
/// How long a line is waited for.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the end waits for the lines that are left.
const END: Duration = Duration::from_secs(1);

pub(super) struct Log(Arc<Shared>);

struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// A line was added, or no more will come.
    added: Condvar,
    /// A line was done with, or the writer has left.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    /// Lines that were handed over, and that the writer is done with.
    handed: u64,
    done: u64,
    /// Not written, since the last line that tells how many.
    lost: u64,
    /// The writer did not come back in time; cleared by the writer.
    is_stuck: bool,
    /// No more will come.
    is_closed: bool,
    has_left: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when `is_over` holds, at most after `patience`.
    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        patience: Duration,
        is_over: impl Fn(&Queue) -> bool,
    ) -> MutexGuard<'a, Queue> {
        let waited = self
            .done
            .wait_timeout_while(queue, patience, |queue| !is_over(queue));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Log {
    /// Appends to the file at `path`, which is made if it is not there. That it can not be is an error on
    /// GStreamer's log.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            queue: Mutex::default(),
            added: Condvar::new(),
            done: Condvar::new(),
        });
        let own = Leaving(shared.clone());
        std::thread::Builder::new()
            .name("dronetee:log".into())
            .spawn(move || own.0.write())?;
        Ok(Self(shared))
    }

    /// The line is in the file when this returns, unless the writer is stuck.
    pub(super) fn write(&self, line: String) {
        let mut queue = self.0.queue();
        if queue.has_left || queue.is_closed {
            return;
        }
        if queue.lines.len() >= LONGEST_QUEUE {
            queue.lost += 1;
            let is_first = queue.lost == 1;
            drop(queue);
            if is_first {
                gst::warning!(
                    CAT,
                    "{}: lines are lost, it is not written to",
                    self.0.path.display()
                );
            }
            return;
        }
        queue.lines.push_back(line);
        queue.handed += 1;
        let own = queue.handed;
        self.0.added.notify_one();
        if !queue.is_stuck {
            let is_over = |queue: &Queue| queue.done >= own || queue.has_left;
            queue = self.0.wait(queue, PATIENCE, is_over);
            queue.is_stuck = !is_over(&queue);
        }
    }
}

impl Log {
    /// Writes what is left, as far as that takes no longer than a moment.
    pub(super) fn close(&self) {
        let mut queue = self.0.queue();
        queue.is_closed = true;
        self.0.added.notify_one();
        // The thread ends with the process.
        let patience = if queue.is_stuck { PATIENCE } else { END };
        drop(self.0.wait(queue, patience, |queue| queue.has_left));
    }
}

/// Says that the writer has left, also if it panicked.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.queue().has_left = true;
        self.0.done.notify_all();
    }
}

impl Shared {
    fn write(&self) {
        let mut file = match Appended::open(&self.path) {
            Ok(file) => file,
            Err(error) => {
                gst::error!(CAT, "No log in {}: {error}", self.path.display());
                return;
            }
        };
        let mut is_failing = false;
        while let Some((line, lost)) = self.next() {
            let result = self.write_one(&mut file, &line, lost);
            if let Err(error) = &result
                && !is_failing
            {
                gst::warning!(CAT, "{}: lines are lost: {error}", self.path.display());
            }
            is_failing = result.is_err();
            let mut queue = self.queue();
            queue.lost += u64::from(is_failing);
            queue.done += 1;
            queue.is_stuck = false;
            self.done.notify_all();
        }
    }

    /// The next line, and how many were lost before it; `None` after the last.
    fn next(&self) -> Option<(String, u64)> {
        let queue = self.queue();
        let waits = |queue: &mut Queue| queue.lines.is_empty() && !queue.is_closed;
        let waited = self.added.wait_while(queue, waits);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let line = queue.lines.pop_front()?;
        Some((line, queue.lost))
    }

    fn write_one(&self, file: &mut Appended, own: &str, lost: u64) -> io::Result<()> {
        if lost > 0 {
            file.append(&line::of_lost(lost))?;
            self.queue().lost -= lost;
        }
        file.append(own)
    }
}

/// A file that ends with a whole line, or is made to before the next.
struct Appended {
    file: File,
    ends_inside: bool,
}

impl Appended {
    fn open(path: &Path) -> io::Result<Self> {
        // A pipe that is open for reading too can be opened without a reader, and its reader may leave:
        // that would be a signal that ends the process.
        let is_pipe = path.metadata().is_ok_and(|of| of.file_type().is_fifo());
        let mut options = OpenOptions::new();
        if is_pipe {
            options.read(true).write(true);
        } else {
            options.append(true).create(true);
        }
        let file = options.open(path)?;
        let ends_inside = file.metadata()?.is_file() && ends_inside_line(path).unwrap_or(false);
        Ok(Self { file, ends_inside })
    }

    /// One call writes all of it, as a rule.
    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.ends_inside {
            self.file.write_all(b"\n")?;
            self.ends_inside = false;
        }
        let mut left = line.as_bytes();
        while !left.is_empty() {
            match self.file.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    self.ends_inside = !left.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// True if the last line has no end: the process that wrote it was killed.
fn ends_inside_line(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
