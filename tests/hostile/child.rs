//! The inputs of one target, read one after the other in a process of their own. Each is announced before
//! it is read, so that the parent knows which one ended the process or never ended.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use crate::memory::peak_of;
use crate::mutate::mutate;
use crate::random::Random;
use crate::targets::{TARGETS, Target};

/// What reading files of some size may hold: parsed forms take several times the space of their text.
fn bound(len: usize) -> usize {
    256 * len + (64 << 20)
}

static PANIC: Mutex<String> = Mutex::new(String::new());

/// What is said of an input: a word, and what explains it.
fn say(word: &str, index: usize, detail: &str) {
    let line = format!("\nHOSTILE {word} {index} {}\n", detail.replace('\n', " | "));
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// Reads inputs `from..to` of a target.
pub fn run(name: &str, seed: u64, from: usize, to: usize) {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        panic!("no target {name}");
    };
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut text) = PANIC.lock() {
            *text = info.to_string();
        }
    }));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    if !(target.write)(dir) {
        say("skipped", 0, "");
        return;
    }
    let originals: Vec<Vec<u8>> = target
        .files
        .iter()
        .map(|(file, _)| fs::read(dir.join(file)).unwrap())
        .collect();
    let sound = (target.read)(dir).expect("the undamaged files must be read");
    for index in from..to {
        say("start", index, "");
        let mut random = Random::new(name, seed, index);
        let which = random.below(originals.len());
        let (file, format) = target.files[which];
        let damaged = mutate(&originals[which], format, &mut random);
        let path = dir.join(file);
        fs::write(&path, &damaged).unwrap();
        judge(
            target,
            dir,
            index,
            damaged.len(),
            (damaged == originals[which]).then_some(sound),
        );
        for ((file, _), original) in target.files.iter().zip(&originals) {
            fs::write(dir.join(file), original).unwrap();
        }
    }
    say("end", to, "");
}

fn judge(target: &Target, dir: &Path, index: usize, len: usize, expected: Option<u64>) {
    let read = || catch_unwind(AssertUnwindSafe(|| (target.read)(dir)));
    let (result, peak) = peak_of(read);
    let Ok(reading) = result else {
        let text = PANIC.lock().map(|text| text.clone()).unwrap_or_default();
        return say("panic", index, &text);
    };
    if peak > bound(len) {
        say(
            "memory",
            index,
            &format!("{peak} bytes for a file of {len}"),
        );
    }
    if expected.is_some() && reading.as_ref().ok() != expected.as_ref() {
        say("wrong", index, "the undamaged files are read otherwise");
    }
    match &reading {
        Ok(_) if index.is_multiple_of(4) => match read() {
            Ok(again) if again == reading => say("accepted", index, ""),
            _ => say("wrong", index, "a second reading gives something else"),
        },
        Ok(_) => say("accepted", index, ""),
        Err(message) => match complaint(target, dir, message) {
            None => say("refused", index, message),
            Some(complaint) => say("wrong", index, &format!("{complaint}: {message:?}")),
        },
    }
}

/// What is wrong with the message of a refusal.
fn complaint(target: &Target, dir: &Path, message: &str) -> Option<&'static str> {
    let names = target
        .files
        .iter()
        .filter_map(|(file, _)| Path::new(file).file_name()?.to_str());
    let mut names = names.chain([dir.to_str().unwrap_or_default()]);
    if message
        .chars()
        .any(|character| character != '\n' && character.is_control())
    {
        return Some("the message holds control characters");
    }
    if !names.any(|name| message.contains(name)) {
        return Some("the message names no file");
    }
    (message.len() > 1 << 16).then_some("the message has no end")
}
