// SPDX-License-Identifier: MPL-2.0
//! The README's program and its `Cargo.toml`, as a crate of its own outside of the repository.

use std::process::Command;

use super::{Page, empty_folder, root};

/// A target folder of its own: the plugin's library has the same file name whatever it is built with, and would
/// take the place of the one that these tests are linked with.
fn target_folder() -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    target.join("crate-outside")
}

#[test]
#[ignore = "builds all dependencies anew: scripts/check.sh runs it"]
fn builds_and_runs() {
    let readme = Page::read("README.md");
    let manifest = readme.blocks("toml").next().expect("no Cargo.toml");
    let program = readme.blocks("rust").next().expect("no program");
    assert!(manifest.contains("path = \"../dronetee\""), "{manifest}");
    let manifest = manifest.replace("../dronetee", root().to_str().unwrap());

    let folder = empty_folder("crate outside");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    // Else cargo would look for a workspace further up.
    std::fs::write(
        folder.join("Cargo.toml"),
        format!("{manifest}\n[workspace]\n"),
    )
    .unwrap();
    std::fs::write(folder.join("src/main.rs"), program).unwrap();
    // The same versions as here, which are there already.
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target_folder())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{errors}");
    // Not even a warning.
    assert_eq!(errors, "");
    assert!(printed.contains("published: 30"), "{printed}");
    let frames = printed.lines().filter(|line| line.contains("lost before"));
    assert!(frames.count() > 10, "{printed}");
}
