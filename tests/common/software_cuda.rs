//! The CUDA device in software of `tests/cuda-device`: built once with g++, then put under a program or a test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// A device's compute capability, times ten.
pub mod capability {
    /// Computes products of float32 as such.
    pub const WITHOUT_TF32: &str = "70";
    /// Computes products of float32 in TF32, and has bf16.
    pub const WITH_TF32: &str = "90";
}

/// Tells a test that it has been started on the device.
const STARTED: &str = "GLMTUNE_TEST_ON_SOFTWARE_CUDA";

/// The device's libraries; none, with a line that says so, where there is no g++ for them. Continuous integration
/// must have it.
pub fn libraries() -> Option<&'static Path> {
    static LIBRARIES: LazyLock<Option<PathBuf>> = LazyLock::new(|| compiler().map(build));
    let required = std::env::var_os("CI").is_some();
    assert!(
        LIBRARIES.is_some() || !required,
        "CI is set, and g++ is missing"
    );
    if LIBRARIES.is_none() {
        eprintln!("skipped: the CUDA device in software needs g++ on x86-64 Linux");
    }
    LIBRARIES.as_deref()
}

/// What the compiler says of itself and of this processor.
fn compiler() -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return None;
    }
    let name = std::env::var("SOFTWARE_CUDA_CXX").unwrap_or_else(|_| "g++".to_string());
    let said = ["--version", "--help=target"].map(|question| {
        let mut command = Command::new(&name);
        let output = command.args(["-march=native", "-Q", question]).output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    });
    let [version, target] = said;
    Some(version? + &target?)
}

/// Builds the libraries into a folder of the digest of all that they are made from. Who comes while another process
/// builds them waits for it.
fn build(compiler: String) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda-device");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-device");
    let folder = built.join(&digest(&sources, &compiler)[..16]);
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = folder.join("done");
    if !done.exists() {
        let mut command = Command::new("sh");
        let output = command.arg(sources.join("build.sh")).arg(&folder);
        let output = output.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        File::create(done).unwrap();
    }
    folder
}

fn digest(sources: &Path, compiler: &str) -> String {
    let mut files = Vec::new();
    collect(sources, &mut files);
    files.sort();
    let mut digest = Sha256::new_with_prefix(compiler);
    for file in files {
        digest.update(file.as_os_str().as_encoded_bytes());
        digest.update(fs::read(file).unwrap());
    }
    let bytes = digest.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

/// Lets a program find the device's libraries, and no CUDA but them.
pub fn put_on(command: &mut Command, libraries: &Path, capability: &str) {
    command
        .env("LD_LIBRARY_PATH", libraries)
        .env("CUDA_PATH", libraries)
        .env("SOFTWARE_CUDA_CAPABILITY", capability)
        // What this device compiles is a file beside its libraries, which another build of them leaves behind.
        .env("GLMTUNE_KERNEL_CACHE", "off")
        .env_remove("CUDA_VISIBLE_DEVICES");
}

/// Runs one test of this program on the device, in a process of its own: a process finds its libraries as it starts.
pub fn run_there(test: &str, capability: &str) {
    let Some(libraries) = libraries() else { return };
    assert!(!is_there(), "the CUDA device in software does not load");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--include-ignored", "--nocapture"]);
    command.env(STARTED, "1");
    put_on(&mut command, libraries, capability);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Whether this process has been started on the device.
pub fn is_there() -> bool {
    std::env::var_os(STARTED).is_some()
}
