// SPDX-License-Identifier: MPL-2.0
//! `scripts/setup.sh` on machines that this one is not: its tools are stand-ins that answer as
//! those machines' do.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the script needs of any machine.
const BASICS: [&str; 10] = [
    "bash", "sed", "sort", "head", "cut", "grep", "dirname", "env", "cat", "printf",
];

/// A folder that is all of `PATH`.
struct Machine(PathBuf);

impl Machine {
    /// With Rust 1.95, and as root.
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("setup-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for tool in BASICS {
            symlink(Path::new("/usr/bin").join(tool), dir.join(tool)).unwrap();
        }
        let machine = Self(dir);
        machine.tool("cargo", "");
        machine.rust("1.95.0");
        machine.tool("id", "echo 0");
        machine
    }

    fn tool(&self, name: &str, script: &str) {
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn rust(&self, version: &str) {
        self.tool(
            "rustc",
            &format!("echo 'rustc {version} (0123abcd 2026-01-01)'"),
        );
    }

    /// Debian, where each package has these lines in dpkg's data.
    fn debian(&self, lines: &str) {
        self.tool("dpkg", "echo amd64");
        self.tool("dpkg-query", &format!("printf '{lines}'"));
        let calls = self.0.join("calls").display().to_string();
        self.tool(
            "apt-get",
            &format!(
                "echo \"$@\" >>'{calls}'\n\
                 [[ \"$*\" != *--assume-no* ]] || {{ echo 'Need to get 12.3 MB of archives.'; exit 1; }}"
            ),
        );
    }

    fn setup(&self, jobs: &[&str]) -> (Output, String) {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .args(jobs)
            .env("PATH", &self.0)
            .env("HOME", &self.0)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output, said)
    }

    /// What `apt-get` was asked to install.
    fn installed(&self) -> String {
        let calls = std::fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        calls.lines().last().unwrap_or_default().to_owned()
    }
}

#[test]
fn changes_nothing_where_all_is_there() {
    let machine = Machine::new("complete");
    machine.debian("amd64 installed\\n");
    let (output, said) = machine.setup(&[]);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
    assert_eq!(machine.installed(), "");
}

#[test]
fn a_foreign_architecture_is_no_reason_to_install() {
    let machine = Machine::new("foreign");
    machine.debian("amd64 installed\\narm64 installed\\n");
    let (output, said) = machine.setup(&[]);
    assert!(output.status.success(), "{said}");
    assert_eq!(machine.installed(), "");
}

#[test]
fn a_package_of_a_foreign_architecture_alone_is_not_there() {
    let machine = Machine::new("foreign-alone");
    machine.debian("arm64 installed\\n");
    let (output, said) = machine.setup(&["demo"]);
    assert!(output.status.success(), "{said}");
    assert!(machine.installed().contains(" libgstreamer1.0-dev"));
}

#[test]
fn tells_what_it_downloads_and_asks_for_what_the_job_uses() {
    let machine = Machine::new("bare");
    machine.debian("");
    let (output, said) = machine.setup(&["demo"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("this downloads 12.3 MB"), "{said}");
    let installed = machine.installed();
    assert!(installed.contains("gstreamer1.0-libav"), "{installed}");
    for of_others in ["python3", "gstreamer1.0-tools", "procps", "valgrind"] {
        assert!(!installed.contains(of_others), "{installed}");
    }
    let (_, said) = machine.setup(&["test"]);
    let installed = machine.installed();
    for of_tests in ["python3-gi", "gstreamer1.0-tools", "procps"] {
        assert!(installed.contains(of_tests), "{said}{installed}");
    }
}

#[test]
fn without_root_and_sudo_it_says_what_root_would_run() {
    let machine = Machine::new("user");
    machine.debian("");
    machine.tool("id", "echo 1000");
    let (output, said) = machine.setup(&["demo"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("as root: apt-get install gcc "), "{said}");
    assert_eq!(machine.installed(), "");
}

#[test]
fn an_old_rust_is_named_before_anything_is_installed() {
    let machine = Machine::new("old-rust");
    machine.debian("");
    for old in ["1.65.0", "1.9.0"] {
        machine.rust(old);
        let (output, said) = machine.setup(&["demo"]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let needed = env!("CARGO_PKG_RUST_VERSION");
        assert!(said.contains(&format!("Rust {old} is too old")), "{said}");
        assert!(said.contains(&format!("install {needed} or")), "{said}");
        assert_eq!(machine.installed(), "");
    }
    std::fs::remove_file(machine.0.join("cargo")).unwrap();
    let (output, said) = machine.setup(&["demo"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Rust is missing"), "{said}");
}

#[test]
fn without_apt_it_lists_the_packages() {
    let machine = Machine::new("no-apt");
    let (output, said) = machine.setup(&["demo"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no apt-get here"), "{said}");
    assert!(said.contains("libgstreamer1.0-dev"), "{said}");
    assert!(said.contains("gstreamer-rtsp-server-1.0"), "{said}");
    // Another package manager has installed the same under other names.
    machine.tool("pkg-config", "");
    let (output, said) = machine.setup(&["demo"]);
    assert!(output.status.success(), "{said}");
}

#[test]
fn an_unknown_job_is_an_error() {
    let machine = Machine::new("job");
    let (output, said) = machine.setup(&["everything"]);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("'everything' is none of demo"), "{said}");
}

#[test]
fn the_demo_helps_before_anything_is_set_up() {
    let machine = Machine::new("help");
    std::fs::remove_file(machine.0.join("cargo")).unwrap();
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo.sh"))
        .args(["rtsp://127.0.0.1/", "--help"])
        .env("PATH", &machine.0)
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--seconds N"), "{text}");
}
