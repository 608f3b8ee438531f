//! What a run is called where it is shown.

use std::path::Path;

use glmtune_model::FloatType;

use crate::method::OutputKind;
use crate::observer::RunLabels;
use crate::settings::Method;

/// The names of a run: its output directory, its base, its devices with the type of the weights on them.
pub(super) fn labels(
    output_dir: &Path,
    base: &Path,
    (method, output): (&Method, &OutputKind),
    (devices, dtype): (&[String], FloatType),
    parameters: usize,
) -> RunLabels {
    RunLabels {
        run: output_dir.display().to_string(),
        model: name(base),
        method: describe(method, output),
        devices: devices
            .iter()
            .map(|device| format!("{device}, {dtype}"))
            .collect(),
        parameters,
    }
}

/// The last part of a path, also of one that ends in `..`.
fn name(path: &Path) -> String {
    let whole = path.canonicalize();
    let whole = whole.as_deref().unwrap_or(path);
    let last = whole.file_name().unwrap_or(whole.as_os_str());
    last.to_string_lossy().into_owned()
}

/// A continued adapter has sizes of its own, which the outputs show.
fn describe(method: &Method, output: &OutputKind) -> String {
    match (method, output) {
        (_, OutputKind::Adapter(adapter)) => adapter.describe(),
        (Method::Freeze { freeze_module_name }, OutputKind::Model) => {
            format!("freeze, {}", freeze_module_name.join(" "))
        }
        (method, OutputKind::Model) => method.name().to_string(),
    }
}
