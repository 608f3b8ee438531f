//! Methods of tuning side by side: what several runs of each made of one base model, as [`Results`], and these as
//! Markdown and as a page.
//!
//! Nothing here runs anything: [`Inputs`] are answers that were given and what was measured while they were.

mod examples;
mod format;
mod inputs;
mod markdown;
mod numbers;
mod page;
mod plot;
mod results;
mod scored;

pub use inputs::{Inputs, MethodInput, Outcome, RunInput, Tuned};
pub use markdown::markdown;
pub use numbers::results;
pub use page::page;
pub use results::{
    Base, Cost, Example, ExampleAnswer, Method, Point, Results, Run, SCHEMA, Spread, State,
    Summary, Training,
};
