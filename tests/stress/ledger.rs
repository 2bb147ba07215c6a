// SPDX-License-Identifier: MPL-2.0
//! The accounts: each snapshot balances, and the drop messages add up to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gst::prelude::*;

use crate::fault::{fault, is_verbose};

/// A count that a structure has to have.
pub(crate) fn count(stats: &gst::StructureRef, name: &str) -> u64 {
    match stats.get::<u64>(name) {
        Ok(count) => count,
        Err(_) => stats
            .get::<u32>(name)
            .map(u64::from)
            .unwrap_or_else(|error| fault(format!("{name}: {error} in {stats}"))),
    }
}

fn reasons(stats: &gst::StructureRef) -> Vec<(String, u64)> {
    let names = stats.fields().map(|name| name.to_string());
    let dropped = names.filter(|name| name.starts_with("dropped-"));
    dropped
        .map(|name| (name.replace("dropped-", ""), count(stats, &name)))
        .collect()
}

/// `in == out + Σ dropped + waiting + in-flight`.
pub(crate) fn check_pad(stats: &gst::StructureRef) {
    let dropped: u64 = reasons(stats).iter().map(|(_, count)| count).sum();
    if dropped != count(stats, "dropped") {
        fault(format!("the reasons do not add up to dropped: {stats}"));
    }
    let [arrived, out, waiting, in_flight] =
        ["in", "out", "current-level-buffers", "in-flight"].map(|name| count(stats, name));
    if arrived != out + dropped + waiting + in_flight || in_flight > 1 {
        fault(format!("does not balance: {stats}"));
    }
}

/// The `stats` of a `dronetee`, whose pads all balance.
pub(crate) fn check_element(tee: &gst::Element) -> (gst::Structure, Vec<gst::Structure>) {
    let stats = tee.property::<gst::Structure>("stats");
    let consumers = stats.get::<gst::Array>("consumers").unwrap();
    let consumers = consumers
        .iter()
        .map(|pad| pad.get::<gst::Structure>().unwrap());
    let consumers: Vec<_> = consumers.collect();
    let mut dropped = 0;
    for pad in &consumers {
        check_pad(pad);
        dropped += count(pad, "dropped");
    }
    if dropped > count(&stats, "dropped") {
        fault(format!(
            "the element has fewer drops than its pads: {stats}"
        ));
    }
    (stats, consumers)
}

#[derive(Default, Clone, Copy)]
struct Sum {
    count: u64,
    /// The last life that it was added to.
    life: u64,
    /// The pad's accounts were told since: it may be another pad of the name, or life, that comes next.
    /// What is told of a pad that goes may come after the next one was asked for.
    closed: bool,
}

/// What the drop messages have told.
#[derive(Default)]
pub(crate) struct Told {
    sums: Mutex<HashMap<(String, String), Sum>>,
    /// The last messages, for a fault.
    last: Mutex<VecDeque<String>>,
    /// Counters may have started at zero so often, as the element or a pad of that name has.
    pub(crate) life: AtomicU64,
    /// No summary is compared: messages were off in this life.
    muted: AtomicBool,
}

impl Told {
    pub(crate) fn begin_life(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Messages may be off from now on, or are on for the whole life that begins.
    pub(crate) fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::SeqCst);
    }

    pub(crate) fn note(&self, message: &gst::StructureRef) {
        if is_verbose() {
            eprintln!("      {message}");
        }
        let life = self.life.load(Ordering::SeqCst);
        let mut last = self.last.lock().unwrap();
        if last.len() == 20 {
            last.pop_front();
        }
        last.push_back(format!("life {life}: {message}"));
        drop(last);
        match message.name().as_str() {
            "dronetee-drop" => self.note_drop(message),
            "dronetee-summary" => self.note_summary(message),
            _ => {}
        }
    }

    fn note_drop(&self, message: &gst::StructureRef) {
        let text = |name| message.get::<String>(name).unwrap();
        let (new, total) = (count(message, "count"), count(message, "total"));
        let life = self.life.load(Ordering::SeqCst);
        let mut sums = self.sums.lock().unwrap();
        let sum = sums.entry((text("pad"), text("reason"))).or_default();
        let restarted = (sum.life < life || sum.closed) && new == total;
        if new == 0 || sum.count + new != total && !restarted {
            let last = self.last.lock().unwrap();
            last.iter().for_each(|message| eprintln!("  {message}"));
            fault(format!(
                "told {} in life {} so far, but in {life}: {message}",
                sum.count, sum.life
            ));
        }
        *sum = Sum {
            count: total,
            // What goes on where an earlier life was is of that one: a frame may come back late.
            life: if restarted { life } else { sum.life },
            closed: false,
        };
    }

    fn note_summary(&self, summary: &gst::StructureRef) {
        check_pad(summary);
        let life = self.life.load(Ordering::SeqCst);
        if self.muted.load(Ordering::SeqCst) {
            return;
        }
        let pad = summary.get::<String>("pad").unwrap();
        let mut sums = self.sums.lock().unwrap();
        for (reason, counted) in reasons(summary) {
            let sum = sums.entry((pad.clone(), reason.clone())).or_default();
            // Another pad may have the name by now, of which nothing was told as this.
            if counted == 0 && (sum.life < life || sum.closed) {
                sum.count = 0;
            }
            sum.closed = true;
            if sum.count != counted {
                let told = sum.count;
                let last = self.last.lock().unwrap();
                last.iter().for_each(|message| eprintln!("  {message}"));
                fault(format!(
                    "the messages told {told} as {reason}, but: {summary}"
                ));
            }
        }
    }
}
