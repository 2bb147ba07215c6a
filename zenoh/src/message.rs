// SPDX-License-Identifier: MPL-2.0
//! What goes over the link: `foxglove.CompressedVideo` in CDR, and the attachment beside it.

use std::time::Duration;

use cdr_encoding::to_vec_with_size_hint;
use serde::Serialize;

/// Encapsulation of plain CDR, little-endian: it stands before what is encoded.
const CDR_LE: [u8; 4] = [0, 1, 0, 0];

/// Name of the schema, as the encoding of each message says.
pub(crate) const SCHEMA: &str = "foxglove.CompressedVideo";

#[derive(Serialize)]
struct Time {
    sec: i32,
    nanosec: u32,
}

#[derive(Serialize)]
struct CompressedVideo<'a> {
    timestamp: Time,
    frame_id: &'a str,
    data: &'a [u8],
    format: &'a str,
}

/// One access unit as a message. `captured` is since 1970.
///
/// # Errors
///
/// A time beyond 2038, or more data than a CDR sequence can hold.
pub(crate) fn compressed_video(
    captured: Duration,
    frame_id: &str,
    data: &[u8],
    format: &str,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let message = CompressedVideo {
        timestamp: Time {
            sec: i32::try_from(captured.as_secs())?,
            nanosec: captured.subsec_nanos(),
        },
        frame_id,
        data,
        format,
    };
    let size = data.len() + frame_id.len() + format.len() + 32;
    let body = to_vec_with_size_hint::<_, byteorder::LittleEndian>(&message, size)?;
    Ok([&CDR_LE[..], &body].concat())
}

/// What a receiver needs to know age and loss: three 64-bit little-endian numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Number of the frame in the stream.
    pub(crate) sequence: u64,
    /// When it was taken, since 1970.
    pub(crate) captured: Duration,
    /// How many frames were not sent since the message before.
    pub(crate) lost_before: u64,
}

impl Attachment {
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let captured = u64::try_from(self.captured.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; 24];
        let numbers = [self.sequence, captured, self.lost_before];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that rosbags 0.11 (Python) decodes to these values and encodes them to; the ground's
    /// tests decode every live message with it.
    #[test]
    fn a_message_is_what_a_known_decoder_takes() {
        let captured = Duration::new(0x0102_0304, 0x0506_0708);
        let message = compressed_video(captured, "cam", &[0xaa, 0xbb, 0xcc], "h264").unwrap();
        let known = include_bytes!("../tests/compressed_video.cdr");
        assert_eq!(message, known);
    }

    #[test]
    fn an_attachment_is_three_numbers() {
        let bytes = Attachment {
            sequence: 1,
            captured: Duration::from_nanos(0x0203),
            lost_before: 4,
        }
        .to_bytes();
        let expected = [
            1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
    }
}
