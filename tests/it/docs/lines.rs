// SPDX-License-Identifier: MPL-2.0
//! Launch lines and Python programs run; scripts that are named exist.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use super::{Page, empty_folder, root};
use crate::pipelines::{field, run, tool};

/// The commands of the blocks for a shell, each on one line.
fn commands(page: &Page) -> Vec<String> {
    let joined = page.blocks("sh").map(|text| text.replace("\\\n", " "));
    let lines: Vec<_> = joined.collect();
    let lines = lines.iter().flat_map(|text| text.lines());
    let commands = lines.map(|line| line.split(" #").next().unwrap().trim());
    let commands = commands.filter(|line| !line.is_empty() && !line.starts_with('#'));
    commands.map(str::to_owned).collect()
}

/// Addresses that stand for the user's own are of no machine, and files with comments are for hardware:
/// `people.rs` runs those.
fn is_of_the_users_machine(command: &str) -> bool {
    command.contains("192.0.2.") || command.contains("$(grep -v")
}

/// Runs each line to its end, in one folder: a later one may play what an earlier one recorded.
fn launch_lines_run(name: &str) {
    let page = Page::read(name);
    let folder = empty_folder(&format!("docs-{}", name.replace('/', "-")));
    let lines: Vec<_> = commands(&page)
        .into_iter()
        .filter(|command| command.contains("gst-launch-1.0") && !is_of_the_users_machine(command))
        .collect();
    assert!(!lines.is_empty(), "{name} has no launch line");
    for line in lines {
        // Files of the repository are named from its root.
        let line = line.replace("pipelines/", &format!("{}/pipelines/", root().display()));
        let child = tool("sh")
            .args(["-c", &format!("exec env {line}")])
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A line without an end runs until it plays.
        let ends = line.contains("num-buffers") || line.contains("filesrc");
        let (ok, printed) = run(child, |printed| !ends && printed.contains("New clock"));
        assert!(ok, "{name}: {line}: {printed:#?}");
        check_summaries(&line, &printed);
    }
}

/// Each consumer has told what became of its frames, and it adds up.
fn check_summaries(line: &str, printed: &[String]) {
    if !line.contains("dronetee name") || !line.contains(" -m ") {
        return;
    }
    let mut seen = 0;
    for summary in printed
        .iter()
        .filter(|line| line.contains("dronetee-summary"))
    {
        assert_eq!(
            field(summary, "in"),
            field(summary, "out") + field(summary, "dropped"),
            "{line}: {summary}"
        );
        seen += 1;
    }
    assert!(seen > 0, "{line}: no summary in {printed:#?}");
}

#[test]
fn of_the_readme_run() {
    launch_lines_run("README.md");
}

#[test]
fn of_the_migration_run() {
    launch_lines_run("docs/migration.md");
}

#[test]
fn of_all_other_pages_run() {
    let mut pages = 0;
    for page in Page::all() {
        let mut commands = commands(&page).into_iter();
        let runs = commands.any(|command| {
            command.contains("gst-launch-1.0") && !is_of_the_users_machine(&command)
        });
        if runs && !["README.md", "docs/migration.md"].contains(&page.name.as_str()) {
            launch_lines_run(&page.name);
            pages += 1;
        }
    }
    assert!(pages >= 2, "{pages}");
}

#[test]
fn python_programs_run() {
    let mut programs = 0;
    for page in Page::all() {
        for program in page.blocks("python") {
            // Else it is a part of one.
            if !program.contains("import gi") {
                continue;
            }
            let output = tool("/usr/bin/python3")
                .args(["-c", program])
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {errors}", page.name);
            assert_eq!(errors, "", "{}", page.name);
            programs += 1;
        }
    }
    assert!(programs >= 1);
}

/// Each command is one that exists: of the repository, or a tool that is named here.
#[test]
fn commands_are_known() {
    let tools = [
        "gst-launch-1.0",
        "gst-inspect-1.0",
        "cargo",
        "meson",
        "export",
        "apt-get",
        "sudo",
        "git",
        "promtool",
        "prometheus",
        "curl",
        "dot",
        "jq",
        "python3",
        "zenoh/target/release/dronetee-zenoh",
    ];
    for page in Page::all() {
        for command in commands(&page) {
            let mut words = command.split_whitespace();
            let word = words.find(|word| !is_assignment(word)).unwrap_or_default();
            if let Some(script) = word.strip_prefix("scripts/") {
                assert_is_script(&root().join("scripts").join(script));
            } else if let Some(program) = word.strip_prefix("examples/") {
                assert_is_script(&root().join("examples").join(program));
            } else {
                assert!(tools.contains(&word), "{}: {command}", page.name);
            }
        }
        for span in page.spans() {
            let word = span.split_whitespace().next().unwrap_or_default();
            if word.starts_with("scripts/") && word.ends_with(".sh") {
                assert_is_script(&root().join(word));
            }
            let is_path = ["src/", "tests/", "examples/", "pipelines/", "docs/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            // That is of the reader's own crate.
            let is_path = is_path && word != "src/main.rs";
            if is_path && !word.contains(['*', '<', '…']) {
                assert!(root().join(word).exists(), "{}: {word}", page.name);
            }
        }
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

fn assert_is_script(path: &Path) {
    let metadata = std::fs::metadata(path).unwrap_or_else(|_| panic!("no {}", path.display()));
    assert!(
        metadata.permissions().mode() & 0o111 != 0,
        "{}",
        path.display()
    );
}
