//! Damaged and hostile files: an error, never a panic, and never memory by the file's word.

use std::fs;

use glmtune::model::checkpoint::{Checkpoint, DType};
use proptest::prelude::*;

use crate::golden;
use crate::memory::peak_of;

/// Opens bytes as a file of the given name and reads all it holds; the most memory that took.
fn peak(name: &str, bytes: &[u8]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    peak_of(|| {
        let Ok(checkpoint) = Checkpoint::open_file(&path) else {
            return;
        };
        for info in checkpoint.entries() {
            let _ = checkpoint.read(&info.name);
            let _ = checkpoint.read_as(&info.name, DType::F32);
        }
    })
}

/// What a file of some length may cost: parsed forms take several times the space of their text.
fn bound(len: usize) -> usize {
    64 * len + (8 << 20)
}

#[test]
fn claims_of_size_are_not_believed() {
    let huge = u64::MAX / 3;
    let header = |json: String, data: usize| {
        let len = (json.len() as u64).to_le_bytes();
        [&len[..], json.as_bytes(), &vec![0; data]].concat()
    };
    let tensor = format!(r#"{{"w":{{"dtype":"F32","shape":[{huge}],"data_offsets":[0,{huge}]}}}}"#);
    for bytes in [
        99_000_000u64.to_le_bytes().to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
        header(tensor, 64),
    ] {
        assert!(peak("model.safetensors", &bytes) <= bound(bytes.len()));
    }
}

#[test]
fn a_lying_archive_costs_nothing() {
    // An end record that claims 65,534 entries in a directory of 4 GB, with and without room for them.
    for filler in [0usize, 1 << 20] {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.resize(4 + filler, 0);
        bytes.extend(b"PK\x05\x06\0\0\0\0\xfe\xff\xfe\xff\xfe\xff\xff\xff\0\0\0\0\0\0");
        assert!(peak("pytorch_model.bin", &bytes) <= 8 << 20);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The pickle stands at the start of an archive and the directory at its end.
    #[test]
    fn damaged_archives(
        hits in proptest::collection::vec((0..3000usize, any::<bool>(), any::<u8>()), 1..8),
        cut in prop_oneof![3 => Just(0), 1 => 0..5000usize],
    ) {
        let mut bytes = fs::read(golden("chatglm2").join("pytorch_model-00002-of-00002.bin")).unwrap();
        for (at, from_end, byte) in hits {
            let at = if from_end { bytes.len() - 1 - at } else { at };
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        prop_assert!(peak("pytorch_model.bin", &bytes) <= bound(bytes.len()));
    }

    #[test]
    fn damaged_safetensors(
        hits in proptest::collection::vec((0..1200usize, any::<u8>()), 1..4),
        cut in prop_oneof![3 => Just(0), 1 => 0..5000usize],
    ) {
        let mut bytes = fs::read(golden("chatglm2").join("model.safetensors")).unwrap();
        for (at, byte) in hits {
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        prop_assert!(peak("model.safetensors", &bytes) <= bound(bytes.len()));
    }
}
