// SPDX-License-Identifier: MPL-2.0
//! A frame as a [`FrameReceiver`](crate::FrameReceiver) gets it.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::Error;
use crate::tee::Handle;

/// Caps of a frame, with what they say about raw video.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) caps: gst::Caps,
    pub(super) info: Option<gst_video::VideoInfo>,
}

/// One frame: the publisher's memory, shared with all other consumers and never copied.
///
/// A clone is another reference. The buffer goes back to its pool when the last frame, and the
/// last [`Bytes`] made of it, are gone. Nothing here blocks but the mapping of device memory.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(super) buffer: gst::Buffer,
    pub(super) format: Option<Arc<Format>>,
    pub(super) seq: u64,
    pub(super) lost_before: u64,
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

/// Where a plane lies in the bytes of the buffer.
struct Layout {
    offset: usize,
    size: usize,
    /// What there has to be of that: the last row may end with its pixels.
    least: usize,
}

impl Frame {
    /// The buffer, with its metadata.
    pub fn buffer(&self) -> &gst::Buffer {
        &self.buffer
    }

    /// When the frame is to be shown, ns in the time of its segment; `None` where upstream set none.
    pub fn pts(&self) -> Option<gst::ClockTime> {
        self.buffer.pts()
    }

    /// The caps of the frame; `None` where upstream sent none.
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

    /// How many frames this consumer lost since the frame that it got before.
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

    /// The bytes of a plane, mapped and not copied: stride × rows of it, less what the last row
    /// lacks of its stride.
    ///
    /// Only the memory that the plane is in is mapped.
    ///
    /// # Errors
    ///
    /// [`Error::NotRawVideo`], [`Error::NoSuchPlane`], [`Error::Layout`], [`Error::Map`], or
    /// [`Error::SeveralMemories`] if the plane itself is in more than one.
    pub fn plane(&self, plane: usize) -> Result<Bytes, Error> {
        let Layout {
            offset,
            size,
            least,
        } = self.layout(plane)?;
        let (memories, skip) = self
            .buffer
            .find_memory(offset..offset + 1)
            .ok_or(Error::Layout)?;
        let memory = memories.start;
        let available = self.buffer.peek_memory(memory).size() - skip;
        if available < size {
            let last = memory + 1 == self.buffer.n_memory();
            if !last && !self.plane_begins(offset + available) {
                return Err(Error::SeveralMemories);
            }
            if available < least {
                return Err(Error::Layout);
            }
        }
        Ok(self.map(memory)?.slice(skip..skip + size.min(available)))
    }

    fn layout(&self, plane: usize) -> Result<Layout, Error> {
        let info = self.video_info().ok_or(Error::NotRawVideo)?;
        let planes = self.planes(info);
        let (offset, stride) = *planes.get(plane).ok_or(Error::NoSuchPlane(plane))?;
        if info.format_info().is_tiled() {
            return Err(Error::Layout);
        }
        // Rows from the bottom up have a negative stride.
        let stride = usize::try_from(stride).map_err(|_| Error::Layout)?;
        let rows = rows(info, plane);
        let size = stride.checked_mul(rows).filter(|size| *size > 0);
        let size = size.ok_or(Error::Layout)?;
        offset.checked_add(size).ok_or(Error::Layout)?;
        let row = row_bytes(info, plane).map_or(stride, |row| row.min(stride));
        Ok(Layout {
            offset,
            size,
            least: size - stride + row,
        })
    }

    /// Offsets and strides of the planes.
    fn planes(&self, info: &gst_video::VideoInfo) -> SmallVec<[(usize, i32); 4]> {
        let pairs = |offsets: &[usize], strides: &[i32]| {
            let offsets = offsets.iter().take(info.n_planes() as usize).copied();
            offsets.zip(strides.iter().copied()).collect()
        };
        match self.buffer.meta::<gst_video::VideoMeta>() {
            Some(meta) => pairs(meta.offset(), meta.stride()),
            None => pairs(info.offset(), info.stride()),
        }
    }

    fn plane_begins(&self, at: usize) -> bool {
        self.video_info()
            .is_some_and(|info| self.planes(info).iter().any(|(offset, _)| *offset == at))
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

/// Bytes from the first pixel of a row to the end of its last, where pixels are whole bytes apart.
fn row_bytes(info: &gst_video::VideoInfo, plane: usize) -> Option<usize> {
    let format = info.format_info();
    let components = 0..info.n_components() as usize;
    let of_plane = components.filter(|c| format.plane()[*c] as usize == plane);
    let ends = of_plane.map(|c| {
        let pixels = format.scale_width(c as u8, info.width()) as usize;
        let apart = usize::try_from(format.pixel_stride()[c]).ok()?;
        let bits = format.depth()[c] + format.shift()[c];
        let bytes = bits.div_ceil(8) as usize;
        let apart = Some(apart).filter(|apart| *apart > 0)?;
        Some(format.poffset()[c] as usize + pixels.checked_sub(1)? * apart + bytes)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Rows of a plane, subsampling and fields taken into account.
fn rows(info: &gst_video::VideoInfo, plane: usize) -> usize {
    let format = info.format_info();
    let mut components = format.plane().iter().take(info.n_components() as usize);
    match components.position(|p| *p as usize == plane) {
        Some(component) => format.scale_height(component as u8, info.field_height()) as usize,
        // No component lies in a palette of 256 colours.
        None => 256,
    }
}
