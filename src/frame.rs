// SPDX-License-Identifier: MPL-2.0
//! A frame as a [`FrameReceiver`](crate::FrameReceiver) gets it.

use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

/// Caps of a frame, with what they say about raw video.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) caps: gst::Caps,
    pub(crate) info: Option<gst_video::VideoInfo>,
}

/// One frame: the publisher's memory, shared with all other consumers and never copied.
///
/// A clone is another reference. The buffer goes back to its pool when the last frame, and the
/// last [`Bytes`] made of it, are gone.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(crate) buffer: gst::Buffer,
    pub(crate) format: Option<Arc<Format>>,
    pub(crate) seq: u64,
    pub(crate) lost_before: u64,
}

/// Mapped memory together with the buffer that it belongs to.
struct Pixels {
    // Unmapped before the buffer goes back to its pool.
    map: gst::MappedMemory<gst::memory::Readable>,
    _buffer: gst::Buffer,
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        self.map.as_slice()
    }
}

impl Frame {
    /// The buffer, with its metadata.
    pub fn buffer(&self) -> &gst::Buffer {
        &self.buffer
    }

    /// When the frame is to be shown, in the time of its segment.
    pub fn pts(&self) -> Option<gst::ClockTime> {
        self.buffer.pts()
    }

    /// The caps of the frame.
    pub fn caps(&self) -> Option<&gst::Caps> {
        self.format.as_ref().map(|format| &format.caps)
    }

    /// Size, format and frame rate, if the frame is raw video.
    pub fn video_info(&self) -> Option<&gst_video::VideoInfo> {
        self.format.as_ref()?.info.as_ref()
    }

    /// Which frame of the stream this is: frames published before it since READY→PAUSED.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How many frames this consumer lost since the frame before.
    pub fn lost_before(&self) -> u64 {
        self.lost_before
    }

    /// All bytes of the frame, mapped and not copied.
    ///
    /// Device memory is mapped by this call, which can take its time. Strides and offsets are in
    /// the buffer's `VideoMeta` or, without one, in [`video_info`](Self::video_info).
    ///
    /// # Errors
    ///
    /// [`Error::SeveralMemories`] if the frame is not in one memory, see [`plane`](Self::plane);
    /// [`Error::Map`] if it cannot be read.
    pub fn pixels(&self) -> Result<Bytes, Error> {
        match self.buffer.n_memory() {
            0 => Ok(Bytes::new()),
            1 => self.map(0),
            _ => Err(Error::SeveralMemories),
        }
    }

    /// The bytes of a plane (stride × rows of it), mapped and not copied.
    ///
    /// # Errors
    ///
    /// [`Error::NotRawVideo`], [`Error::NoSuchPlane`], [`Error::Map`], or
    /// [`Error::SeveralMemories`] if the plane itself is in more than one.
    pub fn plane(&self, plane: usize) -> Result<Bytes, Error> {
        let info = self.video_info().ok_or(Error::NotRawVideo)?;
        if plane >= info.n_planes() as usize {
            return Err(Error::NoSuchPlane(plane));
        }
        let (offset, stride) = match self.buffer.meta::<gst_video::VideoMeta>() {
            Some(meta) => (
                *meta.offset().get(plane).ok_or(Error::NoSuchPlane(plane))?,
                *meta.stride().get(plane).ok_or(Error::NoSuchPlane(plane))?,
            ),
            None => (info.offset()[plane], info.stride()[plane]),
        };
        let stride = usize::try_from(stride).map_err(|_| Error::NotRawVideo)?;
        let size = stride * rows(info, plane);
        // The last row may end early; a byte in its memory is enough to find it.
        let Some((memories, skip)) = self.buffer.find_memory(offset..offset + 1) else {
            return Err(Error::Map);
        };
        let bytes = self.map(memories.start)?;
        let end = (skip + size).min(bytes.len());
        let starts = |other: usize| offset < other && other < offset + size;
        let next = info.offset().iter().any(|other| starts(*other));
        if skip + size > bytes.len() && memories.start + 1 < self.buffer.n_memory() && !next {
            return Err(Error::SeveralMemories);
        }
        Ok(bytes.slice(skip..end))
    }

    fn map(&self, index: usize) -> Result<Bytes, Error> {
        let memory = self.buffer.memory(index).ok_or(Error::Map)?;
        let map = memory
            .into_mapped_memory_readable()
            .map_err(|_| Error::Map)?;
        Ok(Bytes::from_owner(Pixels {
            map,
            _buffer: self.buffer.clone(),
        }))
    }
}

/// Rows of a plane, subsampling taken into account.
fn rows(info: &gst_video::VideoInfo, plane: usize) -> usize {
    let format = info.format_info();
    let component = format.plane().iter().position(|p| *p as usize == plane);
    let subsampled = component.and_then(|c| format.h_sub().get(c)).copied();
    (info.height() as usize).div_ceil(1 << subsampled.unwrap_or(0))
}
