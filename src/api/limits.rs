// SPDX-License-Identifier: MPL-2.0
//! What a limit may be.

use std::time::Duration;

use super::error::Error;
use crate::tee::MAX_DEPTH;

pub(super) fn depth(depth: u32) -> Result<u32, Error> {
    match depth > MAX_DEPTH {
        true => Err(Error::InvalidLimit("depth is beyond 4096")),
        false => Ok(depth),
    }
}

pub(super) fn max_age(age: Duration) -> Result<u64, Error> {
    nanos(age, "max-age is beyond 584 years")
}

pub(super) fn max_size_time(time: Duration) -> Result<u64, Error> {
    nanos(time, "max-size-time is beyond 584 years")
}

fn nanos(time: Duration, beyond: &'static str) -> Result<u64, Error> {
    u64::try_from(time.as_nanos()).map_err(|_| Error::InvalidLimit(beyond))
}
