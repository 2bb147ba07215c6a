// SPDX-License-Identifier: MPL-2.0
//! What users copy out of the documentation, as it stands there: launch lines, programs, names, links.

mod crate_outside;
mod lines;
mod links;
mod log_levels;
mod names;
mod people;
mod reference;
mod stats;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of documentation.
struct Page {
    /// From the root of the repository.
    name: String,
    text: String,
}

/// A block between two lines of three backticks.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

impl Page {
    fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        Self {
            name: name.to_owned(),
            text,
        }
    }

    fn all() -> Vec<Self> {
        let mut names = vec!["README.md".to_owned(), "pipelines/README.md".to_owned()];
        for entry in std::fs::read_dir(root().join("docs")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("docs/{name}"));
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    fn blocks(&self, language: &str) -> impl Iterator<Item = &str> {
        let blocks = self.all_blocks().into_iter();
        blocks
            .filter(move |block| block.language == language)
            .map(|block| block.text)
    }

    fn all_blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut rest = self.text.as_str();
        while let Some(start) = rest.find("```") {
            let (head, body) = rest[start + 3..].split_once('\n').unwrap();
            let (text, after) = body.split_once("```").unwrap();
            let language = head.split(',').next().unwrap().trim();
            blocks.push(Block { language, text });
            rest = after;
        }
        blocks
    }

    /// The text without its blocks.
    fn prose(&self) -> String {
        let parts = self.text.split("```").step_by(2);
        parts.collect::<Vec<_>>().join("\n")
    }

    /// What stands between two backticks.
    fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        prose
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }
}

/// Cells of the rows of the table whose head begins with these.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "no table {head}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// An empty folder of a test's own.
fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
