// SPDX-License-Identifier: MPL-2.0
//! When a frame was captured, by a clock that is not the pipeline's.

use std::time::{Duration, SystemTime};

/// From the beginning of NTP's time, 1900, to that of Unix time, 1970.
const NTP_TO_UNIX: Duration = Duration::from_secs(2_208_988_800);

/// A moment by a clock of its own, such as the camera's, from
/// [`Frame::reference_timestamp`](crate::Frame::reference_timestamp).
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceTimestamp {
    reference: gst::Caps,
    timestamp: gst::ClockTime,
    duration: Option<gst::ClockTime>,
}

impl ReferenceTimestamp {
    pub(super) fn new(meta: &gst::ReferenceTimestampMeta) -> Self {
        Self {
            reference: meta.reference().to_owned(),
            timestamp: meta.timestamp(),
            duration: meta.duration(),
        }
    }

    /// Which clock: `timestamp/x-ntp`, `timestamp/x-unix`, or another one's caps.
    pub fn reference(&self) -> &gst::Caps {
        &self.reference
    }

    /// The time by that clock, since its beginning (of `timestamp/x-ntp`: 1900).
    pub fn timestamp(&self) -> gst::ClockTime {
        self.timestamp
    }

    /// How long the frame lasts by that clock; `None` where it does not say.
    pub fn duration(&self) -> Option<gst::ClockTime> {
        self.duration
    }

    /// The moment as wall-clock time, if the clock is `timestamp/x-ntp` or `timestamp/x-unix`.
    pub fn to_system_time(&self) -> Option<SystemTime> {
        let time = Duration::from_nanos(self.timestamp.nseconds());
        let name = self.reference.structure(0)?.name();
        let since_unix = match name.as_str() {
            "timestamp/x-unix" => time,
            "timestamp/x-ntp" => time.checked_sub(NTP_TO_UNIX)?,
            _ => return None,
        };
        SystemTime::UNIX_EPOCH.checked_add(since_unix)
    }
}
