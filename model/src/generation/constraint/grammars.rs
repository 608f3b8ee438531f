//! Grammars over one vocabulary.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::calls;
use super::form::AnswerForm;
use super::reason::reason;
use super::schema;
use super::state::{Constraint, Phase};
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::tokenizer::tools::{Tool, ToolChoice, check_tools};
use crate::tokenizer::{Mode, Tokenizer};

/// What the engine may spend on a grammar and on a token. Its own defaults are for grammars that one trusts: they let it
/// take hundreds of megabytes.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2000,
    initial_lexer_fuel: 1_000_000,
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    // 1 to 2 kB each.
    max_lexer_states: 16_384,
    max_grammar_size: 200_000,
    precompute_large_lexemes: true,
    // They would hold the answer so far.
    verbose_errors: false,
};

/// Stack of the thread that builds a grammar: the engine descends a schema by recursion, and what
/// [`schema::prepared`] lets through takes a quarter of it.
const STACK: usize = 64 << 20;

/// The vocabulary of a model as constraints see it, made once and shared: clones are cheap.
#[derive(Clone)]
pub struct Grammars {
    vocabulary: Arc<Vocabulary>,
    factory: Arc<ParserFactory>,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.vocabulary.size;
        f.debug_struct("Grammars")
            .field("size", &size)
            .finish_non_exhaustive()
    }
}

impl Grammars {
    /// The vocabulary of a tokenizer, for logits of `vocab_size` tokens and answers that end with one of `stop_ids`. Ids
    /// that the tokenizer does not have are never allowed.
    ///
    /// # Errors
    /// [`Error::Request`] if none of `stop_ids` is in the vocabulary; [`Error::Tokenizer`] if it cannot be used.
    pub fn new(
        tokenizer: &Tokenizer,
        mode: Mode,
        vocab_size: usize,
        stop_ids: &[u32],
    ) -> Result<Self> {
        let vocabulary = Vocabulary::new(tokenizer, mode, vocab_size, stop_ids)?;
        let view = vocabulary.engine_view();
        let capabilities = InferenceCapabilities::default();
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&view, capabilities, &slices);
        let mut factory = factory.map_err(|error| Error::Tokenizer(reason(&error.to_string())))?;
        *factory.limits_mut() = LIMITS;
        // It would write to stderr, and say what users asked for.
        factory.quiet();
        Ok(Self {
            vocabulary: Arc::new(vocabulary),
            factory: Arc::new(factory),
        })
    }

    /// The state of an answer that has not begun.
    ///
    /// # Errors
    /// [`Error::Request`] that says what in a schema is wrong, not supported or too much; [`Error::Compute`] if a thread
    /// cannot be started.
    pub fn constraint(&self, form: &AnswerForm) -> Result<Constraint> {
        let (phase, grammar) = match form {
            AnswerForm::Json => {
                let schema = json!({"type": "object"});
                (Phase::opening(&self.vocabulary), Some(self.json(&schema)?))
            }
            AnswerForm::JsonSchema(schema) => {
                (Phase::opening(&self.vocabulary), Some(self.json(schema)?))
            }
            AnswerForm::Tools { tools, choice } => return self.tools(tools, choice),
        };
        Ok(self.state(phase, grammar))
    }

    fn state(&self, phase: Phase, grammar: Option<Matcher>) -> Constraint {
        Constraint::new(Arc::clone(&self.vocabulary), phase, grammar)
    }

    fn tools(&self, tools: &[Tool], choice: &ToolChoice) -> Result<Constraint> {
        check_tools(tools)?;
        self.check_mode()?;
        Ok(match choice {
            ToolChoice::None => self.state(Phase::Free, None),
            ToolChoice::Auto if tools.is_empty() => self.state(Phase::Free, None),
            ToolChoice::Auto => {
                let grammar = Some(self.calls(tools)?);
                self.state(Phase::watching(), grammar).with_calls_of(tools)
            }
            ToolChoice::Required => self.state(Phase::Bound, Some(self.calls(tools)?)),
            ToolChoice::Named(name) => {
                let named = tools.iter().filter(|tool| tool.name == *name);
                let named: Vec<Tool> = named.cloned().collect();
                self.state(Phase::Bound, Some(self.calls(&named)?))
            }
        })
    }

    fn check_mode(&self) -> Result<()> {
        let mode = self.vocabulary.mode;
        match mode.has_roles() {
            true => Ok(()),
            false => Err(Error::Request(format!(
                "mode {mode} has no tools: they came with ChatGLM3 (modes glm3 and glm4)"
            ))),
        }
    }

    fn json(&self, schema: &Value) -> Result<Matcher> {
        let schema = schema::prepared(schema, false)?;
        let first = self.first();
        self.compiled(format!("start: {first}json\njson: %json {schema}\n"))
            .map_err(|detail| {
                Error::Request(format!("the JSON schema cannot be followed: {detail}"))
            })
    }

    fn calls(&self, tools: &[Tool]) -> Result<Matcher> {
        if tools.is_empty() {
            let detail = "a call is asked for of a tool that is not there".to_string();
            return Err(Error::Request(detail));
        }
        let tools: Vec<&Tool> = tools.iter().collect();
        let compiled = self.calls_of(&tools);
        if compiled.is_ok() || tools.len() == 1 {
            return compiled;
        }
        // Which one is it?
        match tools.iter().find_map(|tool| self.calls_of(&[tool]).err()) {
            Some(error) => Err(error),
            None => compiled,
        }
    }

    fn calls_of(&self, tools: &[&Tool]) -> Result<Matcher> {
        let refused = |detail: String| {
            let whose = match tools {
                [tool] => format!("the parameters of the tool `{}`", tool.name),
                _ => "the parameters of the tools together".to_string(),
            };
            Error::Request(format!("{whose} cannot be followed: {detail}"))
        };
        let grammar = calls::grammar(self.vocabulary.mode, tools, self.first())
            .map_err(|error| refused(error.to_string()))?;
        self.compiled(grammar).map_err(refused)
    }

    /// What may stand before an answer: the space that decoding drops.
    fn first(&self) -> &'static str {
        match self.vocabulary.drops_first_space {
            true => "\" \"? ",
            false => "",
        }
    }

    /// The grammar's state at the beginning, or what is wrong with it.
    fn compiled(&self, grammar: String) -> Result<Matcher, String> {
        let factory = Arc::clone(&self.factory);
        let build = move || {
            let grammar = TopLevelGrammar::from_lark(grammar);
            let mut matcher = Matcher::new(factory.create_parser(grammar));
            // What cannot begin is told now rather than when it is a model's turn.
            let begins = matcher.compute_mask().map(|_| matcher);
            begins.map_err(|error| reason(&error.to_string()))
        };
        let thread = std::thread::Builder::new()
            .name("grammar".to_string())
            .stack_size(STACK)
            .spawn(build);
        let built = thread.map_err(|error| error.to_string())?.join();
        built.map_err(|_| "the grammar engine failed on it".to_string())?
    }
}
