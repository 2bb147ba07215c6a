// SPDX-License-Identifier: MPL-2.0
//! How a consumer in this process joins, with limits of its own.

use std::time::Duration;

use super::error::Error;
use super::limits;
use super::receiver::FrameReceiver;
use gst::subclass::prelude::*;

use crate::tee::{DroneTee, ReceiverLimits, Refusal};

/// How a new consumer joins, and its limits, see [`FramePublisher::consumer`](crate::FramePublisher::consumer).
#[must_use = "nothing happens before subscribe()"]
#[derive(Debug, Clone)]
pub struct ConsumerBuilder {
    tee: glib::WeakRef<DroneTee>,
    name: String,
    depth: u32,
    max_size_bytes: u32,
    max_size_time: Duration,
    max_age: Duration,
    max_lag: u64,
    gop_cache: bool,
}

impl ConsumerBuilder {
    pub(super) fn new(tee: glib::WeakRef<DroneTee>, name: &str) -> Self {
        Self {
            tee,
            name: name.to_owned(),
            depth: 0,
            max_size_bytes: 0,
            max_size_time: Duration::ZERO,
            max_age: Duration::ZERO,
            max_lag: 0,
            gop_cache: true,
        }
    }

    /// Frames that may wait, 1 to 4096; 0 (the default) for the element's `depth`.
    pub fn depth(self, depth: u32) -> Self {
        Self { depth, ..self }
    }

    /// Bytes that may wait, beside `depth`; one frame may always. 0 (the default) for no such limit.
    pub fn max_size_bytes(self, max_size_bytes: u32) -> Self {
        Self {
            max_size_bytes,
            ..self
        }
    }

    /// Running time that may wait, beside `depth`; one frame may always. Zero (the default) for no such
    /// limit.
    pub fn max_size_time(self, max_size_time: Duration) -> Self {
        Self {
            max_size_time,
            ..self
        }
    }

    /// Drop frames that waited longer; zero (the default) for never.
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Evict the consumer once it lost more frames than this by slowness; 0 (the default) for
    /// never.
    pub fn max_lag(self, max_lag: u64) -> Self {
        Self { max_lag, ..self }
    }

    /// Whether a consumer that joins late begins with the frames that the element keeps for such (its
    /// `gop-cache`), which is the default, or with the next frame.
    pub fn gop_cache(self, gop_cache: bool) -> Self {
        Self { gop_cache, ..self }
    }

    /// Joins the stream, as [`FramePublisher::subscribe`](crate::FramePublisher::subscribe) does.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::InvalidName`], [`Error::InvalidLimit`], [`Error::Gone`],
    /// [`Error::NotActivated`], [`Error::NotAdded`].
    pub fn subscribe(self) -> Result<FrameReceiver, Error> {
        let tee = self.tee.upgrade().ok_or(Error::Gone)?;
        let limits = ReceiverLimits {
            depth: limits::depth(self.depth)?,
            max_size_bytes: self.max_size_bytes,
            max_size_time: limits::max_size_time(self.max_size_time)?,
            max_age: limits::max_age(self.max_age)?,
            max_lag: self.max_lag,
            replays: self.gop_cache,
        };
        match tee.imp().add_receiver(&self.name, limits) {
            Ok(pad) => Ok(FrameReceiver::new(pad)),
            Err(refusal) => Err(why(refusal, self.name)),
        }
    }
}

fn why(refusal: Refusal, name: String) -> Error {
    match refusal {
        Refusal::InvalidName => Error::InvalidName(name),
        Refusal::NameTaken(_) => Error::NameTaken(name),
        Refusal::NotActivated(error) => Error::NotActivated(error.to_string()),
        Refusal::NotAdded(error) => Error::NotAdded(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Refusal, why};

    #[test]
    fn each_cause_is_an_error_of_its_own() {
        let name = || "a".to_owned();
        let cause = || glib::bool_error!("no thread");
        let by = Refusal::NameTaken("there is one".into());
        assert_eq!(why(by, name()), Error::NameTaken(name()));
        let invalid = why(Refusal::InvalidName, name());
        assert_eq!(invalid, Error::InvalidName(name()));
        let told = [
            (Refusal::NotActivated(cause()), "not activated"),
            (Refusal::NotAdded(cause()), "not added"),
        ]
        .map(|(refusal, said)| (why(refusal, name()).to_string(), said));
        for (error, said) in told {
            assert!(
                error.contains(said) && error.contains("no thread"),
                "{error}"
            );
        }
    }
}
