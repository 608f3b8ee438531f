//! Which files of the workspace's crates a file imports from: every path that it writes is followed to the file
//! that has what it names, through the modules that only pass a name on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::code;

/// The files of a crate by their modules.
pub struct Crate {
    name: &'static str,
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    file: PathBuf,
    /// Every path that the file writes and that may lead to a file of the workspace.
    paths: Vec<Written>,
}

struct Written {
    path: Vec<String>,
    /// Whether it is passed on (`pub use`).
    is_passed_on: bool,
}

impl Crate {
    /// Reads a crate.
    pub fn read(name: &'static str, folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        collect(folder, &mut Vec::new(), &mut modules);
        Self { name, modules }
    }
}

fn collect(folder: &Path, module: &mut Vec<String>, found: &mut BTreeMap<Vec<String>, Module>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            module.push(name);
            collect(&path, module, found);
            module.pop();
            continue;
        }
        let mut module = module.clone();
        match name.as_str() {
            // The program is outside of the crate's modules, and nothing can import from it.
            "main" | "tests" => continue,
            "lib" | "mod" => {}
            _ => module.push(name),
        }
        let paths = written(&code(&fs::read_to_string(&path).unwrap()));
        found.insert(module, Module { file: path, paths });
    }
}

/// The paths that a file writes.
fn written(code: &str) -> Vec<Written> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(length) = code[at..].find("::") {
        let separator = at + length;
        let start = word_start(code, separator);
        let tree = &code[start..];
        let (paths, end) = tree_paths(tree);
        let statement = code[..start]
            .rsplit([';', '{', '}'])
            .next()
            .unwrap_or_default();
        let mut words = statement.split_whitespace();
        let is_passed_on =
            words.any(|word| word.starts_with("pub")) && words.any(|word| word == "use");
        // `pub(in crate::adapters)` names who may see something, and imports nothing.
        if !code[..start].ends_with("(in ") {
            let written = paths.into_iter();
            found.extend(written.map(|path| Written { path, is_passed_on }));
        }
        at = (start + end).max(separator + 2);
    }
    found
}

/// Where the word begins that ends at a place.
fn word_start(code: &str, end: usize) -> usize {
    let before = code[..end].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
    before.len()
}

/// The paths of a tree like `a::{b, c::d}`, and its length.
fn tree_paths(text: &str) -> (Vec<Vec<String>>, usize) {
    let mut path = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word_end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*'))
            .unwrap_or(rest.len());
        path.push(rest[..word_end].to_string());
        at += word_end;
        if !text[at..].starts_with("::") {
            return (vec![path], at);
        }
        at += 2;
        if text[at..].starts_with('{') {
            let (branches, end) = branches(&text[at + 1..]);
            let paths = branches
                .into_iter()
                .map(|branch| [path.clone(), branch].concat());
            return (paths.collect(), at + 1 + end);
        }
    }
}

/// The paths between braces, and the length up to the closing one.
fn branches(text: &str) -> (Vec<Vec<String>>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        match next {
            '}' => return (found, at + 1),
            _ if next.is_alphanumeric() || next == '_' || next == '*' => {
                let (paths, end) = tree_paths(&text[at..]);
                found.extend(paths);
                at += end;
                // What a name is called here does not matter.
                let rest = &text[at..];
                if rest.trim_start().starts_with("as ") {
                    at += rest.find([',', '}']).unwrap_or(rest.len());
                }
            }
            _ => at += next.len_utf8(),
        }
    }
    (found, at)
}

/// A module of one of some crates.
type Place<'a> = (&'a Crate, Vec<String>);

/// Which files each file imports from.
pub fn imports_of(crates: &[Crate]) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut graph = BTreeMap::new();
    for home in crates {
        for (module, contents) in &home.modules {
            let targets = contents.paths.iter().filter_map(|written| {
                let target = start(crates, home, module, &written.path)
                    .and_then(|(target, path)| follow(crates, target, &path, 0))?;
                let is_child = target.1.starts_with(module) && target.0.name == home.name;
                // Passing on what a child has does not use it.
                (!(written.is_passed_on && is_child))
                    .then(|| target.0.modules[&target.1].file.clone())
            });
            let mut imports: BTreeSet<PathBuf> = targets.collect();
            imports.remove(&contents.file);
            graph.insert(contents.file.clone(), imports);
        }
    }
    graph
}

/// Where a path begins: the crate, and the path from its root.
fn start<'a>(
    crates: &'a [Crate],
    home: &'a Crate,
    module: &[String],
    path: &[String],
) -> Option<Place<'a>> {
    let supers = path.iter().take_while(|step| *step == "super").count();
    if supers > 0 {
        let above = &module[..module.len().checked_sub(supers)?];
        return Some((home, [above, &path[supers..]].concat()));
    }
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some((home, rest.to_vec())),
        "self" => Some((home, [module, rest].concat())),
        name => {
            let child = [module, path].concat();
            let is_child = home.modules.contains_key(&child[..module.len() + 1]);
            let other = crates.iter().find(|other| other.name == name);
            match is_child {
                true => Some((home, child)),
                false => other.map(|other| (other, rest.to_vec())),
            }
        }
    }
}

/// The module that has what a path from the root of a crate names.
fn follow<'a>(
    crates: &'a [Crate],
    home: &'a Crate,
    path: &[String],
    depth: usize,
) -> Option<Place<'a>> {
    let mut length = 0;
    while length < path.len() && home.modules.contains_key(&path[..=length]) {
        length += 1;
    }
    let module = &path[..length];
    let contents = home.modules.get(module)?;
    let passed_on = path.get(length).and_then(|name| {
        let passed_on = contents.paths.iter().filter(|written| written.is_passed_on);
        passed_on
            .rev()
            .find(|written| written.path.last() == Some(name))
    });
    let further = passed_on.filter(|_| depth < 8).and_then(|written| {
        let (target, found) = start(crates, home, module, &written.path)?;
        follow(crates, target, &found, depth + 1)
    });
    further.or_else(|| Some((home, module.to_vec())))
}
