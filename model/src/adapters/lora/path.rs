//! What the parameters of LoRA are called.

/// The step into the adapter in the path of a factor, which PEFT's names lack.
const STEP: &str = ".lora.";
/// PEFT's names of the factors.
pub(super) const FACTORS: [&str; 2] = ["lora_A", "lora_B"];

/// The path of a factor in the model.
pub(super) fn factor_path(module: &str, factor: &str) -> String {
    format!("{module}{STEP}{factor}.weight")
}

/// Whether a parameter is a factor.
pub(super) fn is_factor(path: &str) -> bool {
    path.contains(STEP)
}

/// What PEFT calls the parameter of a path.
pub(super) fn published(path: &str) -> String {
    path.replace(STEP, ".")
}
