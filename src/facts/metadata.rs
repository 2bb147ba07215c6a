// SPDX-License-Identifier: MPL-2.0
//! What a stream is, as plain data.

use std::time::SystemTime;

/// What a stream is: its format, when it started, and how far it is.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Metadata {
    /// How far the stream is.
    pub state: StreamState,
    /// How often the element went from READY to PAUSED; 0 before the first time.
    pub run: u64,
    /// When it did last.
    pub started_at: Option<SystemTime>,
    /// The caps of the frames that come now, as GStreamer writes them.
    pub caps: Option<String>,
    /// The kind of frames, `video/x-raw` or `video/x-h264` for example.
    pub media_type: Option<String>,
    /// The format of raw frames, `NV12` for example.
    pub format: Option<String>,
    /// Columns of the picture, in pixels.
    pub width: Option<u32>,
    /// Rows of the picture, in pixels.
    pub height: Option<u32>,
    /// Frames a second as the caps say; `None` where that is not fixed.
    pub frame_rate: Option<f64>,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum StreamState {
    /// The element is not running: it is in READY or NULL, or gone.
    #[default]
    Stopped,
    /// No frame has come yet.
    Waiting,
    /// Frames have come, and the end has not.
    Flowing,
    /// The end of the stream has come from upstream.
    Ended,
    /// The application has closed it, see [`FramePublisher::close`](crate::FramePublisher::close).
    Closed,
}

impl StreamState {
    /// All states, in the order in which a stream goes through them.
    pub const fn all() -> &'static [Self] {
        &[
            Self::Stopped,
            Self::Waiting,
            Self::Flowing,
            Self::Ended,
            Self::Closed,
        ]
    }

    /// The state of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::all().iter().copied();
        all.find(|state| state.name() == name)
    }

    /// The name as it is serialized.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Flowing => "flowing",
            Self::Ended => "ended",
            Self::Closed => "closed",
        }
    }
}

impl std::fmt::Display for StreamState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
