//! Parameter-efficient adapters, attached by wrapping: LoRA on the linear layers of the blocks, and the
//! prefix of P-Tuning v2; and the choice of what is trained. Adapters are off until attached, and change no base weight.

mod lora;
mod prefix;
mod trainable;

pub use lora::{Lora, LoraFactor, LoraSettings};
pub use prefix::{PrefixDropout, PrefixEncoder, PrefixKeyValues, PrefixShape};
pub use trainable::{frozen, set_trainable};
