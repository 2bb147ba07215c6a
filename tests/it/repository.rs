// SPDX-License-Identifier: MPL-2.0
//! What is in the repository and in the crate's package.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Files of these are code, or tell tools what to do.
fn is_code(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("rs" | "sh" | "py" | "toml" | "build" | "c"))
        || [".gitignore", ".editorconfig", "run"].contains(&name)
}

fn files_of(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", ".git", "build"].contains(&name) {
                files_of(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_file_of_code_names_its_licence() {
    let mut files = Vec::new();
    for place in [
        "src", "tests", "examples", "benches", "scripts", ".ci", ".cargo", "zenoh",
    ] {
        files_of(&root().join(place), &mut files);
    }
    let top = [
        "Cargo.toml",
        "build.rs",
        "meson.build",
        ".gitignore",
        ".editorconfig",
    ];
    files.extend(top.map(|name| root().join(name)));
    let code: Vec<_> = files.iter().filter(|path| is_code(path)).collect();
    assert!(code.len() > 100, "{code:#?}");
    for path in code {
        let text = std::fs::read_to_string(path).unwrap();
        let mut first = text.lines().take(2);
        let named = first.any(|line| line.ends_with("SPDX-License-Identifier: MPL-2.0"));
        assert!(named, "{} has no SPDX line", path.display());
    }
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let meson = format!("\n  version: '{version}',\n");
    assert!(text("meson.build").contains(&meson), "meson.build");
    let debian = format!("gstreamer1.0-dronetee ({version}-1) ");
    assert!(text("docs/deb/changelog").starts_with(&debian), "changelog");
}

#[test]
fn the_crate_has_no_stray_files() {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--quiet"])
        .current_dir(root())
        .output()
        .unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for needed in ["src/lib.rs", "build.rs", "README.md", "LICENSE-MPL-2.0"] {
        assert!(
            list.lines().any(|line| line == needed),
            "no {needed}: {list}"
        );
    }
    // These three are of cargo's own making.
    let tops = [
        "Cargo.toml",
        "Cargo.toml.orig",
        "Cargo.lock",
        ".cargo_vcs_info.json",
    ];
    let ours = [
        "build.rs",
        "README.md",
        "LICENSE-MPL-2.0",
        "docs/CHANGELOG.md",
    ];
    for line in list.lines() {
        let known = ["src/", "examples/", "pipelines/"]
            .iter()
            .any(|folder| line.starts_with(folder));
        assert!(
            known || tops.contains(&line) || ours.contains(&line),
            "{line} is packaged"
        );
    }
}
