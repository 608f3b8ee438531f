//! The tool format of ChatGLM3 and GLM-4, as published: how a model is told of its tools, how it asks for one, and how
//! the result comes back. It stands beside the prompts because it is a part of them: what is written here becomes a
//! [`Message`](super::Message), and what is read is the text of an answer.
//!
//! | | ChatGLM3 | GLM-4 |
//! |---|---|---|
//! | tools | `<\|system\|>`, a sentence, a JSON list | `<\|system\|>`, `# 可用工具`, a JSON object for each |
//! | a call | `<\|assistant\|>name`, a Python call in a code block | `<\|assistant\|>name`, the arguments as JSON |
//! | a result | `<\|observation\|>` | `<\|observation\|>` |
//!
//! Calls of either form are read in both families: arguments that ChatGLM3's form cannot hold are JSON there too.

mod literal;
mod messages;
mod reader;
mod tool;

pub use messages::{call_message, result_message, tools_message};
pub use reader::{Answer, AnswerEvent, AnswerReader, read_answer};
pub use tool::{Tool, ToolCall, ToolChoice, check_tools};

pub(crate) use literal::{is_identifier, write as write_literal};
pub(crate) use messages::{BLOCK_END, BLOCK_START};
