//! `chat`, driven through a pipe.

use crate::{glmtune_with_input, tiny};

#[test]
fn questions_commands_and_a_saved_conversation() {
    let (dir, model) = tiny("glm3");
    let saved = dir.path().join("talk.json");
    let saved = saved.to_str().unwrap();
    let args = [
        "chat",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        "--max_new_tokens=8",
    ];
    let input = format!("hello\n/undo\nfirst \\\nsecond\n/nonsense\n/save {saved}\n/help\n/exit\n");
    let run = glmtune_with_input(&args, &input, dir.path());
    assert!(
        run.stderr.contains("/nonsense") && run.stderr.contains("/clear"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("tokens/s"), "{}", run.stderr);
    run.success();
    let talk: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(saved).unwrap()).unwrap();
    assert_eq!(talk.as_array().unwrap().len(), 2);
    assert_eq!(talk[0]["content"], "first \nsecond");
    assert_eq!(talk[1]["role"], "assistant");
    let again = [&args[..], &["--load", saved]].concat();
    glmtune_with_input(&again, "more\n", dir.path()).success();
}

#[cfg(unix)]
#[test]
fn control_c_on_a_terminal_stops_the_answer_and_no_more() {
    let (dir, model) = tiny("glm3");
    let args = [
        "chat",
        "--backend=flex",
        "--model_name_or_path",
        &model,
        // Drawn at random, an untrained model's answers end soon.
        "--greedy",
        "--max_new_tokens=1000000",
    ];
    let mut session = crate::pty::Session::start(&args, (100, 30), dir.path());
    session.wait_for_text("> ");
    for times in 1..=2 {
        session.keys("/clear\r");
        session.wait_for_times("the conversation is forgotten", times);
        session.keys("hello\r");
        // The terminal is out of the line editor's hands a second time in this turn, and more has
        // come than the end of its line: the answer, of whatever characters, is on its way.
        session.wait_for_times("\x1b[?2004l", 2 * times);
        session.wait_for_more(50);
        session.keys("\x03");
        // An answer of one token has no rate to tell.
        session.wait_for_times("[prompt ", times);
    }
    // A Ctrl-D that comes before the line editor has the terminal again is no end to it, but a NUL.
    session.wait_for_times("\x1b[?2004h", 5);
    session.keys("\x04");
    let (status, screen) = session.end();
    assert_eq!(status, 0, "{screen}");
}

/// A line that is not UTF-8 is not a reason to lose the conversation.
#[test]
fn a_line_of_other_bytes_is_left_out() {
    use std::io::Write;
    let (dir, model) = tiny("glm3");
    let args = ["chat", "--backend=flex", "--model_name_or_path", &model];
    let mut child = crate::command(&args)
        .env("XDG_STATE_HOME", dir.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"caf\xe9\n/undo\n/exit\n").unwrap();
    drop(stdin);
    let run = child.wait_with_output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(said.contains("not UTF-8"), "{said}");
    assert!(said.contains("nothing to undo"), "{said}");
}
