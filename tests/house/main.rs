//! The shape of the house: no file of the workspace imports from one that imports from it, directly or by way
//! of others. What two files share has a file of its own.

#![allow(clippy::unwrap_used)]

mod imports;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::{Crate, imports_of};

const CRATES: [(&str, &str); 4] = [
    ("glmtune_model", "model/src"),
    ("glmtune_training", "training/src"),
    ("glmtune_eval", "eval/src"),
    ("glmtune", "src"),
];

/// Which files each file imports from.
type Graph = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

#[test]
fn no_file_imports_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = CRATES.map(|(name, folder)| Crate::read(name, &root.join(folder)));
    let graph: Graph = imports_of(&crates);
    // A graph of the wrong files would have no circles either.
    let optimizer = root.join("training/src/optim/adamw.rs");
    assert!(graph[&optimizer].contains(&root.join("model/src/layers/ops/mod.rs")));
    let circles = circles(&graph);
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The groups of files that reach each other.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<&Path>> {
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = graph
        .keys()
        .map(|file| (file.as_path(), reached_from(file, graph)))
        .collect();
    let circles = reached.iter().map(|(file, from_it)| {
        let others = from_it.iter().copied();
        others
            .filter(|other| reached[other].contains(file))
            .collect()
    });
    circles
        .filter(|circle: &BTreeSet<&Path>| !circle.is_empty())
        .collect()
}

/// What a file imports, and what that imports, and so on.
fn reached_from<'a>(file: &Path, graph: &'a Graph) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&PathBuf> = graph[file].iter().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next.as_path()) {
            open.extend(&graph[next]);
        }
    }
    reached
}

#[test]
fn circles_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry(to.into()).or_default();
            graph.entry(from.into()).or_default().insert(to.into());
        }
        graph
    };
    assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]);
    let circle = ["b", "c"].map(Path::new).into_iter().collect();
    assert_eq!(circles(&found), [circle].into_iter().collect());
}
