//! Load time and speed of the published tokenizers on real text, one thread.
//!
//! The published files are not part of the repository: they are looked for in `../shared`.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(missing_docs)]

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glmtune_model::tokenizer::Tokenizer;

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(path)
}

fn tokenizers(criterion: &mut Criterion) {
    let texts: Vec<String> = ["data/spo_0.json", "data/d2q_0.json"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(shared(path)).ok())
        .flat_map(|text| text.lines().map(String::from).collect::<Vec<_>>())
        .collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    for family in ["chatglm-6b", "chatglm2-6b", "chatglm3-6b", "glm-4-9b-chat"] {
        let dir = shared("tokenizers").join(family);
        let Ok(tokenizer) = Tokenizer::from_dir(&dir, None) else {
            eprintln!("skipped: {} is not there", dir.display());
            continue;
        };
        let mut group = criterion.benchmark_group(family);
        group.sample_size(10);
        group.bench_function("load", |bencher| {
            bencher.iter(|| Tokenizer::from_dir(black_box(&dir), None));
        });
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                texts
                    .iter()
                    .filter_map(|text| tokenizer.encode(text).ok())
                    .map(|ids| ids.len())
                    .sum::<usize>()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, tokenizers);
criterion_main!(benches);
