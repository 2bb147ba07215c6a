// SPDX-License-Identifier: MPL-2.0
//! One plane of a picture: its bytes together with how they are laid out.

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::Error;

/// One plane of a raw video frame: its rows, and how far they are apart in memory.
///
/// The bytes are the publisher's own memory, not a copy, and keep it alive. Rows are
/// [`stride()`](Self::stride) bytes apart, which is often more than a row's pixels take: decoders and
/// cameras pad rows. [`rows()`](Self::rows) and [`row()`](Self::row) leave the padding out, so that
/// there is no stride to get wrong:
///
/// ```
/// # fn example(frame: &gstdronetee::Frame) -> Result<(), gstdronetee::Error> {
/// let luma = frame.plane(0)?;
/// let sum: u64 = luma.rows().flatten().map(|pixel| u64::from(*pixel)).sum();
/// let mean = sum as f64 / (luma.width() * luma.height()) as f64;
/// # Ok(())
/// # }
/// ```
///
/// What a plane is, by format: three for I420 (luma, and two of half its width and height), two for
/// NV12 (the second has half as many columns of two bytes each), one for RGB, BGRx, YUY2 and the like.
///
/// A clone is another reference. Nothing here blocks, and nothing here ends with the stream.
#[derive(Debug, Clone)]
pub struct Plane {
    data: Bytes,
    geometry: Geometry,
}

impl Plane {
    pub(super) fn new(data: Bytes, geometry: Geometry) -> Self {
        Self { data, geometry }
    }

    /// All bytes from the first pixel of the first row to the end of the last row, the padding
    /// between rows included. The last row may lack its padding.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// [`data()`](Self::data), which keeps the memory alive without this.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// Bytes from the beginning of a row to that of the next one; at least
    /// [`row_bytes()`](Self::row_bytes).
    pub fn stride(&self) -> usize {
        self.geometry.stride
    }

    /// Pixels in a row of this plane: fewer than the picture's where the plane is subsampled.
    ///
    /// In a packed format of several samples to a pixel (YUY2), these are the luma samples; in the
    /// palette of an 8-bit RGB format, 1.
    pub fn width(&self) -> usize {
        self.geometry.width
    }

    /// Rows of this plane: fewer than the picture's where the plane is subsampled, or has one field
    /// only.
    pub fn height(&self) -> usize {
        self.geometry.height
    }

    /// Bytes that the pixels of a row take, without padding.
    pub fn row_bytes(&self) -> usize {
        self.geometry.row_bytes
    }

    /// Bytes from a pixel to the next one in a row; `None` for formats whose pixels are not whole
    /// bytes apart (v210, NV12_10LE32 and the like).
    pub fn pixel_stride(&self) -> Option<usize> {
        self.geometry.pixel_stride
    }

    /// True if there is no padding between rows: [`data()`](Self::data) is the pixels and nothing
    /// else, but for what may be behind the last row.
    pub fn is_packed(&self) -> bool {
        self.geometry.stride == self.geometry.row_bytes || self.geometry.height == 1
    }

    /// The pixels of row `y`, counted from the top; `None` beyond the last one.
    pub fn row(&self, y: usize) -> Option<&[u8]> {
        if y >= self.geometry.height {
            return None;
        }
        let start = y.checked_mul(self.geometry.stride)?;
        self.data
            .get(start..start.checked_add(self.geometry.row_bytes)?)
    }

    /// The pixels of each row, from the top down, each slice [`row_bytes()`](Self::row_bytes) long.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            plane: self,
            left: 0..self.geometry.height,
        }
    }

    /// All rows without padding between them, `height × row_bytes` bytes: shared if they are in
    /// memory like that, else a copy, as a library that knows no stride needs it.
    pub fn packed(&self) -> Bytes {
        let Geometry {
            height, row_bytes, ..
        } = self.geometry;
        if self.is_packed() {
            return self.data.slice(..height * row_bytes);
        }
        let mut packed = Vec::with_capacity(height * row_bytes);
        self.rows().for_each(|row| packed.extend_from_slice(row));
        packed.into()
    }
}

impl<'a> IntoIterator for &'a Plane {
    type Item = &'a [u8];
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.rows()
    }
}

/// The rows of a [`Plane`], from the top down. Made by [`Plane::rows`].
#[must_use = "iterators are lazy"]
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    plane: &'a Plane,
    left: std::ops::Range<usize>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.plane.row(self.left.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<&'a [u8]> {
        self.plane.row(self.left.nth(n)?)
    }
}

impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.plane.row(self.left.next_back()?)
    }
}

impl ExactSizeIterator for Rows<'_> {}
impl std::iter::FusedIterator for Rows<'_> {}

/// How the rows of a plane are laid out; all but the rows in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    stride: usize,
    /// Pixels.
    width: usize,
    /// Rows.
    height: usize,
    row_bytes: usize,
    pixel_stride: Option<usize>,
}

/// The part of the picture that is to be shown, in pixels and rows: all of it, or what a crop leaves.
#[derive(Clone, Copy)]
pub(super) struct Region {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Region {
    /// Of the pictures of `info`, of which `buffer` is one.
    pub(super) fn of(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Result<Self, Error> {
        let (all_columns, all_rows) = (info.width(), info.field_height());
        let Some(crop) = buffer.meta::<gst_video::VideoCropMeta>() else {
            return Ok(Self {
                x: 0,
                y: 0,
                width: all_columns,
                height: all_rows,
            });
        };
        let (x, y, width, height) = crop.rect();
        let meta = buffer.meta::<gst_video::VideoMeta>();
        let (columns, rows) = match meta {
            Some(meta) if all_rows == info.height() => (meta.width(), meta.height()),
            _ => (all_columns, all_rows),
        };
        let fits = |start: u32, length: u32, all: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= all)
        };
        match fits(x, width, columns) && fits(y, height, rows) && is_whole_sample(info, x, y) {
            true => Ok(Self {
                x,
                y,
                width,
                height,
            }),
            false => Err(Error::Layout),
        }
    }
}

/// In each component, a sample begins at this pixel.
fn is_whole_sample(info: &gst_video::VideoInfo, x: u32, y: u32) -> bool {
    let format = info.format_info();
    let subsampled = format.w_sub().iter().zip(format.h_sub());
    let mut own = subsampled.take(info.n_components() as usize);
    own.all(|(across, down)| x.trailing_zeros() >= *across && y.trailing_zeros() >= *down)
}

/// Where a plane lies in the bytes of its buffer.
pub(super) struct Layout {
    pub(super) offset: usize,
    /// With the padding of the last row.
    pub(super) size: usize,
    /// Without it: so many bytes there have to be.
    pub(super) least: usize,
    pub(super) geometry: Geometry,
}

impl Layout {
    /// Of a plane of `info`, by the strides and offsets in it; of its `region` only.
    pub(super) fn of(
        info: &gst_video::VideoInfo,
        plane: usize,
        region: Region,
    ) -> Result<Self, Error> {
        let planes = info.offset().iter().zip(info.stride());
        let (offset, stride) = planes.take(info.n_planes() as usize).nth(plane).ok_or(
            // Opaque formats (DMA_DRM) have none.
            match info.n_planes() {
                0 => Error::Layout,
                _ => Error::NoSuchPlane(plane),
            },
        )?;
        if info.format_info().is_tiled() {
            return Err(Error::Layout);
        }
        // Rows from the bottom up have a negative stride.
        let stride = usize::try_from(*stride).map_err(|_| Error::Layout)?;
        let (geometry, begin) = Geometry::of(info, plane, stride, region).ok_or(Error::Layout)?;
        let (above, left) = begin;
        let all = stride.checked_mul(geometry.height);
        let all = all.filter(|all| *all > 0).ok_or(Error::Layout)?;
        if left + geometry.row_bytes > stride {
            return Err(Error::Layout);
        }
        let size = all - left;
        let begin = above.checked_mul(stride).and_then(|above| {
            let begin = offset.checked_add(above)?.checked_add(left)?;
            begin.checked_add(size).is_some().then_some(begin)
        });
        Ok(Self {
            offset: begin.ok_or(Error::Layout)?,
            size,
            least: all - stride + geometry.row_bytes,
            geometry,
        })
    }
}

impl Geometry {
    /// With the rows above the region, and the bytes left of it. `None` where a row does not begin at a
    /// whole byte.
    fn of(
        info: &gst_video::VideoInfo,
        plane: usize,
        stride: usize,
        region: Region,
    ) -> Option<(Self, (usize, usize))> {
        let format = info.format_info();
        let components = 0..info.n_components() as usize;
        let own: SmallVec<[usize; 4]> = components
            .filter(|c| format.plane()[*c] as usize == plane)
            .collect();
        let first = match own.first() {
            Some(first) if !(format.has_palette() && plane == 1) => first,
            // 256 colours, one after the other.
            _ => return Some((Self::of_palette(stride), (0, 0))),
        };
        let pixels = |c: &usize| format.scale_width(*c as u8, region.width) as usize;
        let rows = |rows: u32| format.scale_height(*first as u8, rows) as usize;
        let apart = |c: &usize| usize::try_from(format.pixel_stride()[*c]).unwrap_or_default();
        let pixel_stride = Some(apart(first)).filter(|apart| *apart > 0);
        // All samples of a pixel and what fills it up: an odd width of YUY2 has a chroma sample more.
        let needed = own.iter().map(|c| pixels(c) * apart(c)).max();
        let row_bytes = match pixel_stride {
            Some(_) => needed.unwrap_or(stride),
            None => packed_stride(info, plane, region).map_or(stride, |packed| packed.min(stride)),
        };
        let left = match pixel_stride {
            _ if region.x == 0 => 0,
            Some(apart) => format.scale_width(*first as u8, region.x) as usize * apart,
            None => return None,
        };
        let geometry = Self {
            stride,
            width: pixels(first),
            height: rows(region.height),
            row_bytes,
            pixel_stride,
        };
        Some((geometry, (rows(region.y), left)))
    }

    fn of_palette(stride: usize) -> Self {
        Self {
            stride,
            width: 1,
            height: 256,
            row_bytes: 4,
            pixel_stride: Some(4),
        }
    }
}

/// The stride of the format itself, where pixels are not whole bytes apart: its rows take so many
/// bytes at most.
fn packed_stride(info: &gst_video::VideoInfo, plane: usize, region: Region) -> Option<usize> {
    let plain = gst_video::VideoInfo::builder(info.format(), region.width, region.height);
    let stride = *plain.build().ok()?.stride().get(plane)?;
    usize::try_from(stride).ok()
}
