//! Answers of a model that has tools, also as they come: text, or a call.

use serde_json::{Map, Value};

use super::literal;
use super::tool::{Tool, ToolCall};
use crate::tokenizer::mode::Mode;

/// The function that ChatGLM3 calls, whichever the tool.
const CALL: &str = "tool_call";
const FENCE: &str = "```";

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Text for the user.
    Text(String),
    /// A call of a tool.
    Call(ToolCall),
}

/// What has become certain of an answer that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEvent {
    /// More text.
    TextDelta(String),
    /// The answer is a call of this tool.
    CallStarted {
        /// The tool's name.
        name: String,
    },
    /// More of the JSON text of the call's arguments.
    ArgumentsDelta(String),
}

/// Reads an answer of a model that was told of tools. `raw` is what the tokens after `<|assistant|>` are decoded to
/// ([`Tokenizer::decode`](crate::tokenizer::Tokenizer::decode)): what stands before the first line break says whether it is
/// a call. A call whose arguments cannot be read is text, unless they are the beginning of a JSON object: that of an
/// answer that was cut short.
pub fn read_answer(mode: Mode, raw: &str, tools: &[Tool]) -> Answer {
    let mut reader = AnswerReader::new(mode, tools);
    let mut events = reader.push(raw);
    events.extend(reader.finish());
    let mut text = String::new();
    let mut name = None;
    for event in events {
        match event {
            AnswerEvent::TextDelta(delta) | AnswerEvent::ArgumentsDelta(delta) => {
                text.push_str(&delta);
            }
            AnswerEvent::CallStarted { name: called } => name = Some(called),
        }
    }
    match name {
        Some(name) => Answer::Call(ToolCall {
            name,
            arguments: text,
        }),
        None => Answer::Text(text),
    }
}

/// Reads an answer as it comes: text and JSON arguments are passed on at once, those of a Python call at its end.
/// Together the events are what [`read_answer`] makes of the whole.
#[derive(Debug)]
pub struct AnswerReader {
    mode: Mode,
    names: Vec<String>,
    state: State,
    /// What has not been passed on.
    held: String,
}

#[derive(Debug)]
enum State {
    /// The line of the role, which a tool's name may stand on.
    Line,
    /// The line named this tool, and took so many bytes of `held` with its break; what follows is not clear.
    Named(String, usize),
    /// A Python call, which is read when it is whole; as for [`State::Named`].
    Python(String, usize),
    /// JSON arguments; whitespace is held because it may be the answer's end.
    Json,
    /// After an empty line of the role: SentencePiece begins the text with a space.
    BeforeText,
    Text,
}

impl AnswerReader {
    /// Nothing has come yet.
    pub fn new(mode: Mode, tools: &[Tool]) -> Self {
        Self {
            mode,
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
            state: match mode.has_roles() {
                true => State::Line,
                false => State::Text,
            },
            held: String::new(),
        }
    }

    /// Adds a piece of the decoded text.
    pub fn push(&mut self, piece: &str) -> Vec<AnswerEvent> {
        self.held.push_str(piece);
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// The model began another turn of its own, with the token `<|assistant|>`: ChatGLM3 says what it is about to do and
    /// calls a tool in the next turn. What was text stays text. To be called only after text.
    pub fn next_turn(&mut self) -> Vec<AnswerEvent> {
        let state = match self.mode.has_roles() {
            true => State::Line,
            false => State::Text,
        };
        let held = std::mem::take(&mut self.held);
        ended(std::mem::replace(&mut self.state, state), held)
    }

    /// The answer has ended.
    pub fn finish(self) -> Vec<AnswerEvent> {
        ended(self.state, self.held)
    }

    /// Goes on by one state, if what is held is enough for that.
    fn step(&mut self, events: &mut Vec<AnswerEvent>) -> bool {
        match &self.state {
            State::Line => self.read_line(),
            State::Named(name, line) => {
                let (name, line) = (name.clone(), *line);
                self.read_form(name, line, events)
            }
            State::Python(..) => false,
            State::Json => {
                let length = self.held.trim_end().len();
                if length > 0 {
                    let rest = self.held.split_off(length);
                    let delta = std::mem::replace(&mut self.held, rest);
                    events.push(AnswerEvent::ArgumentsDelta(delta));
                }
                false
            }
            State::BeforeText => {
                if self.held.is_empty() {
                    return false;
                }
                if self.mode == Mode::Glm3 && self.held.starts_with(' ') {
                    self.held.remove(0);
                }
                self.state = State::Text;
                true
            }
            State::Text => {
                events.extend(text(std::mem::take(&mut self.held)));
                false
            }
        }
    }

    fn read_line(&mut self) -> bool {
        let end = self.held.find('\n');
        let length = end.unwrap_or(self.held.len());
        if length > LONGEST_LINE {
            self.state = State::Text;
            return true;
        }
        let Some(end) = end else {
            let begun = self.held.trim_start();
            let mut names = self.names.iter();
            let may_be_name = names.any(|name| {
                let rest = begun.strip_prefix(name.as_str());
                name.starts_with(begun) || rest.is_some_and(|rest| rest.trim().is_empty())
            });
            if begun.is_empty() || may_be_name {
                return false;
            }
            self.state = State::Text;
            return true;
        };
        let line = self.held[..end].trim();
        if line.is_empty() {
            self.held.drain(..=end);
            self.state = State::BeforeText;
            return true;
        }
        self.state = match self.names.iter().find(|name| *name == line) {
            Some(name) => State::Named(name.clone(), end + 1),
            None => State::Text,
        };
        true
    }

    /// Decides by how they begin of which form the arguments are.
    fn read_form(&mut self, name: String, line: usize, events: &mut Vec<AnswerEvent>) -> bool {
        let content = self.held[line..].trim_start();
        if content.is_empty() || FENCE.starts_with(content) || CALL.starts_with(content) {
            return false;
        }
        if content.starts_with('{') {
            self.held = content.to_string();
            self.state = State::Json;
            events.push(AnswerEvent::CallStarted { name });
        } else if content.starts_with(FENCE) || content.starts_with(CALL) {
            self.state = State::Python(name, line);
        } else {
            self.state = State::Text;
        }
        true
    }
}

/// Bytes of a line that may name a tool, with whitespace around the name.
const LONGEST_LINE: usize = 128;

/// What is left at the end of a turn.
fn ended(state: State, held: String) -> Vec<AnswerEvent> {
    match state {
        State::Json => Vec::new(),
        State::Python(name, line) => match python_arguments(&held[line..], &name) {
            Some(arguments) => call(name, arguments),
            None => text(held),
        },
        State::Line | State::Named(..) | State::BeforeText | State::Text => text(held),
    }
}

fn text(text: String) -> Vec<AnswerEvent> {
    match text.is_empty() {
        true => Vec::new(),
        false => vec![AnswerEvent::TextDelta(text)],
    }
}

fn call(name: String, arguments: String) -> Vec<AnswerEvent> {
    vec![
        AnswerEvent::CallStarted { name },
        AnswerEvent::ArgumentsDelta(arguments),
    ]
}

/// The arguments of a Python call, in a code block or bare, as JSON text.
fn python_arguments(content: &str, name: &str) -> Option<String> {
    let content = content.trim();
    let content = match content.strip_prefix(FENCE) {
        Some(block) => {
            let (_language, block) = block.split_once('\n')?;
            block.trim_end().strip_suffix(FENCE)?
        }
        None => content,
    };
    if let Some(arguments) = json_arguments(content) {
        return Some(arguments);
    }
    let (called, arguments) = literal::read_call(content)?;
    (called == CALL || called == name).then(|| Value::Object(arguments).to_string())
}

/// A JSON object in a code block.
fn json_arguments(content: &str) -> Option<String> {
    let arguments: Map<String, Value> = serde_json::from_str(content).ok()?;
    Some(Value::Object(arguments).to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::call_message;
    use super::*;

    fn tools() -> Vec<Tool> {
        let tool = |name: &str| Tool {
            name: name.to_string(),
            description: String::new(),
            parameters: Value::Null,
        };
        vec![tool("get_weather"), tool("get_weather_at"), tool("/音乐")]
    }

    fn called(name: &str, arguments: &str) -> Answer {
        Answer::Call(ToolCall {
            name: name.to_string(),
            arguments: arguments.to_string(),
        })
    }

    fn said(text: &str) -> Answer {
        Answer::Text(text.to_string())
    }

    #[test]
    fn published_calls_are_read() {
        let raw = "get_weather\n ```python\ntool_call(location=\"beijing\", unit='celsius')\n```";
        let expected = called("get_weather", r#"{"location":"beijing","unit":"celsius"}"#);
        assert_eq!(read_answer(Mode::Glm3, raw, &tools()), expected);
        let raw = "get_weather_at\n{\"location\": \"北京\"}\n";
        let expected = called("get_weather_at", r#"{"location": "北京"}"#);
        assert_eq!(read_answer(Mode::Glm4, raw, &tools()), expected);
        assert_eq!(read_answer(Mode::Glm3, raw, &tools()), expected);
        let raw = "/音乐\ntool_call()";
        assert_eq!(
            read_answer(Mode::Glm3, raw, &tools()),
            called("/音乐", "{}")
        );
    }

    #[test]
    fn all_else_is_text() {
        for (raw, text) in [
            ("\n你好", "你好"),
            ("\n\n你好", "\n你好"),
            ("你好\n再见", "你好\n再见"),
            ("你好", "你好"),
            ("", ""),
            ("\n", ""),
            ("get_weather", "get_weather"),
            ("get_weather\n", "get_weather\n"),
            ("get_time\n{}", "get_time\n{}"),
            ("get_weather\nis a tool", "get_weather\nis a tool"),
            (
                "get_weather\n```python\nexit()\n```",
                "get_weather\n```python\nexit()\n```",
            ),
        ] {
            assert_eq!(read_answer(Mode::Glm4, raw, &tools()), said(text), "{raw}");
        }
        assert_eq!(read_answer(Mode::Glm3, "\n 你好", &tools()), said("你好"));
        assert_eq!(read_answer(Mode::Glm3, "\n 你好", &[]), said("你好"));
        assert_eq!(read_answer(Mode::Glm2, "\n 你好", &[]), said("\n 你好"));
    }

    #[test]
    fn a_call_is_seen_as_soon_as_its_form_is() {
        let tools = tools();
        let mut reader = AnswerReader::new(Mode::Glm4, &tools);
        assert_eq!(reader.push("get_wea"), []);
        assert_eq!(reader.push("ther\n"), []);
        let events = reader.push("{\"a\": ");
        let name = "get_weather".to_string();
        let delta = |text: &str| AnswerEvent::ArgumentsDelta(text.to_string());
        assert_eq!(
            events,
            [AnswerEvent::CallStarted { name }, delta("{\"a\":")]
        );
        assert_eq!(reader.push("1}\n"), [delta(" 1}")]);
        assert_eq!(reader.finish(), []);

        let mut reader = AnswerReader::new(Mode::Glm4, &tools);
        let text = |text: &str| AnswerEvent::TextDelta(text.to_string());
        assert_eq!(reader.push("\n"), []);
        assert_eq!(reader.push("你"), [text("你")]);
        let mut reader = AnswerReader::new(Mode::Glm4, &tools);
        assert_eq!(reader.push("get_x"), [text("get_x")]);
        assert_eq!(reader.push("\nget_weather\n"), [text("\nget_weather\n")]);
    }

    #[test]
    fn a_call_may_follow_text_in_a_turn_of_its_own() {
        let mut reader = AnswerReader::new(Mode::Glm3, &tools());
        let mut events = reader.push("\n I look it up.");
        events.extend(reader.next_turn());
        events.extend(reader.push("get_weather\n ```python\ntool_call(a=1)\n```"));
        events.extend(reader.finish());
        let name = "get_weather".to_string();
        let expected = [
            AnswerEvent::TextDelta("I look it up.".to_string()),
            AnswerEvent::CallStarted { name },
            AnswerEvent::ArgumentsDelta("{\"a\":1}".to_string()),
        ];
        assert_eq!(events, expected);
    }

    fn answers() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("\n".to_string()),
            Just(" ".to_string()),
            Just("get_weather".to_string()),
            Just("_at".to_string()),
            Just("```python\n".to_string()),
            Just("```".to_string()),
            Just("tool_call(a='b')".to_string()),
            Just("{\"a\": [1]}".to_string()),
            any::<String>(),
        ];
        proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(
            raw in answers(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            is_glm4 in any::<bool>(),
        ) {
            let mode = if is_glm4 { Mode::Glm4 } else { Mode::Glm3 };
            let characters: Vec<char> = raw.chars().collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(characters.len() + 1)).collect();
            cuts.extend([0, characters.len()]);
            cuts.sort_unstable();
            let mut reader = AnswerReader::new(mode, &tools());
            let mut events = Vec::new();
            for piece in cuts.windows(2) {
                events.extend(reader.push(&characters[piece[0]..piece[1]].iter().collect::<String>()));
            }
            events.extend(reader.finish());
            let (mut name, mut text) = (None, String::new());
            for event in events {
                match event {
                    AnswerEvent::CallStarted { name: called } => {
                        prop_assert!(name.is_none() && text.is_empty());
                        name = Some(called);
                    }
                    AnswerEvent::TextDelta(delta) => {
                        prop_assert!(name.is_none());
                        text.push_str(&delta);
                    }
                    AnswerEvent::ArgumentsDelta(delta) => {
                        prop_assert!(name.is_some());
                        text.push_str(&delta);
                    }
                }
            }
            let answer = match name {
                Some(name) => Answer::Call(ToolCall { name, arguments: text }),
                None => Answer::Text(text),
            };
            prop_assert_eq!(read_answer(mode, &raw, &tools()), answer);
        }

        #[test]
        fn calls_are_read_back(
            pairs in proptest::collection::vec(("[a-z_][a-z0-9_]{0,5}", any::<String>()), 0..4),
            number in any::<i64>(),
            is_glm4 in any::<bool>(),
        ) {
            let mode = if is_glm4 { Mode::Glm4 } else { Mode::Glm3 };
            let texts = pairs.into_iter().map(|(key, text)| (key, Value::from(text)));
            let arguments: Map<String, Value> =
                texts.chain([("n".to_string(), Value::from(number))]).collect();
            let call = ToolCall {
                name: "get_weather".to_string(),
                arguments: Value::Object(arguments).to_string(),
            };
            let message = call_message(mode, &call).unwrap();
            let raw = format!("{}\n{}", message.metadata, message.content);
            prop_assert_eq!(read_answer(mode, &raw, &tools()), Answer::Call(call));
        }
    }
}
