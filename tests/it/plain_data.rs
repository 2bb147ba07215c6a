// SPDX-License-Identifier: MPL-2.0
//! Names, JSON and messages that others have made: read if they make sense, and never a panic.

use crate::common::{init, wait_for};
use crate::source::Source;
use gst::prelude::*;
use gstdronetee::{CloseReason, DropReason, Notice, State, StreamState};

#[test]
fn names_are_read_as_they_are_written() {
    for reason in DropReason::all() {
        assert_eq!(DropReason::from_name(reason.name()), Some(*reason));
    }
    for reason in CloseReason::all() {
        assert_eq!(CloseReason::from_name(reason.name()), Some(*reason));
    }
    for state in State::all() {
        assert_eq!(State::from_name(state.name()), Some(*state));
    }
    for state in StreamState::all() {
        assert_eq!(StreamState::from_name(state.name()), Some(*state));
    }
    assert_eq!(State::from_name("bored"), None);
    assert_eq!(CloseReason::from_name(""), None);
    assert_eq!(StreamState::from_name("Flowing"), None);
}

/// One message of each kind.
fn messages() -> Vec<gst::Structure> {
    let source = Source::started(None);
    let bus = gst::Bus::new();
    source.tee.set_bus(Some(&bus));
    let consumer = source.publisher.consumer("a").depth(1).max_lag(3);
    let frames = consumer.subscribe().unwrap();
    (0..9).for_each(|_| source.publish());
    drop(frames);
    let mut messages = Vec::new();
    wait_for("a summary", || {
        let new = std::iter::from_fn(|| bus.pop());
        let new = new.filter_map(|message| message.structure().map(ToOwned::to_owned));
        messages.extend(new.filter(|one| one.name().starts_with("dronetee-")));
        messages.iter().any(|one| one.name() == "dronetee-summary")
    });
    messages.push(
        gst::Structure::builder("dronetee-pool")
            .field("held", 1_u32)
            .field("max-held", 2_u32)
            .field("pool-size", 4_u32)
            .field("learned", true)
            .build(),
    );
    let truncated = gst::Structure::builder("dronetee-gop-truncated");
    messages.push(truncated.field("capacity", 1_u32).build());
    messages
}

fn read(said: gst::Structure) -> Option<Notice> {
    Notice::from_message(&gst::message::Element::new(said))
}

fn wrong_values() -> Vec<glib::SendValue> {
    vec![
        (-1_i32).to_send_value(),
        u32::MAX.to_send_value(),
        u64::MAX.to_send_value(),
        i64::MIN.to_send_value(),
        "slow".to_send_value(),
        None::<String>.to_send_value(),
        f64::INFINITY.to_send_value(),
        true.to_send_value(),
        gst::Fraction::new(1, 2).to_send_value(),
        gst::Caps::new_any().to_send_value(),
        None::<gst::Caps>.to_send_value(),
        gst::List::new([1]).to_send_value(),
    ]
}

#[test]
fn messages_with_other_fields_are_read_or_not() {
    init();
    for message in messages() {
        assert!(read(message.clone()).is_some(), "{message}");
        for field in message.fields() {
            let mut without = message.clone();
            without.remove_field(field.as_str());
            let _ = read(without);
            for value in wrong_values() {
                let mut other = message.clone();
                other.set_value(field.as_str(), value);
                let Some(notice) = read(other) else { continue };
                assert!(!format!("{notice:?}").is_empty());
                if let Notice::Summary(health) = notice {
                    let ledger = health.ledger;
                    let _ = (ledger.balances(), ledger.dropped.total());
                }
            }
        }
    }
}

#[cfg(feature = "serde")]
mod json {
    use super::{Notice, messages, read};
    use crate::common::Rig;
    use crate::source::Source;
    use gst::prelude::*;
    use gstdronetee::{FramePublisher, Health, Ledger};

    #[test]
    fn accounts_of_any_numbers_do_not_balance_and_do_not_panic() {
        let most = u64::MAX;
        let text = format!(
            "{{\"frames_in\":{most},\"frames_out\":{most},\"in_flight\":{most},\"waiting\":1,\
             \"dropped\":{{\"slow\":{most},\"eos\":{most}}}}}"
        );
        let ledger: Ledger = serde_json::from_str(&text).unwrap();
        assert!(!ledger.balances());
        assert_eq!(ledger.dropped.total(), most);
        assert_eq!(
            ledger.dropped.to_string(),
            format!("slow={most} eos={most}")
        );
    }

    #[test]
    fn the_json_of_notices_is_stable() {
        let mut kinds = Vec::new();
        for notice in messages().into_iter().filter_map(read) {
            let text = serde_json::to_string(&notice).unwrap();
            let back: Notice = serde_json::from_str(&text).unwrap();
            assert_eq!(back, notice);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let (kind, fields) = value.as_object().unwrap().iter().next().unwrap();
            let fields: Vec<_> = fields.as_object().unwrap().keys().cloned().collect();
            kinds.push(format!("{kind}: {}", fields.join(" ")));
        }
        kinds.sort();
        kinds.dedup();
        let expected = [
            "dropped: consumer count dropped frames_in frames_out pad reason running_time timestamp \
             total",
            "evicted: consumer flow in_flight_for pad previous state",
            "gop-truncated: capacity count",
            "pool: held learned max_held pool_size",
            "summary: consumer in_flight_for last_flow ledger limits pad qos requested_keyframes run \
             service state wait",
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_is_no_number_is_not_passed_on() {
        let rig = Rig::started();
        let consumer = rig.consumer("a");
        let times = (0_i64, gst::ClockTime::SECOND);
        let qos = gst::event::Qos::new(gst::QOSType::Overflow, f64::NAN, times.0, times.1);
        assert!(consumer.sink.push_event(qos));
        let health = FramePublisher::new(&rig.tee).unwrap().health();
        assert_eq!(health.consumers[0].qos.events, 1);
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
    }

    /// A stream that is described by caps of any kind.
    #[test]
    fn metadata_of_odd_caps_can_be_written_and_read() {
        for caps in [
            "video/x-raw",
            "video/x-raw,format=NOPE,width=1,height=-1",
            "video/x-raw,width=(string)a,height=1.5,framerate=(int)3",
            "video/x-raw,format=I420,width=32767,height=32767,framerate=0/1",
            "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=NV12,width=4,height=4,framerate=30/1",
            "video/x-h264,codec_data=(string)a,streamheader=(int)3,framerate=2147483647/1",
            "video/x-bayer,format=bggr,width=4,height=4",
            "image/jpeg",
        ] {
            gst::init().unwrap();
            let source = Source::started(Some(&caps.parse().unwrap()));
            let mut frames = source.publisher.subscribe("a").unwrap();
            let _ = source.sink.chain(gst::Buffer::from_slice([0; 64]));
            let health = source.publisher.health();
            let text = serde_json::to_string(&health).unwrap();
            assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
            assert!(source.publisher.headers().is_empty());
            if let Ok(frame) = frames.try_recv() {
                let read = (frame.planes().is_ok(), frame.video_frame().is_ok());
                assert!(!read.1 || read.0, "{caps}");
                assert_eq!(frame.pixels().unwrap().len(), 64);
            }
        }
    }
}
