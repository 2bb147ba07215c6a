// SPDX-License-Identifier: MPL-2.0
//! The examples, as they stand: each checks itself what it shows.

#[path = "../../examples/newest_frame.rs"]
mod newest_frame;
#[path = "../../examples/threads.rs"]
mod threads;
#[path = "../../examples/tokio_select.rs"]
mod tokio_select;

#[test]
fn threads() {
    threads::main().unwrap();
}

#[test]
fn tokio_select() {
    tokio_select::main().unwrap();
}

#[test]
fn newest_frame() {
    newest_frame::main().unwrap();
}
