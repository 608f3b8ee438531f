//! The dashboard on a pseudo-terminal: what it shows, and how one leaves it.

use std::path::Path;

use super::metrics;
use crate::pty::Session;
use crate::{file, tiny};

struct Case {
    dir: tempfile::TempDir,
    args: Vec<String>,
    output: String,
}

impl Case {
    /// A training that outlasts every test unless it is stopped.
    fn new(steps: usize) -> Self {
        let (dir, model) = tiny("glm2");
        let row = "{\"instruction\": \"count\", \"input\": \"\", \"output\": \"one two three\"}\n";
        let rows = file(&dir, "rows.jsonl", &row.repeat(8));
        let output = dir.path().join("first-run").to_str().unwrap().to_string();
        let args = [
            "train",
            "--backend=flex",
            "--no_cache",
            "--per_device_train_batch_size=2",
            "--lora_dropout=0",
        ];
        let args = args.into_iter().map(str::to_string).chain([
            format!("--model_name_or_path={model}"),
            format!("--train_path={rows}"),
            format!("--output_dir={output}"),
            format!("--num_train_epochs={}", steps / 4),
            format!("--max_steps={steps}"),
            "--save_total_limit=1".to_string(),
        ]);
        Self {
            args: args.collect(),
            output,
            dir,
        }
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let args = self.args.iter().map(String::as_str);
        args.chain(more.iter().copied()).collect()
    }

    fn start(&self, size: (u16, u16), more: &[&str]) -> Session {
        Session::start(&self.args(more), size, self.dir.path())
    }

    fn steps(&self) -> usize {
        metrics(Path::new(&self.output)).len()
    }
}

#[track_caller]
fn shows(screen: &str, texts: &[&str]) {
    for text in texts {
        assert!(screen.contains(text), "{text} is missing:\n{screen}");
    }
}

/// The number that follows some words.
#[track_caller]
fn number_after(screen: &str, words: &str) -> usize {
    let rest = screen.split(words).nth(1).unwrap_or_default();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    let number = digits.unwrap_or_default().parse();
    number.unwrap_or_else(|_| panic!("{words} and a number are missing: {screen}"))
}

#[test]
fn a_run_is_shown_and_leaves_its_summary() {
    let case = Case::new(12);
    let mut session = case.start((80, 24), &[]);
    // The last line of a picture.
    let screen = session.wait_for_text("q stop");
    shows(
        &screen,
        &[
            "glmtune train",
            "first-run",
            "model",
            "lora, rank 8",
            "flex (CPU",
            "loss",
            "q stop",
        ],
    );
    let (status, screen) = session.end_with_transcript();
    assert_eq!(status, 0, "{screen}");
    shows(
        &screen,
        &["rows: 8", "step 12/12", "saved ", "12 steps done"],
    );
    assert_eq!(case.steps(), 12);
}

#[test]
fn q_saves_and_a_resume_shows_the_history() {
    let case = Case::new(400_000);
    let mut session = case.start((80, 24), &["--save_model_step=1000000"]);
    session.wait_for(|screen| screen.contains(" left") && screen.contains("step 1 "));
    session.keys("q");
    shows(
        &session.wait_for_text("Stop the training?"),
        &["discard", "Esc  go on"],
    );
    session.keys("\x1b");
    session.wait_for(|screen| !screen.contains("Stop the training?"));
    session.resize(130, 40);
    session.wait_for_text("╭ grad norm");
    session.keys("q");
    session.wait_for_text("Stop the training?");
    session.keys("s");
    let (status, screen) = session.end();
    assert_eq!(status, 1, "{screen}");
    shows(
        &screen,
        &["stopped and saved after step", "--resume goes on"],
    );
    let done = number_after(&screen, "after step ");
    assert_eq!(done, case.steps());

    let mut session = case.start((80, 24), &["--resume"]);
    let is_later = |screen: &str| screen.contains("╭ loss") && screen.contains("step 1 ");
    let resumed = format!("resumed after step {done}");
    shows(&session.wait_for(is_later), &[&resumed]);
    session.keys("\x03");
    let (status, screen) = session.end();
    assert_eq!(status, 1, "{screen}");
    shows(&screen, &["stopped and saved"]);
    assert!(case.steps() > done);
}

#[test]
fn q_discards_what_was_not_saved() {
    let case = Case::new(400_000);
    let mut session = case.start((60, 16), &[]);
    session.wait_for_text("epoch-");
    session.keys("q");
    session.wait_for_text("discard");
    session.keys("d");
    let (status, screen) = session.end();
    assert_eq!(status, 1, "{screen}");
    assert!(!screen.contains("panicked"), "{screen}");
    shows(&screen, &["stopped"]);
    // The checkpoint of an epoch's end is there, and nothing later.
    let mut session = case.start((80, 24), &["--resume"]);
    let screen = session.wait_for_text("resumed after step ");
    let step = number_after(&screen, "resumed after step ");
    assert!(step > 0 && step.is_multiple_of(4), "{screen}");
    session.keys("\x03");
    session.end();
}

#[test]
fn control_c_twice_ends_at_once_and_gives_the_terminal_back() {
    let case = Case::new(400_000);
    let mut session = case.start((80, 24), &[]);
    session.wait_for_text("● training");
    session.keys("\x03\x03");
    let (status, screen) = session.end();
    // The step may have ended between the two.
    assert!(status == 130 || status == 1, "{status}: {screen}");
    assert!(!screen.contains("panicked"), "{screen}");
}

#[test]
fn tiny_terminals_are_no_trouble() {
    let case = Case::new(8);
    for size in [(1, 1), (10, 3), (40, 8)] {
        let (status, screen) = case.start(size, &[]).end();
        assert_eq!(status, 0, "{size:?}: {screen}");
    }
}
