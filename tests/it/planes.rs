// SPDX-License-Identifier: MPL-2.0
//! Planes with their geometry: what a row is, wherever its bytes lie.

use crate::common::{init, wait_for};
use crate::source::{DEADLINE, Source};
use gst::prelude::*;
use gst_video::prelude::*;
use gstdronetee::{Error, Frame, FramePublisher};

fn info(format: gst_video::VideoFormat, width: u32, height: u32) -> gst_video::VideoInfo {
    init();
    gst_video::VideoInfo::builder(format, width, height)
        .fps(gst::Fraction::new(30, 1))
        .build()
        .unwrap()
}

fn through(info: &gst_video::VideoInfo, buffer: gst::Buffer) -> Frame {
    let source = Source::started(Some(&info.to_caps().unwrap()));
    let mut frames = source.publisher.subscribe("only").unwrap();
    source.publish_buffer(buffer);
    frames.recv_timeout(DEADLINE).unwrap()
}

/// A buffer whose bytes count up, with rows that far apart.
fn padded(info: &gst_video::VideoInfo, padding: usize) -> gst::Buffer {
    let rows = |n: usize| info.comp_height(n as u8) as usize;
    let strides: Vec<i32> = info.stride().iter().map(|s| s + padding as i32).collect();
    let mut size = 3;
    let mut offsets = Vec::new();
    for (n, stride) in strides.iter().enumerate() {
        offsets.push(size);
        size += *stride as usize * rows(n);
    }
    let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
    let mut buffer = gst::Buffer::from_slice(bytes);
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )
    .unwrap();
    buffer
}

/// Width, height, bytes of a row, bytes from pixel to pixel.
type Expected = (usize, usize, usize, Option<usize>);

#[test]
fn a_plane_has_its_own_units() {
    use gst_video::VideoFormat as F;
    let cases: [(F, u32, u32, &[Expected]); 12] = [
        (
            F::I420,
            64,
            48,
            &[
                (64, 48, 64, Some(1)),
                (32, 24, 32, Some(1)),
                (32, 24, 32, Some(1)),
            ],
        ),
        // Odd sizes have a chroma sample more.
        (
            F::I420,
            33,
            17,
            &[
                (33, 17, 33, Some(1)),
                (17, 9, 17, Some(1)),
                (17, 9, 17, Some(1)),
            ],
        ),
        (
            F::Nv12,
            64,
            48,
            &[(64, 48, 64, Some(1)), (32, 24, 64, Some(2))],
        ),
        (
            F::Nv12,
            33,
            17,
            &[(33, 17, 33, Some(1)), (17, 9, 34, Some(2))],
        ),
        (
            F::P01010le,
            64,
            48,
            &[(64, 48, 128, Some(2)), (32, 24, 128, Some(4))],
        ),
        (F::Rgb, 33, 17, &[(33, 17, 99, Some(3))]),
        // What fills up a pixel belongs to it.
        (F::Bgrx, 33, 17, &[(33, 17, 132, Some(4))]),
        (F::Xrgb, 33, 17, &[(33, 17, 132, Some(4))]),
        (F::Yuy2, 33, 17, &[(33, 17, 68, Some(2))]),
        (F::Rgb16, 33, 17, &[(33, 17, 66, Some(2))]),
        (F::Gray16Le, 33, 17, &[(33, 17, 66, Some(2))]),
        // Six pixels in 16 bytes, rows of whole 128.
        (F::V210, 48, 8, &[(48, 8, 128, None)]),
    ];
    for (format, width, height, expected) in cases {
        let info = info(format, width, height);
        for padding in [0, 5, 64] {
            let buffer = match padding {
                0 => gst::Buffer::from_slice(vec![7; info.size()]),
                _ => padded(&info, padding),
            };
            let frame = through(&info, buffer.clone());
            let planes = frame.planes().unwrap();
            assert_eq!(planes.len(), expected.len());
            assert_eq!(planes.len(), frame.n_planes());
            let map = buffer.map_readable().unwrap();
            for (n, (plane, expected)) in planes.iter().zip(expected).enumerate() {
                let geometry = (
                    plane.width(),
                    plane.height(),
                    plane.row_bytes(),
                    plane.pixel_stride(),
                );
                assert_eq!(geometry, *expected, "{format:?} {width}x{height} plane {n}");
                let stride = info.stride()[n] as usize + padding;
                assert_eq!(plane.stride(), stride, "{format:?}");
                assert_eq!(frame.video_info().unwrap().stride()[n], stride as i32);
                assert_eq!(plane.rows().len(), plane.height());
                let start = plane.data().as_ptr() as usize - map.as_ptr() as usize;
                for (y, row) in plane.rows().enumerate() {
                    let at = start + y * stride;
                    assert_eq!(row, &map[at..at + plane.row_bytes()]);
                    assert_eq!(plane.row(y), Some(row));
                }
                assert!(
                    plane
                        .rows()
                        .rev()
                        .eq(plane.rows().collect::<Vec<_>>().into_iter().rev())
                );
                assert_eq!(plane.row(plane.height()), None);
                assert_eq!(plane.row(usize::MAX), None);
                let packed = plane.packed();
                assert!(packed.iter().eq(plane.rows().flatten()));
                let shared = packed.as_ptr() == plane.data().as_ptr();
                assert_eq!(shared, plane.is_packed(), "{format:?} {padding}");
            }
        }
    }
}

#[test]
fn video_frames_have_the_strides_of_the_buffer() {
    let info = info(gst_video::VideoFormat::I420, 64, 48);
    let frame = through(&info, padded(&info, 5));
    let mapped = frame.video_frame().unwrap();
    assert_eq!(mapped.plane_stride(), [69, 37, 37]);
    for (n, plane) in frame.planes().unwrap().iter().enumerate() {
        let theirs = mapped.plane_data(n as u32).unwrap();
        assert_eq!(theirs.as_ptr(), plane.data().as_ptr());
    }
    // A tiled format has no rows, but a video frame.
    let tiled = self::info(gst_video::VideoFormat::Nv1264z32, 128, 64);
    let frame = through(&tiled, gst::Buffer::from_slice(vec![0; tiled.size()]));
    assert_eq!(frame.plane(0).unwrap_err(), Error::Layout);
    assert_eq!(frame.video_frame().unwrap().n_planes(), 2);
    // Too small, or none at all.
    let short = through(&info, gst::Buffer::from_slice(vec![0; 100]));
    assert_eq!(short.video_frame().map(|_| ()).unwrap_err(), Error::Map);
}

/// Metadata of another picture would be read beyond its rows.
#[test]
fn metadata_that_contradict_the_caps_are_an_error() {
    let info = info(gst_video::VideoFormat::I420, 64, 48);
    for (format, width, height) in [
        (gst_video::VideoFormat::Yv12, 64, 48),
        (gst_video::VideoFormat::I420, 32, 48),
        (gst_video::VideoFormat::I420, 64, 24),
    ] {
        let mut buffer = gst::Buffer::from_slice(vec![0; info.size()]);
        gst_video::VideoMeta::add(
            buffer.get_mut().unwrap(),
            gst_video::VideoFrameFlags::empty(),
            format,
            width,
            height,
        )
        .unwrap();
        let frame = through(&info, buffer);
        assert_eq!(frame.plane(0).unwrap_err(), Error::Layout);
        assert_eq!(frame.video_frame().map(|_| ()).unwrap_err(), Error::Layout);
    }
    // A row can not be shorter than its pixels.
    let mut buffer = gst::Buffer::from_slice(vec![0; info.size()]);
    let (offsets, strides) = ([0, 3072, 3840], [63, 32, 32]);
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        64,
        48,
        &offsets,
        &strides,
    )
    .unwrap();
    let frame = through(&info, buffer);
    assert_eq!(frame.plane(0).unwrap_err(), Error::Layout);
    assert!(frame.plane(1).is_ok());
}

/// Fields come one by one: each has half of the rows.
#[test]
fn a_field_has_half_of_the_rows() {
    init();
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 64, 48)
        .interlace_mode(gst_video::VideoInterlaceMode::Alternate)
        .fps(gst::Fraction::new(25, 1))
        .build()
        .unwrap();
    let frame = through(&info, gst::Buffer::from_slice(vec![0; info.size()]));
    let heights: Vec<_> = frame.planes().unwrap().iter().map(|p| p.height()).collect();
    assert_eq!(heights, [24, 12, 12]);
}

/// The first picture that a decoder makes of a test pattern, and what `videoconvert` makes of the same:
/// the one in padded rows, the other in plain ones.
#[test]
fn a_decoder_s_padded_rows_are_read_right() {
    init();
    let line = "videotestsrc num-buffers=3 pattern=smpte \
         ! video/x-raw,format=I420,width=322,height=242 ! x264enc tune=zerolatency ! h264parse \
         ! tee name=split \
         split. ! queue ! avdec_h264 max-threads=1 ! dronetee name=t gop-cache=1 depth=8 \
         split. ! queue ! avdec_h264 max-threads=1 ! videoconvert ! video/x-raw,format=GRAY8 \
                ! videoconvert ! video/x-raw,format=I420 ! appsink name=plain sync=false";
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let publisher = FramePublisher::new(&pipeline.by_name("t").unwrap()).unwrap();
    let mut frames = publisher.subscribe("a").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let plain = pipeline.by_name("plain").unwrap();
    let plain = plain.downcast::<gst_app::AppSink>().unwrap();
    for _ in 0..3 {
        let frame = frames.recv_timeout(DEADLINE).unwrap();
        let luma = frame.plane(0).unwrap();
        assert_eq!((luma.width(), luma.height()), (322, 242));
        // Else this tests nothing.
        assert!(luma.stride() > 324, "{}", luma.stride());
        assert!(!luma.is_packed());
        let sample = plain.pull_sample().unwrap();
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let buffer = sample.buffer_owned().unwrap();
        let theirs = gst_video::VideoFrame::from_buffer_readable(buffer, &info).unwrap();
        let stride = theirs.plane_stride()[0] as usize;
        for (y, row) in luma.rows().enumerate() {
            let other = &theirs.plane_data(0).unwrap()[y * stride..][..322];
            assert_eq!(row, other, "row {y}");
        }
    }
    wait_for("the end", || frames.try_recv().is_err());
    pipeline.set_state(gst::State::Null).unwrap();
}
