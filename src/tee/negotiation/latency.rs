// SPDX-License-Identifier: MPL-2.0
//! LATENCY: what the queues can hold, and which depth would do.

use gst::prelude::*;

/// How long a frame of these caps lasts, where they tell.
pub(in crate::tee) fn frame_duration(caps: &gst::CapsRef) -> Option<gst::ClockTime> {
    let rate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    let (numer, denom) = (
        u64::try_from(rate.numer()).ok()?,
        u64::try_from(rate.denom()).ok()?,
    );
    // 0/1 is a variable rate.
    (numer != 0).then(|| gst::ClockTime::SECOND.mul_div_floor(denom, numer))?
}

/// How long what a buffer holds lasts, where the caps tell: a frame, or one of its two fields.
pub(in crate::tee) fn buffer_duration(caps: &gst::CapsRef) -> Option<gst::ClockTime> {
    let frame = frame_duration(caps)?;
    let fields = caps.structure(0)?.get::<&str>("interlace-mode") == Ok("alternate");
    Some(if fields { frame / 2 } else { frame })
}

/// How long a frame lasts at that many a second.
pub(in crate::tee) fn measured_duration(rate: f64) -> Option<gst::ClockTime> {
    (rate > 0.0).then(|| gst::ClockTime::from_nseconds((1e9 / rate) as u64))
}

/// The latency that can be bridged by upstream, which bridges `max`, and a queue.
pub(in crate::tee) fn bridged(
    max: gst::ClockTime,
    frame: gst::ClockTime,
    depth: u32,
) -> gst::ClockTime {
    max.saturating_add(frame.saturating_mul(depth.into()))
}

/// The depth that a queue needs, if `depth` is too small: its frames get to the sink after `reached`,
/// and are due after `latency`.
pub(in crate::tee) fn needed_depth(
    latency: gst::ClockTime,
    reached: gst::ClockTime,
    frame: gst::ClockTime,
    depth: u32,
) -> Option<u64> {
    if frame.is_zero() {
        return None;
    }
    let held = latency.saturating_sub(reached).nseconds();
    // One is in the sink.
    let needed = held.div_ceil(frame.nseconds()).saturating_sub(1);
    (needed > u64::from(depth)).then_some(needed)
}

/// The bindings expect times to be defined, which a branch need not know.
pub(in crate::tee) fn is_defined(structure: Option<&gst::StructureRef>, field: &str) -> bool {
    let time = structure.and_then(|fields| fields.get::<Option<gst::ClockTime>>(field).ok());
    time.flatten().is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ms(time: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(time)
    }

    #[test]
    fn a_frame_lasts_as_the_caps_say_or_as_measured() {
        gst::init().unwrap();
        let caps = |numer, denom| {
            let rate = gst::Fraction::new(numer, denom);
            gst::Caps::builder("video/x-raw")
                .field("framerate", rate)
                .build()
        };
        assert_eq!(frame_duration(&caps(25, 1)), Some(ms(40)));
        assert_eq!(frame_duration(&caps(1, 2)), Some(ms(2000)));
        assert_eq!(frame_duration(&caps(0, 1)), None);
        assert_eq!(
            frame_duration(&gst::Caps::builder("video/x-h264").build()),
            None
        );
        assert_eq!(frame_duration(&gst::Caps::new_any()), None);
        assert_eq!(measured_duration(25.0), Some(ms(40)));
        assert_eq!(measured_duration(0.0), None);
    }

    #[test]
    fn a_queue_bridges_its_depth() {
        assert_eq!(bridged(ms(100), ms(40), 3), ms(220));
        assert_eq!(bridged(gst::ClockTime::MAX, ms(40), 3), gst::ClockTime::MAX);
    }

    #[test]
    fn a_depth_has_to_hold_what_is_not_due() {
        // 200 ms are five frames of 40 ms, one of which is in the sink.
        assert_eq!(needed_depth(ms(500), ms(300), ms(40), 3), Some(4));
        assert_eq!(needed_depth(ms(500), ms(300), ms(40), 4), None);
        assert_eq!(needed_depth(ms(501), ms(300), ms(40), 4), Some(5));
        assert_eq!(needed_depth(ms(300), ms(500), ms(40), 1), None);
        assert_eq!(needed_depth(ms(500), ms(300), ms(0), 1), None);
    }
}
