// SPDX-License-Identifier: MPL-2.0
//! How a fault is told: seed, step and the last operations. The watchdog, and what GLib logs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// A call that takes longer hangs. Under valgrind all takes longer.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| {
    let seconds = std::env::var("STRESS_PATIENCE").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
});

/// So many operations are told with a fault.
const TOLD: usize = 30;

/// What went on so far.
struct Journal {
    seed: u64,
    step: u64,
    world: String,
    operations: VecDeque<String>,
}

static JOURNAL: Mutex<Journal> = Mutex::new(Journal {
    seed: 0,
    step: 0,
    world: String::new(),
    operations: VecDeque::new(),
});
static CALLS: Mutex<BTreeMap<u64, (String, Instant)>> = Mutex::new(BTreeMap::new());
static NEXT_CALL: AtomicU64 = AtomicU64::new(0);
static IS_VERBOSE: AtomicBool = AtomicBool::new(false);
static TOLD_ALREADY: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_verbose(verbose: bool) {
    IS_VERBOSE.store(verbose, Ordering::Relaxed);
}

pub(crate) fn is_verbose() -> bool {
    IS_VERBOSE.load(Ordering::Relaxed)
}

/// A new round.
pub(crate) fn begin(seed: u64) {
    let mut journal = JOURNAL.lock().unwrap();
    journal.seed = seed;
    journal.step = 0;
    journal.operations.clear();
    journal.world.clear();
}

pub(crate) fn note_step(step: u64) {
    JOURNAL.lock().unwrap().step = step;
}

pub(crate) fn note_world(world: impl Display) {
    let world = world.to_string();
    if IS_VERBOSE.load(Ordering::Relaxed) {
        eprintln!("      {world}");
    }
    JOURNAL.lock().unwrap().world = world;
}

/// Notes what is done next.
pub(crate) fn note(operation: impl Display) {
    let mut journal = JOURNAL.lock().unwrap();
    let line = format!("{:5} {operation}", journal.step);
    if IS_VERBOSE.load(Ordering::Relaxed) {
        eprintln!("{line}");
    }
    if journal.operations.len() == TOLD {
        journal.operations.pop_front();
    }
    journal.operations.push_back(line);
}

/// Tells what went wrong and ends the program.
pub(crate) fn fault(what: impl Display) -> ! {
    if TOLD_ALREADY.swap(true, Ordering::AcqRel) {
        // Another thread tells of its fault, and ends the program.
        std::thread::sleep(Duration::from_secs(120));
    }
    {
        let journal = JOURNAL
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        eprintln!("stress: {}", journal.world);
        eprintln!("stress: the last operations:");
        for line in &journal.operations {
            eprintln!("  {line}");
        }
        eprintln!("stress: FAULT in step {}: {what}", journal.step);
        let seed = journal.seed;
        eprintln!(
            "stress: again: cargo test --locked --all-features --test stress -- --seed {seed} --rounds 1"
        );
    }
    let thread = std::thread::current();
    eprintln!("stress: in thread {:?}", thread.name().unwrap_or("?"));
    std::process::abort();
}

/// Does `call`, which has to return in time.
pub(crate) fn watch<R>(what: &str, call: impl FnOnce() -> R) -> R {
    let id = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
    let entry = (what.to_owned(), Instant::now());
    CALLS.lock().unwrap().insert(id, entry);
    let result = call();
    CALLS.lock().unwrap().remove(&id);
    result
}

/// Waits until `holds`; a fault if it does not in time.
pub(crate) fn wait_until(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + *PATIENCE;
    while !holds() {
        if Instant::now() >= deadline {
            tell_threads();
            fault(format!("not in time: {}", what()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts the watchdog.
pub(crate) fn start_watchdog() {
    let watchdog = || loop {
        std::thread::sleep(Duration::from_millis(250));
        let hanging = {
            let calls = CALLS.lock().unwrap();
            let hangs = |(_, since): &&(String, Instant)| since.elapsed() > *PATIENCE;
            calls.values().find(hangs).cloned()
        };
        if let Some((what, _)) = hanging {
            tell_threads();
            fault(format!("the call does not return: {what}"));
        }
    };
    std::thread::Builder::new()
        .name("stress:watchdog".into())
        .spawn(watchdog)
        .unwrap();
}

/// Where each thread stands, if there is a debugger.
fn tell_threads() {
    let pid = std::process::id().to_string();
    let path = std::env::temp_dir().join(format!("dronetee-stress-{pid}.threads"));
    // Not through a pipe: this process stands still while the debugger writes.
    let Ok(file) = std::fs::File::create(&path) else {
        return;
    };
    let _ = Command::new("gdb")
        .args(["-p", &pid, "-batch", "-ex", "thread apply all bt 24"])
        .stdout(file)
        .stderr(Stdio::null())
        .status();
    let text = std::fs::read(&path).unwrap_or_default();
    let _ = std::fs::remove_file(&path);
    let is_of_use = |line: &&str| line.starts_with("Thread") || line.starts_with('#');
    for line in String::from_utf8_lossy(&text).lines().filter(is_of_use) {
        eprintln!("{line}");
    }
}

/// What is no fault of `dronetee`'s.
const KNOWN: [&str; 4] = [
    // A relink while GstPad pushes its sticky events: it takes those that the former peer got for received by the next
    // one, which gets them late. The witnesses look at what each frame comes with.
    "Sticky event misordering",
    // splitmuxsink says these at times, whatever is in front of it. Nothing else can: no NULL gets into GStreamer from
    // Rust.
    "gst_object_unref: assertion 'object != NULL' failed",
    "splitmuxsink will not work",
    "gst_pad_send_event: assertion 'GST_IS_PAD (pad)' failed",
];

/// True in a thread of splitmuxsink, which does not get on with flushes and second streams.
fn is_of_splitmuxsink() -> bool {
    let name = std::fs::read_to_string("/proc/thread-self/comm");
    name.is_ok_and(|name| name.starts_with("queue_video") || name.starts_with("muxer"))
}

/// Warnings and criticals of GLib, GObject and GStreamer are faults.
pub(crate) fn catch_log() {
    glib::log_set_default_handler(|domain, level, text| {
        let is_grave = matches!(
            level,
            glib::LogLevel::Error | glib::LogLevel::Critical | glib::LogLevel::Warning
        );
        let line = format!("{}: {text}", domain.unwrap_or("GLib"));
        let is_known = KNOWN.iter().any(|known| text.contains(known));
        if !is_grave || is_known || is_of_splitmuxsink() {
            return;
        }
        tell_threads();
        fault(format!("logged as {level:?}: {line}"));
    });
}
