// SPDX-License-Identifier: MPL-2.0
//! The Rust side of a `dronetee` in a pipeline.

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::error::Error;
use super::receiver::FrameReceiver;
use super::subscription::ConsumerBuilder;
use crate::facts::Health;
use crate::tee::{self, DroneTee};

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
    /// The publisher of a `dronetee`, for example one found by name in a parsed pipeline. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Error::NotADroneTee`] for any other element.
    pub fn new(element: &gst::Element) -> Result<Self, Error> {
        match tee::dronetee(element) {
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
    /// It may join before the stream starts or while frames flow, and waits for neither the stream
    /// nor another consumer. The application's handlers for a new pad are called before this
    /// returns. [`consumer`](Self::consumer) is for limits of its own.
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
        ConsumerBuilder::new(self.tee.clone(), name)
    }

    /// Frames that arrived at the element since READY→PAUSED; 0 when it is gone. Does not
    /// block.
    pub fn published(&self) -> u64 {
        self.tee().map_or(0, |tee| tee.imp().published())
    }

    /// How the stream and all its consumers do, in one snapshot; empty when the element is gone.
    /// Does not block.
    pub fn health(&self) -> Health {
        self.tee()
            .map_or_else(|_| Health::default(), |tee| tee.imp().health())
    }

    /// The consumer whose branch a message of the bus comes from, an element's of a `dronebranch` too;
    /// `None` for a message from elsewhere. Does not block.
    pub fn consumer_of(&self, message: &gst::Message) -> Option<String> {
        let tee = self.tee().ok()?;
        crate::dronebranch::consumer_of(tee.upcast_ref(), message)
    }
}
