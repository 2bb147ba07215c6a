// SPDX-License-Identifier: MPL-2.0
//! The names of src pads and of their consumers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;

use crate::tee::lock;

/// Why there is no pad for a consumer. Nothing is left of it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not `src_` and letters, digits, `_` and `-`.
    InvalidName,
    /// Who has the pad's or the consumer's name.
    NameTaken(String),
    NotActivated(glib::BoolError),
    NotAdded(glib::BoolError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidName => f.write_str("that is no valid name for a consumer's pad"),
            Self::NameTaken(by) => f.write_str(by),
            Self::NotActivated(error) => write!(f, "it was not activated: {error}"),
            Self::NotAdded(error) => write!(f, "it was not added: {error}"),
        }
    }
}

/// The names that the pads and their consumers have, from before a pad is added until it leaves.
#[derive(Debug, Default)]
pub(in crate::tee) struct Names {
    next_index: AtomicU32,
    taken: Mutex<Vec<Named>>,
}

#[derive(Debug)]
struct Named {
    pad: String,
    consumer: String,
}

impl Names {
    /// The name of a new pad: the one that was asked for, or any. Its consumer may have a name of its
    /// own.
    pub(super) fn take(
        &self,
        element: &gst::Element,
        name: Option<&str>,
        consumer: Option<String>,
    ) -> Result<String, Refusal> {
        let Some(name) = name else {
            return Ok(self.reserve_any(element));
        };
        if !is_valid_name(name) {
            return Err(Refusal::InvalidName);
        }
        let consumer = consumer.unwrap_or_else(|| default_consumer(name));
        self.reserve(element, name, &consumer)?;
        Ok(name.to_owned())
    }

    /// Takes both names if no other pad has one of them.
    fn reserve(&self, element: &gst::Element, pad: &str, consumer: &str) -> Result<(), Refusal> {
        let mut taken = lock(&self.taken);
        // A pad that has let its names go may still be there for a moment.
        if element.static_pad(pad).is_some() || taken.iter().any(|named| named.pad == pad) {
            let by = format!("there is a pad '{pad}' already");
            return Err(Refusal::NameTaken(by));
        }
        is_free(&taken, pad, consumer).map_err(Refusal::NameTaken)?;
        taken.push(Named {
            pad: pad.to_owned(),
            consumer: consumer.to_owned(),
        });
        Ok(())
    }

    fn reserve_any(&self, element: &gst::Element) -> String {
        loop {
            let index = self.next_index.fetch_add(1, Ordering::Relaxed);
            let name = format!("src_{index}");
            if self
                .reserve(element, &name, &default_consumer(&name))
                .is_ok()
            {
                return name;
            }
        }
    }

    /// Another name for the pad's consumer, which `set` writes down; or which pad's it is.
    ///
    /// The lock of the names is held over that of the pad's settings, so that of two names that
    /// are given at once the same one stays here and there. Under it, too, is asked whether the pad
    /// `has_left`: another one may be called so by now.
    pub(in crate::tee) fn rename(
        &self,
        pad: &str,
        consumer: &str,
        has_left: impl FnOnce() -> bool,
        set: impl FnOnce(),
    ) -> Result<(), String> {
        let mut taken = lock(&self.taken);
        // A pad that has left keeps its name to itself.
        if !has_left() {
            is_free(&taken, pad, consumer)?;
            if let Some(own) = taken.iter_mut().find(|named| named.pad == pad) {
                own.consumer = consumer.to_owned();
            }
        }
        set();
        Ok(())
    }

    pub(super) fn release(&self, pad: &str) {
        lock(&self.taken).retain(|named| named.pad != pad);
    }
}

/// Whether another pad's consumer is called so.
fn is_free(taken: &[Named], pad: &str, consumer: &str) -> Result<(), String> {
    let has_it = |named: &&Named| named.pad != pad && named.consumer == consumer;
    taken.iter().find(has_it).map_or(Ok(()), |other| {
        Err(format!(
            "the consumer of pad '{}' is called '{consumer}' already",
            other.pad
        ))
    })
}

/// The pad's name without `src_`; a number alone keeps it.
pub(in crate::tee) fn default_consumer(pad: &str) -> String {
    match pad.strip_prefix("src_") {
        Some(rest) if !rest.bytes().all(|byte| byte.is_ascii_digit()) => rest.to_owned(),
        _ => pad.to_owned(),
    }
}

/// `src_` and letters, digits, `_` and `-`.
fn is_valid_name(name: &str) -> bool {
    name.strip_prefix("src_").is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::default_consumer;

    #[test]
    fn consumers_are_named_after_their_pads() {
        assert_eq!(default_consumer("src_detection_client"), "detection_client");
        assert_eq!(default_consumer("src_0"), "src_0");
        assert_eq!(default_consumer("src_2nd"), "2nd");
    }
}
