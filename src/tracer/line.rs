// SPDX-License-Identifier: MPL-2.0
//! A line of the log: a message as a JSON object.

use gst::prelude::*;
use serde_json::{Map, Value, json};

use crate::metrics::hide_passwords;

/// What is not known is `null`: a time, a delay.
const NONE: u64 = u64::MAX;
/// Structures in structures, as deep as that.
const DEEPEST: usize = 8;

/// The line for a message of the element `label`, posted at its `running_time`.
pub(super) fn of_message(
    label: &str,
    running_time: Option<gst::ClockTime>,
    message: &gst::StructureRef,
) -> String {
    let running_time = running_time.map(gst::ClockTime::nseconds);
    let (label, name) = (json!(label), json!(message.name().as_str()));
    // In the order in which people read.
    format!(
        "{{\"time\":{},\"running-time\":{},\"element\":{label},\"message\":{name},\"fields\":{}}}\n",
        json!(now()),
        json!(running_time),
        of_structure(message, 0)
    )
}

/// The line that tells of `count` lines that could not be written.
pub(super) fn of_lost(count: u64) -> String {
    let (time, fields) = (json!(now()), json!({ "count": count }));
    format!("{{\"time\":{time},\"message\":\"log-lost\",\"fields\":{fields}}}\n")
}

/// UTC, RFC 3339.
fn now() -> Option<String> {
    let now = glib::DateTime::now_utc().ok()?;
    let seconds = now.format("%Y-%m-%dT%H:%M:%S").ok()?;
    Some(format!("{seconds}.{:06}Z", now.microsecond()))
}

fn of_structure(structure: &gst::StructureRef, depth: usize) -> Value {
    let fields = structure.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), of_value(value, depth)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn of_value(value: &glib::SendValue, depth: usize) -> Value {
    if depth == DEEPEST {
        return Value::Null;
    }
    if let Ok(number) = value.get::<u64>() {
        return if number == NONE {
            Value::Null
        } else {
            number.into()
        };
    }
    if let Ok(number) = value.get::<u32>() {
        return number.into();
    }
    if let Ok(number) = value.get::<i32>() {
        return number.into();
    }
    if let Ok(number) = value.get::<i64>() {
        return number.into();
    }
    if let Ok(number) = value.get::<f64>() {
        return number.into();
    }
    if let Ok(is_so) = value.get::<bool>() {
        return is_so.into();
    }
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map_or(Value::Null, |text| hide_passwords(&text).into());
    }
    if let Ok(array) = value.get::<gst::ArrayRef<'_>>() {
        let values = array.iter().map(|value| of_value(value, depth + 1));
        return Value::Array(values.collect());
    }
    if let Ok(structure) = value.get::<gst::Structure>() {
        return of_structure(&structure, depth + 1);
    }
    let text = value.serialize().unwrap_or_default();
    hide_passwords(&text).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_object_on_one_line() {
        gst::init().unwrap();
        let inner = gst::Structure::builder("inner").field("a", 1i32).build();
        let message = gst::Structure::builder("dronetee-drop")
            .field("text", "a \"b\"\nü rtsp://u:p@h/")
            .field("none", Option::<String>::None)
            .field("count", 3u64)
            .field("never", u64::MAX)
            .field("level", 7u32)
            .field("jitter", -5i64)
            .field("proportion", 0.5f64)
            .field("nan", f64::NAN)
            .field("healthy", true)
            .field("flow", gst::FlowReturn::NotLinked)
            .field("inner", inner)
            .field("all", gst::Array::new([1u64, 2]))
            .build();
        let time = Some(gst::ClockTime::from_nseconds(5));
        let line = of_message("t \"1\"", time, &message);
        assert_eq!(line.matches('\n').count(), 1);
        let mut value: Value = serde_json::from_str(&line).unwrap();
        let time = value.as_object_mut().unwrap().remove("time").unwrap();
        let time = glib::DateTime::from_iso8601(time.as_str().unwrap(), None).unwrap();
        let age = glib::DateTime::now_utc().unwrap().difference(&time);
        assert!((0..60).contains(&age.as_seconds()));
        let expected = json!({
            "running-time": 5, "element": "t \"1\"", "message": "dronetee-drop",
            "fields": {
                "text": "a \"b\"\nü rtsp://***@h/", "none": null, "count": 3, "never": null,
                "level": 7, "jitter": -5, "proportion": 0.5, "nan": null, "healthy": true,
                "flow": "not-linked", "inner": { "a": 1 }, "all": [1, 2],
            },
        });
        assert_eq!(value, expected);
    }
}
