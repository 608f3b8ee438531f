//! `chromedriver` and the headless Chromium that it drives.
//!
//! A browser's start takes longer than most tests: a test takes one that another has left in order, and only where
//! there is none starts one.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire;

/// Browsers that no test is using.
static FREE: Mutex<Vec<Driver>> = Mutex::new(Vec::new());

/// A driver's process with one session; it and its browser end with it.
pub struct Driver {
    child: Child,
    pub port: u16,
    pub session: String,
    /// The browser's profile, and what tests download.
    pub folder: TempDir,
}

/// A browser; None where the machine has no `chromedriver`.
pub fn take() -> Option<Driver> {
    // Statics are not dropped.
    static AT_EXIT: Once = Once::new();
    // SAFETY: the function takes nothing, returns nothing and does not unwind.
    AT_EXIT.call_once(|| assert_eq!(unsafe { libc::atexit(end_all) }, 0));
    let free = FREE.lock().unwrap().pop();
    free.or_else(Driver::start)
}

/// Leaves a browser to the next test.
pub fn put_back(driver: Driver) {
    FREE.lock().unwrap().push(driver);
}

extern "C" fn end_all() {
    if let Ok(mut free) = FREE.lock() {
        free.clear();
    }
}

impl Driver {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let required = std::env::var_os("CI").is_some();
                assert!(!required, "chromedriver is not installed");
                eprintln!("skipped: chromedriver is not installed");
                return None;
            }
            Err(error) => panic!("chromedriver does not start: {error}"),
        };
        let mut driver = Self {
            child,
            port: 0,
            session: String::new(),
            folder,
        };
        driver.port = driver.read_port();
        driver.session = driver.start_browser();
        Some(driver)
    }

    /// It says which port it took, and ends on its own where it cannot take one.
    fn read_port(&mut self) -> u16 {
        let output = BufReader::new(self.child.stdout.take().unwrap());
        let mut lines = output.lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("successfully on port "));
        // Its later lines go nowhere, but must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let line = line.expect("chromedriver says that it has started");
        let port = line.trim_end_matches('.').rsplit(' ').next().unwrap();
        port.parse().unwrap()
    }

    fn start_browser(&self) -> String {
        let options = capabilities(&self.folder.path().join("profile"));
        let body = json!({"capabilities": {"alwaysMatch": options}});
        let session = command(self.port, "session", &body);
        let id = session["sessionId"].as_str();
        id.expect("a session has an id").to_string()
    }
}

/// A command to the driver that listens on `port`: a path below its root, and what came back.
pub fn command(port: u16, path: &str, body: &Value) -> Value {
    let line = format!("POST /{path}");
    let headers = ["Content-Type: application/json"];
    let answer = wire::ask(port, &line, &headers, &body.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str::<Value>(&answer.body).unwrap()["value"].take()
}

fn capabilities(profile: &Path) -> Value {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1400,900",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        "--lang=en-US",
        "--accept-lang=en-US",
        &format!("--user-data-dir={}", profile.display()),
    ];
    json!({
        "goog:chromeOptions": {"args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    })
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends its browser, whatever state a test has left it in.
        let _ = wire::ask(self.port, "GET /shutdown", &[], "");
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Ok(group) = i32::try_from(self.child.id()) else {
            return;
        };
        // SAFETY: a signal to the process group that this driver was started as the head of.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.child.wait();
    }
}
