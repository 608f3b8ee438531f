//! Parameter-efficient adapters, attached by wrapping: LoRA on the linear layers of the blocks, and the
//! prefix of P-Tuning v2. Both are off until attached, and neither changes the base weights.

mod lora;
mod prefix;

pub use lora::{Lora, LoraFactor};
pub use prefix::{PrefixEncoder, PrefixKeyValues, PrefixShape};
