// SPDX-License-Identifier: MPL-2.0
//! A frame as a [`FrameReceiver`](crate::FrameReceiver) gets it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::error::Error;
use super::plane::{Layout, Plane, Region};
use super::reference::ReferenceTimestamp;
use crate::fanout::Kept;
use crate::tee::{Handle, Item, Replayed, now};

/// What was in force when a frame came.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) caps: Option<gst::Caps>,
    /// What they say about raw video.
    pub(super) info: Option<gst_video::VideoInfo>,
    pub(super) segment: Option<gst::Segment>,
}

impl Context {
    /// Events in their order among the frames.
    pub(super) fn note(&mut self, event: &gst::EventRef) {
        match event.view() {
            gst::EventView::Caps(caps) => {
                let caps = caps.caps_owned();
                // Coded video is video too, but has no planes.
                self.info = gst_video::VideoInfo::from_caps(&caps)
                    .ok()
                    .filter(|info| info.format() != gst_video::VideoFormat::Encoded);
                self.caps = Some(caps);
            }
            gst::EventView::Segment(segment) => self.segment = Some(segment.segment().clone()),
            _ => {}
        }
    }
}

/// One frame: the publisher's memory, shared with all other consumers and never copied.
///
/// A clone is another reference. The buffer goes back to its pool when the last frame, and the
/// last [`Bytes`] and [`Plane`] made of it, are gone; until then it counts as `held`. It may be kept as
/// long as one likes, beyond its receiver and its pipeline, on any thread: nothing here blocks but the
/// mapping of device memory, and nothing ends with the stream.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(super) buffer: gst::Buffer,
    pub(super) context: Arc<Context>,
    pub(super) seq: u64,
    pub(super) run: u64,
    pub(super) lost_before: u64,
    /// When it was published, monotonic ns.
    pub(super) arrived: u64,
    /// The context's, with the strides of this buffer, where these are others.
    pub(super) own_info: OnceLock<Option<Box<gst_video::VideoInfo>>>,
    // After the buffer: as long as this lives, the buffer counts as out.
    pub(super) handle: Arc<Handle>,
}

/// Mapped memory together with the buffer that it belongs to.
struct Pixels {
    // Unmapped before the buffer goes back to its pool.
    map: gst::MappedMemory<gst::memory::Readable>,
    _buffer: gst::Buffer,
    _handle: Arc<Handle>,
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        self.map.as_slice()
    }
}

/// What is known of the frame, without looking at its pixels.
impl Frame {
    /// The buffer, with its metadata and flags.
    ///
    /// A reference of the application's own to it (`frame.buffer().to_owned()`) is not known here,
    /// and does not count as `held`.
    pub fn buffer(&self) -> &gst::Buffer {
        &self.buffer
    }

    /// The buffer without the frame around it, for example for an `appsrc`.
    ///
    /// It does not count as `held` any more: if the application keeps buffers of a small pool, it
    /// sets the element's `max-held` lower by that many.
    pub fn into_buffer(self) -> gst::Buffer {
        self.buffer
    }

    /// The frame as an `appsink` would give it: the buffer with its caps and its segment. For the
    /// sample holds what is said of [`into_buffer()`](Self::into_buffer).
    pub fn to_sample(&self) -> gst::Sample {
        gst::Sample::builder()
            .buffer(&self.buffer)
            .caps_if_some(self.context.caps.as_ref())
            .segment_if_some(self.context.segment.as_ref())
            .build()
    }

    /// When the frame is to be shown, in the time of its segment; `None` where upstream set none.
    pub fn pts(&self) -> Option<gst::ClockTime> {
        self.buffer.pts()
    }

    /// When the frame is to be decoded, in the time of its segment; `None` where upstream set none,
    /// which is usual for raw video.
    pub fn dts(&self) -> Option<gst::ClockTime> {
        self.buffer.dts()
    }

    /// How long the frame is shown; `None` where upstream set none.
    pub fn duration(&self) -> Option<gst::ClockTime> {
        self.buffer.duration()
    }

    /// When the frame is to be shown, as time since the pipeline began to play; `None` where the frame
    /// has no time, or one outside of its segment.
    pub fn running_time(&self) -> Option<gst::ClockTime> {
        let segment = self.context.segment.as_ref()?;
        let segment = segment.downcast_ref::<gst::ClockTime>()?;
        segment.to_running_time(self.buffer.pts()?)
    }

    /// How long ago the frame was published: its wait in the queue, and what it took since then.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.arrived))
    }

    /// When the frame was captured by another clock, where the buffer says so: the first of its
    /// [`reference_timestamps()`](Self::reference_timestamps).
    ///
    /// `rtspsrc add-reference-timestamp-meta=true` adds the camera's NTP time.
    pub fn reference_timestamp(&self) -> Option<ReferenceTimestamp> {
        self.reference_timestamps().next()
    }

    /// All reference timestamps of the frame, in the order in which upstream has added them: the
    /// camera's NTP time among others, for example.
    pub fn reference_timestamps(&self) -> impl Iterator<Item = ReferenceTimestamp> + '_ {
        let metas = self.buffer.iter_meta::<gst::ReferenceTimestampMeta>();
        metas.map(|meta| ReferenceTimestamp::new(&meta))
    }

    /// False for a delta frame, which needs every frame back to the last keyframe; true for every
    /// frame of raw video.
    pub fn is_keyframe(&self) -> bool {
        !self.has(gst::BufferFlags::DELTA_UNIT)
    }

    /// True if it does not continue the frame that this consumer got before: after a loss, a seek or
    /// a restart. Memory that cannot be shared is passed on unmarked: [`lost_before()`] tells of losses
    /// in any case.
    ///
    /// [`lost_before()`]: Self::lost_before
    pub fn is_discont(&self) -> bool {
        self.has(gst::BufferFlags::DISCONT)
    }

    /// True if upstream says that the data is damaged, as a decoder does of a picture that it had to
    /// guess at.
    pub fn is_corrupted(&self) -> bool {
        self.has(gst::BufferFlags::CORRUPTED)
    }

    /// True if it stands for a gap in the stream, and its pixels mean nothing.
    pub fn is_gap(&self) -> bool {
        self.has(gst::BufferFlags::GAP)
    }

    fn has(&self, flag: gst::BufferFlags) -> bool {
        self.buffer.flags().contains(flag)
    }

    /// The caps of the frame; `None` where upstream sent none.
    pub fn caps(&self) -> Option<&gst::Caps> {
        self.context.caps.as_ref()
    }

    /// Which frame of the stream this is: frames published before it since READY→PAUSED.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Which run of the stream this is of: how often the element went from READY to PAUSED, from 1.
    /// Where it differs from the last frame's, the pipeline was restarted, and
    /// [`seq()`](Self::seq) began anew.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// How many frames this consumer lost since the frame that it got before, or since it joined. A
    /// restart begins at zero.
    pub fn lost_before(&self) -> u64 {
        self.lost_before
    }
}

/// The pixels.
impl Frame {
    /// Size, format and frame rate, with the strides and offsets of this very buffer; `None` if the
    /// frame is not raw video.
    ///
    /// Strides differ from those of `VideoInfo::from_caps` where rows are padded.
    pub fn video_info(&self) -> Option<&gst_video::VideoInfo> {
        let info = self.context.info.as_ref()?;
        let own = self
            .own_info
            .get_or_init(|| own_info(&self.buffer, info).map(Box::new));
        Some(own.as_deref().unwrap_or(info))
    }

    /// All bytes of the frame as they are in memory, mapped and not copied.
    ///
    /// For coded video this is the access unit. Of raw video it is all planes with all padding, of which
    /// nothing is known here: [`plane()`](Self::plane) has the rows. Device memory is mapped by this
    /// call, which can take its time.
    ///
    /// # Errors
    ///
    /// [`Error::SeveralMemories`] if the frame is not in one memory, see [`plane()`](Self::plane);
    /// [`Error::Map`] if it cannot be read.
    pub fn pixels(&self) -> Result<Bytes, Error> {
        match self.buffer.n_memory() {
            0 => Ok(Bytes::new()),
            1 => self.map(0),
            _ => Err(Error::SeveralMemories),
        }
    }

    /// How many planes the frame has; 0 if it is not raw video.
    pub fn n_planes(&self) -> usize {
        let info = self.context.info.as_ref();
        info.map_or(0, |info| info.n_planes() as usize)
    }

    /// A plane with its rows, mapped and not copied. A crop that the buffer asks for (its
    /// `VideoCropMeta`) is applied: these are the rows of the picture that is to be shown.
    ///
    /// Only the memory that the plane is in is mapped, by this call, which can take its time where it
    /// is a device's.
    ///
    /// # Errors
    ///
    /// [`Error::NotRawVideo`], [`Error::NoSuchPlane`], [`Error::Layout`] (among others of tiled
    /// formats, of `DMA_DRM`, and where a crop begins within a chroma sample), [`Error::Map`], or [`Error::SeveralMemories`] if the plane itself is
    /// in more than one.
    pub fn plane(&self, plane: usize) -> Result<Plane, Error> {
        let info = self.video_info().ok_or(Error::NotRawVideo)?;
        let region = Region::of(&self.buffer, info)?;
        let Layout {
            offset,
            size,
            least,
            geometry,
        } = Layout::of(info, plane, region)?;
        self.check_meta(info)?;
        let (memories, skip) = self
            .buffer
            .find_memory(offset..offset + 1)
            .ok_or(Error::Layout)?;
        let memory = memories.start;
        let available = self.buffer.peek_memory(memory).size() - skip;
        if available < size {
            let last = memory + 1 == self.buffer.n_memory();
            let next_begins = info.offset().contains(&(offset + available));
            if !last && !next_begins {
                return Err(Error::SeveralMemories);
            }
            if available < least {
                return Err(Error::Layout);
            }
        }
        let data = self.map(memory)?.slice(skip..skip + size.min(available));
        Ok(Plane::new(data, geometry))
    }

    /// All planes, each as [`plane()`](Self::plane) gives it; none if the frame is not raw video.
    ///
    /// # Errors
    ///
    /// Those of [`plane()`](Self::plane), for the first plane that has one.
    pub fn planes(&self) -> Result<Vec<Plane>, Error> {
        (0..self.n_planes()).map(|n| self.plane(n)).collect()
    }

    /// The frame for code that is written against `gstreamer-video`, with all planes mapped, tiled
    /// formats too. It borrows the frame; strides and offsets are this buffer's. It is the whole picture
    /// in memory, also where the buffer asks for a crop.
    ///
    /// # Errors
    ///
    /// [`Error::NotRawVideo`], [`Error::Layout`] if the buffer's metadata contradict its caps,
    /// [`Error::Map`] if it cannot be read or is too small.
    pub fn video_frame(&self) -> Result<gst_video::VideoFrameRef<&gst::BufferRef>, Error> {
        let info = self.video_info().ok_or(Error::NotRawVideo)?;
        self.check_meta(info)?;
        if !info.is_valid() {
            return Err(Error::Layout);
        }
        gst_video::VideoFrameRef::from_buffer_ref_readable(&self.buffer, info)
            .map_err(|_| Error::Map)
    }

    /// The buffer's own description is of frames like this.
    fn check_meta(&self, info: &gst_video::VideoInfo) -> Result<(), Error> {
        let Some(meta) = self.buffer.meta::<gst_video::VideoMeta>() else {
            return Ok(());
        };
        let fits = meta.format() == info.format()
            && meta.width() >= info.width()
            && meta.height() >= info.field_height();
        fits.then_some(()).ok_or(Error::Layout)
    }

    fn map(&self, index: usize) -> Result<Bytes, Error> {
        let memory = self.buffer.memory(index).ok_or(Error::Map)?;
        let map = memory
            .into_mapped_memory_readable()
            .map_err(|_| Error::Map)?;
        Ok(Bytes::from_owner(Pixels {
            map,
            _buffer: self.buffer.clone(),
            _handle: self.handle.clone(),
        }))
    }
}

/// `info` with the strides and offsets that the buffer has for itself, if it has any.
fn own_info(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Option<gst_video::VideoInfo> {
    let meta = buffer.meta::<gst_video::VideoMeta>()?;
    let (offsets, strides) = (meta.offset(), meta.stride());
    let planes = info.n_planes() as usize;
    let is_same = offsets == &info.offset()[..planes] && strides == &info.stride()[..planes];
    if meta.format() != info.format() || offsets.len() != planes || is_same {
        return None;
    }
    let own = gst_video::VideoInfo::builder_from_info(info);
    own.offset(offsets).stride(strides).build().ok()
}

/// The frames among what is kept for late joiners.
pub(super) fn kept(kept: Replayed) -> Vec<Frame> {
    let mut context = Arc::<Context>::default();
    let frames = kept.into_iter().filter_map(|(one, handle)| match one {
        Kept::Event(Item::Event(event)) => {
            Arc::make_mut(&mut context).note(&event);
            None
        }
        Kept::Event(Item::Query(_)) => None,
        Kept::Frame {
            frame,
            sequence,
            run,
            arrived,
            ..
        } => Some(Frame {
            buffer: frame,
            context: context.clone(),
            seq: sequence,
            run,
            lost_before: 0,
            arrived,
            own_info: OnceLock::new(),
            handle: handle?,
        }),
    });
    frames.collect()
}
