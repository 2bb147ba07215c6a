// SPDX-License-Identifier: MPL-2.0
//! A lossy fan-out for video frames.
