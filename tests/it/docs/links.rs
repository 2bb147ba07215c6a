// SPDX-License-Identifier: MPL-2.0
//! Links inside the repository lead somewhere, to a heading where they name one.

use super::{Page, root};

/// What stands in the parentheses of `[…](…)`.
fn targets(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let parts = prose.split("](").skip(1);
    parts
        .map(|part| part.split(')').next().unwrap().to_owned())
        .collect()
}

/// As the web pages of repositories name headings.
fn anchors(page: &Page) -> Vec<String> {
    let headings = page.prose();
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn lead_somewhere() {
    let mut seen = 0;
    for page in Page::all() {
        for target in targets(&page) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let of = &page.name;
            let file = match path {
                "" => root().join(of),
                _ => root().join(of).parent().unwrap().join(path),
            };
            assert!(file.exists(), "{of}: {target}");
            if !anchor.is_empty() {
                let file = file.canonicalize().unwrap();
                let name = file.strip_prefix(root().canonicalize().unwrap()).unwrap();
                let there = anchors(&Page::read(name.to_str().unwrap()));
                assert!(
                    there.iter().any(|one| one == anchor),
                    "{of}: {target}: {there:?}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
