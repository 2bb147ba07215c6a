// SPDX-License-Identifier: MPL-2.0
//! The properties: names, units, defaults, and when they may be set.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use glib::prelude::*;
use gst::prelude::*;

use super::lock;
use super::state::PadState;
use crate::facts::{ConsumerLimits, DropReason};
use crate::fanout::{Limits, ReportConfig};

pub(super) const DEFAULT_DEPTH: u32 = 4;
pub(crate) const MAX_DEPTH: u32 = 4096;
const DEFAULT_ALLOW_NOT_LINKED: bool = true;
const DEFAULT_GOP_CACHE: u32 = 0;
const DEFAULT_POST_DROP_MESSAGES: bool = true;
const DEFAULT_DROP_MESSAGES_INTERVAL: u32 = 1000;
const DEFAULT_QOS_MESSAGES: bool = false;
pub(super) const DEFAULT_STALL_TIMEOUT: u64 = 2_000_000_000;
const DEFAULT_MAX_HELD: u32 = 0;
const DEFAULT_ENABLED: bool = true;
const DEFAULT_LOSS_EVENTS: bool = false;
const DEFAULT_SILENT: bool = true;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) depth: u32,
    pub(super) allow_not_linked: bool,
    pub(super) gop_cache: u32,
    pub(super) post_drop_messages: bool,
    pub(super) drop_messages_interval: u32,
    pub(super) qos_messages: bool,
    pub(super) stall_timeout: u64,
    pub(super) max_held: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            depth: DEFAULT_DEPTH,
            allow_not_linked: DEFAULT_ALLOW_NOT_LINKED,
            gop_cache: DEFAULT_GOP_CACHE,
            post_drop_messages: DEFAULT_POST_DROP_MESSAGES,
            drop_messages_interval: DEFAULT_DROP_MESSAGES_INTERVAL,
            qos_messages: DEFAULT_QOS_MESSAGES,
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            max_held: DEFAULT_MAX_HELD,
        }
    }
}

impl Settings {
    /// How drops are told; `notifies` if a pad's property is to be notified.
    pub(super) fn report(&self, notifies: bool) -> ReportConfig {
        ReportConfig {
            drops: self.post_drop_messages || self.qos_messages || notifies,
            messages: self.post_drop_messages,
            interval: u64::from(self.drop_messages_interval) * 1_000_000,
            stall_timeout: self.stall_timeout,
        }
    }
}

/// The element's settings, which its pads read too.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedSettings(Arc<Mutex<Settings>>);

impl SharedSettings {
    pub(super) fn get(&self) -> Settings {
        lock(&self.0).clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.0));
    }
}

#[derive(Debug, Clone)]
pub(super) struct PadSettings {
    /// `None`: the pad's name without `src_`.
    pub(super) consumer: Option<String>,
    /// Zero: the element's.
    pub(super) depth: u32,
    pub(super) max_size_bytes: u32,
    pub(super) max_size_time: u64,
    pub(super) max_age: u64,
    pub(super) max_lag: u64,
    pub(super) enabled: bool,
    pub(super) loss_events: bool,
    pub(super) silent: bool,
    /// Of a receiver: it joins with the frames that are kept for late joiners.
    pub(super) replays: bool,
}

impl Default for PadSettings {
    fn default() -> Self {
        Self {
            consumer: None,
            depth: 0,
            max_size_bytes: 0,
            max_size_time: 0,
            max_age: 0,
            max_lag: 0,
            enabled: DEFAULT_ENABLED,
            loss_events: DEFAULT_LOSS_EVENTS,
            silent: DEFAULT_SILENT,
            replays: true,
        }
    }
}

impl PadSettings {
    pub(super) fn limits(&self, element_depth: u32) -> Limits {
        let depth = if self.depth == 0 {
            element_depth
        } else {
            self.depth
        };
        Limits {
            depth: depth.into(),
            bytes: self.max_size_bytes.into(),
            time: self.max_size_time,
            max_age: self.max_age,
            max_lag: self.max_lag,
        }
    }
}

/// Limits that are in force, as plain data.
pub(super) fn plain_limits(limits: &Limits) -> ConsumerLimits {
    ConsumerLimits {
        depth: limits.depth,
        max_size_bytes: limits.bytes,
        max_size_time: Duration::from_nanos(limits.time),
        max_age: Duration::from_nanos(limits.max_age),
        max_lag: limits.max_lag,
    }
}

/// The name of the property that counts the drops of `reason`.
pub(super) fn dropped_name(reason: DropReason) -> String {
    format!("dropped-{reason}")
}

fn read_u64(name: &str, nick: &str, blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(nick)
        .blurb(blurb)
        .read_only()
        .build()
}

pub(super) fn element() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("depth")
            .nick("Depth")
            .blurb("Frames that may wait per consumer before the oldest is dropped")
            .minimum(1)
            .maximum(MAX_DEPTH)
            .default_value(DEFAULT_DEPTH)
            .mutable_playing()
            .build(),
        read_u64(
            "published",
            "Published",
            "Frames that arrived at the sink pad since READY to PAUSED",
        ),
        read_u64(
            "dropped",
            "Dropped",
            "Frames dropped over all consumers since READY to PAUSED, released ones included",
        ),
        glib::ParamSpecInt::builder("num-src-pads")
            .nick("Num Src Pads")
            .blurb("The number of source pads")
            .minimum(0)
            .read_only()
            .build(),
        glib::ParamSpecBoolean::builder("allow-not-linked")
            .nick("Allow not linked")
            .blurb("Return GST_FLOW_OK even if there are no source pads or they are all unlinked")
            .default_value(DEFAULT_ALLOW_NOT_LINKED)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("gop-cache")
            .nick("GOP cache")
            .blurb(
                "Frames kept for consumers that join later, from the last keyframe on; for raw \
                 video the last frame (0 = off)",
            )
            .maximum(MAX_DEPTH)
            .default_value(DEFAULT_GOP_CACHE)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("post-drop-messages")
            .nick("Post drop messages")
            .blurb("Post a dronetee-drop element message when a consumer loses frames")
            .default_value(DEFAULT_POST_DROP_MESSAGES)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("drop-messages-interval")
            .nick("Drop messages interval")
            .blurb(
                "Least time in milliseconds between two drop messages of a consumer and reason \
                 (0 = a message for every drop)",
            )
            .default_value(DEFAULT_DROP_MESSAGES_INTERVAL)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("qos-messages")
            .nick("QoS messages")
            .blurb("Also post GstQoS messages with the pad as source when a consumer loses frames")
            .default_value(DEFAULT_QOS_MESSAGES)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("stall-timeout")
            .nick("Stall timeout")
            .blurb(
                "Time in nanoseconds that a frame may be in flight before its consumer counts as \
                 stalled (0 = never)",
            )
            .default_value(DEFAULT_STALL_TIMEOUT)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("max-held")
            .nick("Max. held")
            .blurb(
                "Frames of upstream's that may be out at once over all consumers, each counted \
                 once (0 = found out: two less than upstream's pool has; 4294967295 = no limit)",
            )
            .default_value(DEFAULT_MAX_HELD)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("held")
            .nick("Held")
            .blurb("Frames of upstream's that are out now, each counted once")
            .read_only()
            .build(),
        stats(
            "application/x-dronetee-stats: the stream's figures and all consumers' in one snapshot",
        ),
    ]
}

fn stats(blurb: &str) -> glib::ParamSpec {
    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
        .nick("Statistics")
        .blurb(blurb)
        .read_only()
        .build()
}

pub(super) fn pad() -> Vec<glib::ParamSpec> {
    let mut specs = pad_settings();
    specs.extend([
        read_u64("in", "In", "Frames that arrived since the pad joined"),
        read_u64("out", "Out", "Frames whose push returned OK"),
        read_u64(
            "in-flight",
            "In flight",
            "Frames handed to the branch whose push has not returned (0 or 1)",
        ),
        read_u64("dropped", "Dropped", "Frames dropped for any reason"),
    ]);
    specs.extend(DropReason::ALL.map(|reason| {
        let blurb = match reason {
            DropReason::Slow => "Frames dropped: the queue was full and the oldest gave way",
            DropReason::Stale => "Frames dropped: waited longer than max-age",
            DropReason::WaitingKeyframe => "Frames dropped: coded, and their reference was lost",
            DropReason::NotLinked => "Frames dropped: no peer, or the branch said NOT_LINKED",
            DropReason::Flushing => "Frames dropped: discarded by a flush, a stop or a release",
            DropReason::Eos => "Frames dropped: the branch had said EOS",
            DropReason::Error => "Frames dropped: the branch had said an error",
            DropReason::Evicted => "Frames dropped: the consumer was evicted",
            DropReason::Pool => "Frames dropped: given back so that upstream's pool lasts",
            DropReason::Disabled => "Frames dropped: the gate was closed (enabled=false)",
        };
        let name = dropped_name(reason);
        read_u64(&name, &format!("Dropped ({reason})"), blurb)
    }));
    specs.extend(pad_levels());
    specs
}

fn pad_settings() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("consumer")
            .nick("Consumer")
            .blurb(
                "Name in tags and messages, unique in the element (default: the pad's name without \
                 src_, src_0 stays)",
            )
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("depth")
            .nick("Depth")
            .blurb("Frames that may wait before the oldest is dropped (0 = the element's depth)")
            .maximum(MAX_DEPTH)
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("max-size-bytes")
            .nick("Max. size (bytes)")
            .blurb("Bytes that may wait; one frame may always (0 = no limit)")
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("max-size-time")
            .nick("Max. size (ns)")
            .blurb("Running time in nanoseconds that may wait; one frame may always (0 = no limit)")
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("max-age")
            .nick("Max. age (ns)")
            .blurb("Frames that waited longer than this, in nanoseconds, are dropped (0 = off)")
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("max-lag")
            .nick("Max. lag (frames)")
            .blurb("The consumer is evicted, and its branch sent EOS, once dropped-slow passes this many frames (0 = never)")
            .default_value(0)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("enabled")
            .nick("Enabled")
            .blurb(
                "FALSE: the gate is closed, the branch gets events but no frames, which are counted as \
                 disabled",
            )
            .default_value(DEFAULT_ENABLED)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("loss-events")
            .nick("Loss events")
            .blurb(
                "Before the first frame after a loss, send the branch a serialized custom event \
                 dronetee-loss: count, frames lost since the last frame, and sequence, the number of the \
                 frame that follows (both guint64)",
            )
            .default_value(DEFAULT_LOSS_EVENTS)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("silent")
            .nick("Silent")
            .blurb("Do not notify the property dropped (as often as drop messages are posted)")
            .default_value(DEFAULT_SILENT)
            .mutable_playing()
            .build(),
    ]
}

fn pad_levels() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecUInt::builder("current-level-buffers")
            .nick("Current level (buffers)")
            .blurb("Frames that wait")
            .read_only()
            .build(),
        glib::ParamSpecUInt::builder("current-level-bytes")
            .nick("Current level (bytes)")
            .blurb("Bytes of the frames that wait")
            .read_only()
            .build(),
        read_u64(
            "current-level-time",
            "Current level (ns)",
            "Running time of the frames that wait, in nanoseconds",
        ),
        glib::ParamSpecBoolean::builder("is-healthy")
            .nick("Is healthy")
            .blurb("FALSE while stalled, failed or evicted; notified")
            .default_value(true)
            .read_only()
            .build(),
        glib::ParamSpecEnum::builder::<PadState>("state")
            .nick("State")
            .blurb("How the consumer does; notified")
            .read_only()
            .build(),
        glib::ParamSpecEnum::builder_with_default("last-flow", gst::FlowReturn::Ok)
            .nick("Last flow")
            .blurb("What the branch last answered to a frame")
            .read_only()
            .build(),
        stats("application/x-dronetee-pad-stats: the consumer's figures in one snapshot"),
    ]
}
