//! Runs a small model of each family and holds its logits against those that the published PyTorch code
//! computed for the same weights.
//!
//! `cargo run --release --example against_pytorch`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;

use burn::tensor::DType;
use burn_flex::{Flex, FlexDevice};
use glmtune::model::checkpoint::{self, Checkpoint};
use glmtune::model::pretrained::Pretrained;
use glmtune::model::{Padding, TokenBatch};

fn main() -> Result<(), Box<dyn Error>> {
    println!("family     layers  tokens  largest logit  difference");
    for family in ["chatglm", "chatglm2", "chatglm3", "glm4"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/golden")
            .join(family);
        let golden = Checkpoint::open_file(&dir.join("fixtures.safetensors"))?;
        let pretrained =
            Pretrained::<Flex>::load(&dir, None, DType::F32, &FlexDevice, &mut |_, _, _| ())?;

        let batch = TokenBatch::new(rows(&golden)?, Padding::Right, 0);
        let logits: Vec<f32> = pretrained
            .model
            .forward(&batch)?
            .into_data()
            .to_vec()
            .map_err(|e| format!("{e:?}"))?;

        let expected = floats(&golden, "base.logits")?;
        let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let pairs = logits.iter().zip(&expected);
        let difference = pairs.fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        println!(
            "{family:<9}  {:>6}  {:>6}  {largest:>13.4}  {difference:>10.1e}",
            pretrained.config.common().num_layers,
            batch.width() * batch.sequences().len(),
        );
    }
    Ok(())
}

fn rows(golden: &Checkpoint) -> Result<Vec<Vec<u32>>, Box<dyn Error>> {
    let raw = golden.read("input_ids")?;
    let ids = raw
        .bytes
        .chunks_exact(8)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let ids: Vec<u32> = ids.collect();
    Ok(ids.chunks(raw.shape[1]).map(<[u32]>::to_vec).collect())
}

fn floats(golden: &Checkpoint, name: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let raw = golden.read_as(name, checkpoint::DType::F32)?;
    let floats = raw
        .bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Ok(floats.collect())
}
