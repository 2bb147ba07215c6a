// SPDX-License-Identifier: MPL-2.0
//! The Rust side of a `dronetee` in a pipeline.

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::drive::{DriveError, Driven, FrameSink, Stop};
use super::error::Error;
use super::frame::{self, Frame};
use super::notices::Notices;
use super::receiver::FrameReceiver;
use super::subscription::ConsumerBuilder;
use crate::facts::{CloseReason, Health, Metadata, StreamState};
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

    /// A new consumer that gives what is kept for late joiners, and then each frame that comes, to `sink`,
    /// in the calling thread, until the stream is over, the sink fails or `stop` is set off.
    /// [`FrameReceiver::drive_to`] is for limits of its own.
    ///
    /// # Errors
    ///
    /// [`DriveError::Subscribe`] with the errors of [`subscribe`](Self::subscribe), or
    /// [`DriveError::Sink`].
    pub fn drive_to<S: FrameSink>(
        &self,
        name: &str,
        sink: &mut S,
        stop: &Stop,
    ) -> Result<Driven, DriveError<S::Error>> {
        let frames = self.subscribe(name).map_err(DriveError::Subscribe);
        frames?.drive_to(sink, stop).map_err(DriveError::Sink)
    }

    // ---- what is read ----------------------------------------------------------------------

    /// Frames that arrived at the element since READY→PAUSED; 0 when it is gone. Does not
    /// block.
    pub fn published(&self) -> u64 {
        self.tee().map_or(0, |tee| tee.imp().published())
    }

    /// How the stream and all its consumers do, in one snapshot; empty when the element is gone.
    /// Does not block. After a stop it tells of the run that was, until the next start.
    pub fn health(&self) -> Health {
        self.tee()
            .map_or_else(|_| Health::default(), |tee| tee.imp().health())
    }

    /// What the stream is and how far; [`Health::metadata`] alone. Does not block.
    pub fn metadata(&self) -> Metadata {
        self.tee()
            .map_or_else(|_| Metadata::default(), |tee| tee.imp().metadata())
    }

    /// How far the stream is; [`StreamState::Stopped`] when the element is gone. Does not block.
    pub fn state(&self) -> StreamState {
        self.metadata().state
    }

    /// The caps of the frames that come now; `None` before upstream sent any, and when the element is
    /// gone. Does not block.
    pub fn caps(&self) -> Option<gst::Caps> {
        self.tee().ok()?.imp().caps()
    }

    /// The element; `None` when it is gone. As long as the application has it, it is not. Does not block.
    pub fn element(&self) -> Option<gst::Element> {
        self.tee().ok().map(Cast::upcast)
    }

    /// How many consumers there are, branches and receivers, linked or not; 0 when the element is gone.
    /// Does not block.
    pub fn subscribers(&self) -> usize {
        self.tee().map_or(0, |tee| tee.num_src_pads().into())
    }

    /// The codec's headers as the caps have them: `codec_data`, and each buffer of `streamheader`. None
    /// for raw video, and for streams that carry their headers in their frames. Does not block.
    pub fn headers(&self) -> Vec<gst::Buffer> {
        self.caps().as_deref().map_or_else(Vec::new, headers_in)
    }

    /// The frames that the element keeps for late joiners (`gop-cache`): from the last keyframe on; none
    /// if it keeps none, and after a stop. No consumer is added, and nothing is counted; the frames count as `held`. Does not
    /// block.
    pub fn replay(&self) -> Vec<Frame> {
        let kept = self.tee().map(|tee| tee.imp().replay());
        kept.map_or_else(|_| Vec::new(), frame::kept)
    }

    /// What is told of the stream and its consumers from now on, until the element is gone. Does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn notices(&self) -> Result<Notices, Error> {
        let tee = self.tee()?;
        Ok(Notices::new(|observer| tee.imp().observe(observer)))
    }

    // ---- what it is told to do -------------------------------------------------------------

    /// Asks upstream for a keyframe at once; false if it was asked less than a second ago (for a
    /// consumer, or by this), if it does not take the request, or when the element is gone. Blocks as
    /// long as upstream takes for the event.
    pub fn request_keyframe(&self) -> bool {
        self.tee().is_ok_and(|tee| tee.imp().request_keyframe())
    }

    /// Ends the stream for all its consumers. Receivers take what waits, and close with
    /// [`CloseReason::PublisherClosed`]; branches get EOS behind what waits. Frames that come later are
    /// dropped as [`DropReason::Eos`](crate::DropReason::Eos), and upstream is answered EOS. A consumer
    /// that joins later is closed at once. Does not block; a second call does nothing.
    ///
    /// The next start of the element (READY→PAUSED) is a new stream, which is open; one that has begun is
    /// closed. Of an element that is not running, receivers that wait for its start are told that there is
    /// none ([`CloseReason::Failed`]).
    pub fn close(&self) {
        if let Ok(tee) = self.tee() {
            tee.imp().close(CloseReason::PublisherClosed);
        }
    }

    /// [`close()`](Self::close), but receivers close with [`CloseReason::Failed`]: for an application that
    /// hears of an error upstream on the bus. All that an element notices itself of such an error is the
    /// EOS that most sources send after it.
    pub fn fail(&self) {
        if let Ok(tee) = self.tee() {
            tee.imp().close(CloseReason::Failed);
        }
    }

    /// The consumer whose branch a message of the bus comes from, an element's of a `dronebranch` too;
    /// `None` for a message from elsewhere. Does not block.
    pub fn consumer_of(&self, message: &gst::Message) -> Option<String> {
        let tee = self.tee().ok()?;
        crate::dronebranch::consumer_of(tee.upcast_ref(), message)
    }
}

/// The buffers of a codec's headers.
fn headers_in(caps: &gst::CapsRef) -> Vec<gst::Buffer> {
    let Some(first) = caps.structure(0) else {
        return Vec::new();
    };
    let data = first.get::<gst::Buffer>("codec_data").ok();
    let stream = first.get::<gst::Array>("streamheader").ok();
    let stream = stream.iter().flat_map(|headers| headers.iter());
    let stream = stream.filter_map(|header| header.get::<gst::Buffer>().ok());
    data.into_iter().chain(stream).collect()
}
