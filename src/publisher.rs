// SPDX-License-Identifier: MPL-2.0
//! The Rust side of a `dronetee` in a pipeline.

use std::time::Duration;

use glib::prelude::*;
use gst::prelude::*;

use crate::tee::{DroneTee, MAX_DEPTH, ReceiverLimits, Refusal};
use crate::{Error, FrameReceiver, Health};

/// The three consumers that a drone has.
pub mod consumers {
    /// Finds things in the picture.
    pub const DETECTION_CLIENT: &str = "detection_client";
    /// Finds what moves.
    pub const MOVEMENT_DETECTOR: &str = "movement_detector";
    /// Reports to the ground.
    pub const TELEMETRY: &str = "telemetry";
}

/// Gives frames of a `dronetee` to consumers in this process, without an appsink.
///
/// It does not keep the element alive (a [`FrameReceiver`] does), and may be cloned and used from
/// any thread.
#[derive(Debug, Clone)]
pub struct FramePublisher {
    tee: glib::WeakRef<DroneTee>,
}

impl FramePublisher {
    /// The publisher of a `dronetee`, for example one found by name in a parsed pipeline.
    ///
    /// # Errors
    ///
    /// [`Error::NotADroneTee`] for any other element.
    pub fn new(element: &gst::Element) -> Result<Self, Error> {
        match DroneTee::of(element) {
            Some(tee) => Ok(Self {
                tee: tee.downgrade(),
            }),
            None => {
                let factory = element.factory().map(|factory| factory.name());
                let name = factory.unwrap_or_else(|| element.name());
                Err(Error::NotADroneTee(name.into()))
            }
        }
    }

    fn tee(&self) -> Result<DroneTee, Error> {
        self.tee.upgrade().ok_or(Error::Gone)
    }

    /// A new consumer with the element's limits; its pad is `src_<name>`.
    ///
    /// It may join before the stream starts or while frames flow. [`consumer`](Self::consumer) is
    /// for limits of its own.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::InvalidName`], [`Error::Gone`], [`Error::NotActivated`],
    /// [`Error::NotAdded`].
    pub fn subscribe(&self, name: &str) -> Result<FrameReceiver, Error> {
        self.consumer(name).subscribe()
    }

    /// A new consumer with limits of its own, which joins by
    /// [`subscribe`](ConsumerBuilder::subscribe).
    ///
    /// ```no_run
    /// # fn example(publisher: gstdronetee::FramePublisher) -> Result<(), gstdronetee::Error> {
    /// let mut frames = publisher
    ///     .consumer("recorder")
    ///     .depth(30)
    ///     .max_age(std::time::Duration::from_secs(1))
    ///     .subscribe()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumer(&self, name: &str) -> ConsumerBuilder {
        ConsumerBuilder {
            publisher: self.clone(),
            name: name.to_owned(),
            depth: 0,
            max_age: Duration::ZERO,
            max_lag: 0,
        }
    }

    /// Frames that arrived at the element since READY→PAUSED; 0 when it is gone.
    pub fn published(&self) -> u64 {
        self.tee().map_or(0, |tee| tee.totals().published)
    }

    /// How the stream and all its consumers do, in one snapshot; empty when the element is gone.
    pub fn health(&self) -> Health {
        self.tee()
            .map_or_else(|_| Health::default(), |tee| tee.health())
    }
}

/// Limits for a new consumer, see [`FramePublisher::consumer`].
#[must_use = "nothing happens before subscribe()"]
#[derive(Debug, Clone)]
pub struct ConsumerBuilder {
    publisher: FramePublisher,
    name: String,
    depth: u32,
    max_age: Duration,
    max_lag: u64,
}

impl ConsumerBuilder {
    /// Frames that may wait, 1 to 4096; 0 (the default) for the element's `depth`.
    pub fn depth(self, depth: u32) -> Self {
        Self { depth, ..self }
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

    /// Joins the stream.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`], [`Error::InvalidName`], [`Error::InvalidLimit`], [`Error::Gone`],
    /// [`Error::NotActivated`], [`Error::NotAdded`].
    pub fn subscribe(self) -> Result<FrameReceiver, Error> {
        let tee = self.publisher.tee()?;
        if self.depth > MAX_DEPTH {
            return Err(Error::InvalidLimit("depth is beyond 4096"));
        }
        let max_age = u64::try_from(self.max_age.as_nanos())
            .map_err(|_| Error::InvalidLimit("max-age is beyond 584 years"))?;
        let limits = ReceiverLimits {
            depth: self.depth,
            max_age,
            max_lag: self.max_lag,
        };
        match tee.add_receiver(&self.name, limits) {
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
