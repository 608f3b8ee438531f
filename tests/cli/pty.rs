//! The program on a pseudo-terminal, and what stands on its screen.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// How long a screen or an end is waited for at most, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A program on a terminal.
pub struct Session {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keyboard: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Everything that came, as text.
    transcript: String,
    /// Whether the program has ended and all its output was taken.
    gone: bool,
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        ..PtySize::default()
    }
}

impl Session {
    /// Starts `glmtune` on a terminal of a size, with a folder for what it remembers.
    pub fn start(args: &[&str], (columns, rows): (u16, u16), home: &std::path::Path) -> Self {
        let pair = native_pty_system().openpty(size(columns, rows)).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_glmtune"));
        command.args(args);
        command.env("TERM", "xterm-256color");
        command.env("XDG_STATE_HOME", home);
        command.env_remove("GLMTUNE_LOG");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails when the program has gone.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            keyboard: pair.master.take_writer().unwrap(),
            master: pair.master,
            output,
            // The parser fails at sizes that real terminals have for a moment.
            screen: vt100::Parser::new(rows.max(24), columns.max(80), 500),
            transcript: String::new(),
            gone: false,
        }
    }

    /// Types keys.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Gives the terminal another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.master.resize(size(columns, rows)).unwrap();
        self.screen.screen_mut().set_size(rows, columns);
    }

    /// The text on the screen.
    pub fn screen(&self) -> String {
        self.screen.screen().contents()
    }

    /// The rows of the screen that are not empty, also where a line fills one to its end.
    pub fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let rows = screen.rows(0, screen.size().1);
        rows.map(|row| row.trim_end().to_string())
            .filter(|row| !row.is_empty())
            .collect()
    }

    /// Whether a full-screen program has the terminal.
    pub fn is_alternate(&self) -> bool {
        self.screen.screen().alternate_screen()
    }

    /// Waits until the screen shows something, and gives the screen.
    #[track_caller]
    pub fn wait_for(&mut self, what: impl Fn(&str) -> bool) -> String {
        self.wait_until(|session| what(&session.screen()));
        self.screen()
    }

    /// Waits until a text has come so many times, wherever it stood.
    #[track_caller]
    pub fn wait_for_times(&mut self, text: &str, times: usize) {
        self.wait_until(|session| session.transcript.matches(text).count() >= times);
    }

    /// Waits for more output than so many bytes.
    #[track_caller]
    pub fn wait_for_more(&mut self, bytes: usize) {
        let length = self.transcript.len() + bytes;
        self.wait_until(|session| session.transcript.len() > length);
    }

    #[track_caller]
    fn wait_until(&mut self, what: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if what(self) {
                return;
            }
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) if self.gone => break,
                Err(RecvTimeoutError::Disconnected) => self.gone = true,
            }
        }
        panic!(
            "this never came; the screen at the end:\n{}\nall output: {:?}",
            self.screen(),
            self.transcript
        );
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.transcript.push_str(&String::from_utf8_lossy(bytes));
    }

    /// Waits for a text on the screen.
    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) -> String {
        self.wait_for(|screen| screen.contains(text))
    }

    /// Waits for the end: the exit status and everything that has come.
    pub fn end_with_transcript(self) -> (u32, String) {
        let (status, _, transcript) = self.finish();
        (status, transcript)
    }

    /// Waits for the end: the exit status and the last screen.
    pub fn end(self) -> (u32, String) {
        let (status, screen, _) = self.finish();
        (status, screen)
    }

    fn finish(mut self) -> (u32, String, String) {
        // A program that does not end is a failure that is told, not a run of tests that hangs.
        self.wait_until(|session| session.gone);
        let status = self.child.wait().unwrap().exit_code();
        assert!(!self.is_alternate(), "the terminal was not given back");
        assert!(!self.screen.screen().hide_cursor(), "no cursor");
        let transcript = std::mem::take(&mut self.transcript);
        (status, self.screen(), transcript)
    }
}

impl Drop for Session {
    /// A test that fails leaves no program behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
