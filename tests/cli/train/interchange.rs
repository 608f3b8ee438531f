//! Adapters that glmtune wrote, as PEFT on the published PyTorch code sees them.

use safetensors::SafeTensors;

use crate::common::fixtures::assert_close;
use crate::common::{FAMILIES, data, golden};
use crate::glmtune;

fn logits(path: &std::path::Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor("logits.0").unwrap();
    let chunks = data.data().chunks_exact(4);
    chunks
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn peft_and_glmtune_give_the_same_logits_with_an_adapter_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let files = data("interchange").join(family);
        let dump = folder.path().join("dump.safetensors");
        let (base, rows) = (golden(family), files.join("rows.jsonl"));
        let adapter = files.join("adapter");
        let mut args = vec!["score", "--backend", "flex", "--dtype", "f32"];
        args.extend(["--model_name_or_path", base.to_str().unwrap()]);
        args.extend(["--data", rows.to_str().unwrap()]);
        args.extend(["--dump", dump.to_str().unwrap()]);
        glmtune(&args).success();
        let without = logits(&dump);
        args.extend(["--adapter", adapter.to_str().unwrap()]);
        glmtune(&args).success();
        let expected = logits(&files.join("pytorch_logits.safetensors"));
        assert_close(family, &logits(&dump), &expected, 1e-5);
        let change = without.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        assert!(
            change.fold(0.0f32, f32::max) > 0.1,
            "the adapter does something"
        );
    }
}
