// SPDX-License-Identifier: MPL-2.0
//! An application that links the crate meets the plugin's file: whatever comes first, the other one
//! is an error, and nothing panics.

use std::process::Command;
use std::sync::Barrier;

use crate::pipelines::{plugin_dir, tool};
use gst::prelude::*;
use gstdronetee::{Error, FramePublisher, plugin_register_static};

/// The step of a process of its own, named in its environment.
const ORDER: &str = "DRONETEE_TEST_ORDER";

fn load_file() -> bool {
    gst::Plugin::load_file(plugin_dir().join("libgstdronetee.so")).is_ok()
}

fn parse() -> Option<gst::Element> {
    let line = "fakesrc num-buffers=1 ! video/x-raw ! dronetee name=t ! fakesink";
    let pipeline = gst::parse::launch(line).ok()?.downcast::<gst::Bin>().ok()?;
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    pipeline.by_name("t")
}

/// Whose copy of the crate a `dronetee` is of now.
#[track_caller]
fn assert_is_ours(ours: bool) {
    let tee = parse().unwrap();
    assert_eq!(tee.type_().name(), "GstDroneTee");
    let publisher = FramePublisher::new(&tee);
    if ours {
        drop(publisher.unwrap().subscribe("a").unwrap());
    } else {
        let error = publisher.unwrap_err();
        assert_eq!(error, Error::NotADroneTee("dronetee".into()));
        assert!(error.to_string().contains("plugin_register_static"));
        // The types can be asked for all the same.
        assert!(tee.downcast_ref::<gstdronetee::DroneTee>().is_none());
    }
    assert_eq!(plugin_register_static().is_ok(), ours);
    assert_eq!(load_file(), !ours);
}

fn both_at_once() -> bool {
    let start = Barrier::new(4);
    let registered = std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|n| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                match n {
                    0 | 1 => plugin_register_static().is_ok(),
                    2 => !load_file(),
                    _ => {
                        let other = gst::ElementFactory::make("fakesink").build().unwrap();
                        assert!(FramePublisher::new(&other).is_err());
                        !load_file()
                    }
                }
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(
        registered.iter().all(|ours| *ours == registered[0]),
        "one copy has it: {registered:?}"
    );
    registered[0]
}

/// Does nothing by itself: the other tests run it in processes of their own.
#[test]
fn in_a_process_of_its_own() {
    let Ok(order) = std::env::var(ORDER) else {
        return;
    };
    if order == "before-init" {
        assert!(plugin_register_static().is_err());
    }
    gst::init().unwrap();
    match order.as_str() {
        "file-first" => {
            assert!(load_file());
            assert_is_ours(false);
        }
        "parsed-first" => {
            let tee = parse().unwrap();
            assert!(FramePublisher::new(&tee).is_err());
            assert!(plugin_register_static().is_err());
            assert_is_ours(false);
        }
        "static-first" | "before-init" => {
            plugin_register_static().unwrap();
            assert_is_ours(true);
        }
        "publisher-first" => {
            let other = gst::ElementFactory::make("fakesink").build().unwrap();
            let error = FramePublisher::new(&other).unwrap_err();
            assert_eq!(error, Error::NotADroneTee("fakesink".into()));
            // That has taken nothing from the file.
            assert!(load_file());
            assert_is_ours(false);
        }
        "at-once" => {
            let ours = both_at_once();
            assert_is_ours(ours);
        }
        other => panic!("{other}"),
    }
}

fn run(mut command: Command, order: &str) {
    let output = command
        .args(["--exact", "registration::in_a_process_of_its_own"])
        .arg("--nocapture")
        .env(ORDER, order)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{order}: {printed}{errors}");
    assert!(printed.contains("1 passed"), "{printed}");
    // Panics that are caught on their way are printed as well.
    assert!(!errors.contains("panicked"), "{order}: {errors}");
    if order != "before-init" {
        assert!(!errors.contains("CRITICAL"), "{order}: {errors}");
        assert!(!errors.contains("WARNING"), "{order}: {errors}");
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

#[test]
fn one_copy_has_the_types_in_whatever_order() {
    for order in [
        "file-first",
        "static-first",
        "publisher-first",
        "before-init",
    ] {
        run(this_program(), order);
    }
}

#[test]
fn a_pipeline_of_the_file_is_built_before_the_application_registers() {
    let program = std::env::current_exe().unwrap();
    let mut command = tool("registration");
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new(program);
    command.envs(environment);
    run(command, "parsed-first");
}

#[test]
fn one_copy_has_the_types_when_both_ask_at_once() {
    for _ in 0..10 {
        run(this_program(), "at-once");
    }
}
