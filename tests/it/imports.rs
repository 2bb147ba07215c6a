// SPDX-License-Identifier: MPL-2.0
//! What the files of `src/` name of each other by `use`: nothing looks up, and there is no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module by its path from the crate's root.
type Module = Vec<String>;

/// From the bottom up: each knows those before it only.
const FLOORS: [&[&str]; 5] = [
    &["facts", "sync", "park"],
    &["fanout"],
    &["dronebranch"],
    &["tee"],
    &["api"],
];

/// A `FrameReceiver` returns what iterates over it.
const KNOT: [&str; 2] = ["api::receiver", "api::waiting"];

struct Tree {
    files: BTreeMap<Module, String>,
    /// What a module hands on of a child, and which one.
    handed_on: BTreeMap<(Module, String), Module>,
}

fn collect(dir: &Path, module: &Module, files: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let child: Module = module.iter().cloned().chain([name.clone()]).collect();
        if path.is_dir() && name != "tests" {
            collect(&path, &child, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let is_root = name == "mod" || name == "lib";
            let own = if is_root { module.clone() } else { child };
            files.insert(own, code.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths of a tree such as `a::{b, c::{self, D}}`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![
            path.split("::")
                .map(|part| part.trim().to_owned())
                .collect(),
        ];
    };
    let head = head
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let head: Vec<String> = head.map(str::to_owned).collect();
    let body = rest.rsplit_once('}').unwrap().0;
    let mut depth = 0;
    let parts = body.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty()).flat_map(paths);
    parts.map(|part| [head.clone(), part].concat()).collect()
}

/// The trees of a module's `use` items, those that hand on and the others.
fn uses(code: &str, hands_on: bool) -> Vec<Vec<String>> {
    let items = code.split('\n').scan(0, |at, line| {
        let from = *at;
        *at += line.len() + 1;
        Some((from, line.trim_start()))
    });
    let mut found = Vec::new();
    for (from, line) in items {
        let is_pub = line.starts_with("pub");
        let is_use = match is_pub {
            true => line
                .split_once(' ')
                .is_some_and(|(_, rest)| rest.starts_with("use ")),
            false => line.starts_with("use "),
        };
        if is_use && is_pub == hands_on {
            let item = code[from..].split(';').next().unwrap();
            let tree = item.split_once("use ").unwrap().1;
            found.extend(paths(
                &tree.split_whitespace().collect::<Vec<_>>().join(" "),
            ));
        }
    }
    found
}

impl Tree {
    fn new() -> Self {
        let mut files = BTreeMap::new();
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        collect(&src, &Module::new(), &mut files);
        let mut handed_on = BTreeMap::new();
        for (module, code) in &files {
            for path in uses(code, true) {
                let path = path.iter().filter(|part| *part != "self");
                let full: Module = module.iter().chain(path).cloned().collect();
                let (name, child) = full.split_last().unwrap();
                if child != module && files.contains_key(child) {
                    handed_on.insert((module.clone(), name.clone()), child.to_vec());
                }
            }
        }
        Self { files, handed_on }
    }

    /// The file that `path`, named in `module`, lies in.
    fn target(&self, module: &Module, path: &[String]) -> Option<Module> {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let full: Module = match path[0].as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [module, &path[1..]].concat(),
            "super" => [&module[..module.len() - ups], &path[ups..]].concat(),
            _ => [module.as_slice(), path].concat(),
        };
        let is_own = ["crate", "self", "super"].contains(&path[0].as_str());
        let depth = (0..=full.len())
            .rev()
            .find(|n| self.files.contains_key(&full[..*n]))?;
        let (mut target, rest) = (full[..depth].to_vec(), &full[depth..]);
        while let Some(child) = rest
            .first()
            .and_then(|name| self.handed_on.get(&(target.clone(), name.clone())))
        {
            target = child.clone();
        }
        (is_own || target != *module).then_some(target)
    }

    /// Which file names which; a parent's own items are at hand for all its children.
    fn edges(&self) -> BTreeSet<(Module, Module)> {
        let of = |(module, code): (&Module, &String)| {
            let targets = uses(code, false).into_iter();
            let targets: Vec<_> = targets
                .filter_map(|path| self.target(module, &path))
                .collect();
            let edges = targets.into_iter().map(|target| (module.clone(), target));
            edges.collect::<Vec<_>>()
        };
        let all = self.files.iter().flat_map(of);
        all.filter(|(from, to)| !from.starts_with(to)).collect()
    }
}

fn name(module: &Module) -> String {
    module.join("::")
}

#[test]
fn nothing_looks_up() {
    let floor = |module: &Module| {
        let first = module.first()?;
        FLOORS
            .iter()
            .position(|floor| floor.contains(&first.as_str()))
    };
    let edges = Tree::new().edges();
    assert!(edges.len() > 150, "they are read: {}", edges.len());
    let up = edges
        .iter()
        .filter(|(from, to)| floor(from) < floor(to) && floor(from).is_some());
    let up: Vec<_> = up
        .map(|(from, to)| name(from) + " → " + &name(to))
        .collect();
    assert!(up.is_empty(), "{up:#?}");
}

#[test]
fn there_is_no_circle() {
    let mut edges = Tree::new().edges();
    edges.retain(|(from, to)| {
        ![name(from), name(to)]
            .iter()
            .all(|one| KNOT.contains(&one.as_str()))
    });
    // What names none of those that are left is in no circle, nor is what none names.
    loop {
        let before = edges.len();
        let names: BTreeSet<_> = edges.iter().map(|(from, _)| from.clone()).collect();
        edges.retain(|(_, to)| names.contains(to));
        if edges.len() == before {
            break;
        }
    }
    let circle: Vec<_> = edges
        .iter()
        .map(|(from, to)| name(from) + " → " + &name(to))
        .collect();
    assert!(circle.is_empty(), "{circle:#?}");
}
