// SPDX-License-Identifier: MPL-2.0
//! One run of all that is compared: `report FILE [--soak FILE] [--only WORD]` writes FILE, Markdown, and its plots
//! into a folder of the same name. `scripts/bench.sh report` runs it.

mod coded;
mod demo;
#[path = "../../../../tests/it/common/ends.rs"]
mod ends;
mod fan;
mod measures;
mod section;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use section::Section;

type Failure = Box<dyn std::error::Error>;
type Measure = (&'static str, fn() -> Vec<Section>);

const MEASURES: [Measure; 7] = [
    ("publish", || vec![measures::publish()]),
    ("latency", measures::latencies),
    ("pool", || vec![measures::pool()]),
    ("memory", || vec![measures::memory()]),
    ("losses", || vec![coded::losses()]),
    ("joiners", || vec![coded::joiners()]),
    ("demo", || vec![demo::demo()]),
];

fn main() -> Result<(), Failure> {
    gst::init()?;
    gstdronetee::plugin_register_static()?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "demo") {
        demo::part(&arguments[1..]);
        return Ok(());
    }
    let file = arguments.first().ok_or("report FILE [--soak FILE]")?;
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let file = Path::new(file);
    let folder = file.with_extension("");
    std::fs::create_dir_all(&folder)?;
    let link = folder.file_name().ok_or("a file")?.to_string_lossy();
    let mut text = opening();
    let only = option("--only");
    for (name, measure) in MEASURES {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let begin = Instant::now();
        for section in measure() {
            section.write(&mut text, &folder, &link)?;
        }
        eprintln!("report: {name}, {:.0} s", begin.elapsed().as_secs_f64());
    }
    if let Some(soak) = option("--soak")
        && let Ok(figures) = std::fs::read_to_string(soak)
    {
        text.push_str(&soaked(&serde_json::from_str(&figures)?)?);
    }
    std::fs::write(file, text)?;
    Ok(())
}

/// What a script says in the environment, or a file of the kernel's.
fn known(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| "unknown".into())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut models = info.lines().filter(|line| line.starts_with("model name"));
    let count = models.clone().count();
    let model = models.next().and_then(|line| line.split(": ").nth(1));
    format!("{count} × {}", model.unwrap_or("unknown processor"))
}

fn opening() -> String {
    let (major, minor, micro, _) = gst::version();
    format!(
        "<!-- SPDX-License-Identifier: MPL-2.0 -->\n\
         # Benchmarks\n\n\
         `scripts/bench.sh report` wrote this from one run; call it to repeat that, on a machine that does nothing else.\n\n\
         {date}, dronetee {commit}, {processor}, {system}, GStreamer {major}.{minor}.{micro}, {rust}.\n\
         One minute before the run the load was {load}.\n\n\
         The contenders get the same frames in the same run. *dronetee* has pads, as *tee ! queue leaky* has; with a \
         *FrameReceiver* the consumer is a thread of the application, as behind *StreamProducer* (gstreamer-utils, \
         appsrc and appsink), *tokio broadcast* and *arcly-stream*. Queues hold four frames where nothing else is said.\n",
        date = known("REPORT_DATE"),
        commit = known("REPORT_COMMIT"),
        processor = processor(),
        system = known("REPORT_SYSTEM"),
        rust = known("REPORT_RUST"),
        load = known("REPORT_LOAD"),
    )
}

fn soaked(figures: &serde_json::Value) -> Result<String, Failure> {
    let mut text = String::new();
    let pair = |name: &str| {
        let at = |part: &str| figures[name][part].to_string();
        format!("| {} | {} |", at("first_third"), at("last_third"))
    };
    writeln!(
        text,
        "\n## A soak of {} minutes\n\n\
         `scripts/soak.sh`: a camera over RTSP; a coded and a decoded `dronetee`; a consumer that takes all, one that \
         stalls once a minute ({} times), one that failed {} times in a `dronebranch`, a receiver (it got {} frames \
         and lost {}), and {} joiners. {} summaries added up to the messages before them; {} faults.\n\n\
         | median | first third | last third |\n| --- | ---: | ---: |\n\
         | resident KiB {}\n| threads {}\n| file descriptors {}",
        figures["minutes"],
        figures["stalls"],
        figures["failures"],
        figures["receiver"]["frames"],
        figures["receiver"]["lost"],
        figures["joiners"],
        figures["summaries"],
        figures["faults"].as_array().map_or(0, Vec::len),
        pair("rss_kib"),
        pair("threads"),
        pair("files"),
    )?;
    Ok(text)
}
