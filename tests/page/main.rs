//! The chat page in a real browser: headless Chromium, driven through its WebDriver.
//!
//! The server behind the page is a scripted one, so that each answer is known to the letter. Where no `chromedriver`
//! is installed, the tests are reported as skipped; with `CI` set it must be there. Pictures of what was seen lie in
//! the build's folder for temporary files, under `page/`.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod access;
mod branches;
mod browser;
mod compare;
mod driver;
mod fake;
mod files;
mod looks;
mod safety;
mod talk;
mod units;
mod wire;
