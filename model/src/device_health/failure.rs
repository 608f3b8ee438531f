//! What went wrong on a device, and what can be done about it.

use std::fmt;

/// Most characters of a device's own words.
const WORDS: usize = 300;

/// Why a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its memory was used up, or one allocation was larger than it allows.
    OutOfMemory,
    /// NVIDIA's run-time compiler was not found.
    NoCompiler,
    /// The compiler did not find the CUDA toolkit's headers.
    NoHeaders,
    /// A kernel could not be compiled.
    Compilation,
    /// It gave a result other than the right one.
    WrongResult,
    /// Anything else.
    Other,
}

/// A failure of a device, after which nothing that it gives can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFailure {
    /// Why.
    pub cause: Cause,
    /// The device's own words, shortened.
    pub words: String,
}

/// What Rust puts before an error that nobody handled.
const UNWRAPPED: &str = "called `Result::unwrap()` on an `Err` value: ";

/// What the runtimes say, in lower case, by cause; the first that fits holds.
const SIGNS: [(Cause, &[&str]); 4] = [
    (
        Cause::OutOfMemory,
        &[
            "out of memory",
            "out_of_memory",
            "outofmemory",
            "buffertoobig",
            "too big",
            "not enough memory",
            "can't allocate",
            "buffer size",
            "exceeds the max",
            "greater than the maximum",
        ],
    ),
    (
        Cause::NoCompiler,
        &["load the \"nvrtc\"", "failed to open builtins"],
    ),
    (
        Cause::NoHeaders,
        &[
            "cuda installation not found",
            "could not open source file",
            "cannot open source file",
        ],
    ),
    (
        Cause::Compilation,
        &[
            "compilation error",
            "compilationerror",
            "invalid value for --gpu-architecture",
        ],
    ),
];

impl DeviceFailure {
    /// A failure that a runtime tells of in these words.
    pub fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let fits = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
        let cause = SIGNS.iter().find(|(_, signs)| fits(signs));
        Self {
            cause: cause.map_or(Cause::Other, |(cause, _)| *cause),
            words: shortened(text),
        }
    }

    /// What its user can do about it.
    pub fn advice(&self) -> &'static str {
        match self.cause {
            Cause::OutOfMemory => {
                "use a device with more free memory, --dtype bf16 or f16 instead of f32, or shorter texts"
            }
            Cause::NoCompiler => {
                "install NVIDIA's run-time compiler (NVRTC, part of the CUDA toolkit) of the driver's CUDA \
                 version or an older one, and name its folder in LD_LIBRARY_PATH; or use --backend wgpu or flex"
            }
            Cause::NoHeaders => {
                "install the CUDA toolkit's headers and name the toolkit's folder, which has `include` in it, in \
                 CUDA_PATH; or use --backend wgpu or flex"
            }
            Cause::Compilation => {
                "driver, CUDA toolkit and device may not fit each other: a toolkit that is newer than the driver \
                 or too old for the device compiles nothing for it; --backend wgpu or flex may serve"
            }
            Cause::WrongResult => {
                "driver and device do not compute what they are asked to: try another driver, another device of \
                 --devices, or --backend flex"
            }
            Cause::Other => {
                "GLMTUNE_LOG=debug tells more; another device of --devices or --backend flex may serve"
            }
        }
    }
}

impl fmt::Display for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.cause {
            Cause::OutOfMemory => "the device ran out of memory",
            Cause::NoCompiler => "the device's compiler (NVRTC) was not found",
            Cause::NoHeaders => "the CUDA toolkit's headers were not found",
            Cause::Compilation => "a kernel could not be compiled for the device",
            Cause::WrongResult => "the device computes wrongly",
            Cause::Other => "the device failed",
        };
        write!(f, "{what}: {}\n  what helps: {}", self.words, self.advice())
    }
}

/// The message without sources and backtraces, in one line of a bearable length.
fn shortened(text: &str) -> String {
    let text = text.strip_prefix(UNWRAPPED).unwrap_or(text);
    let end = [
        "[Source]",
        "backtrace:",
        "BackTrace",
        "No backtrace available",
    ]
    .iter()
    .filter_map(|mark| text.find(mark))
    .min();
    let text = &text[..end.unwrap_or(text.len())];
    let text = text.replace("\\n", " ").replace("\\\"", "\"");
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.trim_end_matches([',', ' ', '{']);
    match line.char_indices().nth(WORDS) {
        Some((cut, _)) => format!("{} …", &line[..cut]),
        None => line.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_from_what_the_runtimes_say() {
        let cause = |text: &str| DeviceFailure::of(text).cause;
        let cases = [
            (
                "called `Result::unwrap()` on an `Err` value: BufferTooBig { size: 4096, backtrace: disabled }",
                Cause::OutOfMemory,
            ),
            (
                "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
                Cause::OutOfMemory,
            ),
            ("wgpu error: Out of Memory\n", Cause::OutOfMemory),
            (
                "Unable to dynamically load the \"nvrtc\" shared library - searched for library names: []",
                Cause::NoCompiler,
            ),
            (
                "\n        CUDA installation not found.\n        Please ensure that CUDA is installed",
                Cause::NoHeaders,
            ),
            (
                "default_program(1): catastrophic error: cannot open source file \"cuda_bf16.h\"",
                Cause::NoHeaders,
            ),
            (
                "CompilationError(Generic { reason: \"x\" })",
                Cause::Compilation,
            ),
            (
                "called `Result::unwrap()` on an `Err` value: can't allocate buffer of size: 268288",
                Cause::OutOfMemory,
            ),
            ("the link fell off", Cause::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(cause(text), expected, "{text}");
        }
    }

    #[test]
    fn the_words_are_one_short_line() {
        let text = format!("first\n   second\\n third [Source] {}", "x".repeat(5000));
        assert_eq!(DeviceFailure::of(&text).words, "first second third");
        let text =
            "called `Result::unwrap()` on an `Err` value: can't allocate\nNo backtrace available";
        assert_eq!(DeviceFailure::of(text).words, "can't allocate");
        let long = DeviceFailure::of(&"длинно ".repeat(500)).words;
        assert!(long.chars().count() <= WORDS + 2, "{long}");
        let shown = DeviceFailure::of("out of memory").to_string();
        assert!(shown.starts_with("the device ran out of memory: out of memory\n  what helps: "));
    }
}
