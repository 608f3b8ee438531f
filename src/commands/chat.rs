//! `glmtune chat`: a conversation in the terminal, streamed.

use std::io::{ErrorKind, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::files::{self, Limit};
use glmtune_model::generation::{GenerationOptions, generate};
use glmtune_model::rows::Prompting;
use glmtune_model::tokenizer::{Message, Role, Tokenizer};
use glmtune_model::{GlmBackend, ModelInfo};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::console::{catch_interrupts, clear_interrupt, interrupted, note};
use super::error::{Error, Result};
use super::generate::{Speed, Stream, generation_options};
use super::leftovers::tidy_beside;
use super::session::{self, Session, say_prompting, type_name};
use crate::backend::{Selected, select};
use crate::cli::ChatArgs;
use crate::on_backend;

const HELP: &str = "\
/help            this list
/clear           forget the conversation
/undo            forget the last question and its answer
/system TEXT     set the system message (without TEXT: remove it)
/save FILE       write the conversation as JSON; --load FILE goes on with it
/exit            leave (also Ctrl-D)
Ctrl-C           stop the answer; at the prompt, drop the line
A line that ends in \\ goes on in the next.";

/// Runs the command.
pub fn run(args: &ChatArgs) -> Result<()> {
    let info = session::open(&args.model)?;
    let tokenizer = info.tokenizer()?;
    let options = chat_options(args, &info);
    options.validate()?;
    let conversation = Conversation::start(args)?;
    let selected = select(args.model.compute.backend, &args.model.compute.devices)?;
    on_backend!(&selected, |device: B| {
        let session = Session::<B>::load(&info, &args.model, &selected, &device)?;
        greet(args, &info, &selected, &session);
        let mut chat = Chat {
            session: &session,
            prompting: info.prompting(args.prompting.prompt_format),
            tokenizer,
            options,
            conversation,
        };
        chat.run()
    })
}

/// A chat draws its answers, as the published one does, unless told otherwise.
fn chat_options(args: &ChatArgs, info: &ModelInfo) -> GenerationOptions {
    let mut options = generation_options(&args.sampling, info);
    options.max_new_tokens = args.sampling.max_new_tokens.unwrap_or(2048);
    options.sampling = match args.greedy {
        true => None,
        false => Some(options.sampling.unwrap_or_default()),
    };
    options
}

fn greet<B: GlmBackend>(
    args: &ChatArgs,
    info: &ModelInfo,
    selected: &Selected,
    session: &Session<B>,
) {
    note(format!(
        "{} ({}) on {selected}, {}, loaded in {:.1} s. /help lists the commands.",
        args.model.model_name_or_path.display(),
        info.mode,
        type_name(session.dtype),
        session.load_time.as_secs_f64()
    ));
    say_prompting(&info.prompting(args.prompting.prompt_format));
}

/// What was said so far.
struct Conversation {
    system: Option<Message>,
    turns: Vec<Message>,
}

impl Conversation {
    fn start(args: &ChatArgs) -> Result<Self> {
        let mut turns = match &args.load {
            Some(path) => read_conversation(path)?,
            None => Vec::new(),
        };
        let saved = turns.first().is_some_and(|turn| turn.role == Role::System);
        let saved = saved.then(|| turns.remove(0));
        let given = args.system.clone();
        Ok(Self {
            system: given.map(|text| Message::new(Role::System, text)).or(saved),
            turns,
        })
    }

    fn messages(&self) -> Vec<Message> {
        self.system.iter().chain(&self.turns).cloned().collect()
    }

    /// Forgets the last question and what followed it.
    fn undo(&mut self) -> bool {
        let last = self.turns.iter().rposition(|turn| turn.role == Role::User);
        self.turns.truncate(last.unwrap_or(0));
        last.is_some()
    }
}

fn read_conversation(path: &Path) -> Result<Vec<Message>> {
    Ok(files::read_json(path, Limit::CONVERSATION)?)
}

/// What a line asks for.
enum Input {
    Question(String),
    Command(String, String),
    Nothing,
    Leave,
}

struct Chat<'a, B: GlmBackend> {
    session: &'a Session<B>,
    prompting: Prompting,
    tokenizer: &'a Tokenizer,
    options: GenerationOptions,
    conversation: Conversation,
}

impl<B: GlmBackend> Chat<'_, B> {
    fn run(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new().map_err(editor_error)?;
        // After the editor, which sets a handler of Ctrl-C of its own that does nothing during an answer.
        catch_interrupts()?;
        let history = history_file();
        if let Some(path) = &history {
            // A first run has none.
            let _ = editor.load_history(path);
        }
        loop {
            match read_input(&mut editor)? {
                Input::Question(question) => self.answer(question)?,
                Input::Command(name, rest) => match self.command(&name, &rest) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break,
                    // A command that failed is not a reason to lose the conversation.
                    Err(error) => note(format!("error: {error}")),
                },
                Input::Nothing => {}
                Input::Leave => break,
            }
        }
        if let Some(path) = &history {
            let _ = editor.save_history(path);
        }
        Ok(())
    }

    fn command(&mut self, name: &str, rest: &str) -> Result<ControlFlow<()>> {
        match name {
            "help" => note(HELP),
            "exit" | "quit" => return Ok(ControlFlow::Break(())),
            "clear" => {
                self.conversation.turns.clear();
                note("the conversation is forgotten");
            }
            "undo" => note(match self.conversation.undo() {
                true => "the last question is forgotten",
                false => "there is nothing to undo",
            }),
            "system" => {
                let system = (!rest.is_empty()).then(|| Message::new(Role::System, rest));
                self.conversation.system = system;
                note("the system message is set");
            }
            "save" => self.save(rest)?,
            _ => note(format!("unknown command /{name}; /help lists the commands")),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn save(&self, file: &str) -> Result<()> {
        if file.is_empty() {
            return Err(Error::Request("give a file: /save FILE".to_string()));
        }
        let path = Path::new(file);
        let text = serde_json::to_string_pretty(&self.conversation.messages())
            .map_err(|error| glmtune_model::Error::json(path, error))?;
        tidy_beside(path);
        AtomicFile::write(path, text.as_bytes())?;
        note(format!("saved to {file}"));
        Ok(())
    }

    fn answer(&mut self, question: String) -> Result<()> {
        self.conversation
            .turns
            .push(Message::new(Role::User, question));
        match self.generate() {
            Ok(answer) => {
                let answer = Message::new(Role::Assistant, answer);
                self.conversation.turns.push(answer);
                Ok(())
            }
            Err(error @ Error::Stream(_)) => Err(error),
            Err(error) => {
                self.conversation.undo();
                note(format!("error: {error}"));
                Ok(())
            }
        }
    }

    fn generate(&self) -> Result<String> {
        let messages = self.conversation.messages();
        let prompt = self.prompting.prompt(self.tokenizer, &messages)?.ids;
        clear_interrupt();
        let mut speed = Speed::start(prompt.len());
        let mut stream = Stream::new(Some(self.tokenizer));
        let generation = generate(
            &self.session.model,
            &[prompt],
            &self.options,
            &mut |event| {
                speed.count(event);
                match stream.push(event.token) {
                    Ok(()) if !interrupted() => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            },
        );
        let text = stream.finish()?;
        generation?;
        clear_interrupt();
        note(format!("[{}]", speed.summary()));
        Ok(text)
    }
}

/// One question or command, over several lines where they end in a backslash.
fn read_input(editor: &mut DefaultEditor) -> Result<Input> {
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "> " } else { "… " };
        match editor.readline(prompt) {
            Ok(line) => match line.strip_suffix('\\') {
                Some(part) => text.push_str(&format!("{part}\n")),
                None => {
                    text.push_str(&line);
                    break;
                }
            },
            Err(ReadlineError::Interrupted) => return Ok(Input::Nothing),
            Err(ReadlineError::Eof) => return Ok(Input::Leave),
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                note("error: the line is not UTF-8 and is left out");
                return Ok(Input::Nothing);
            }
            Err(error) => return Err(editor_error(error)),
        }
    }
    if text.trim().is_empty() {
        return Ok(Input::Nothing);
    }
    if std::io::stdin().is_terminal() {
        let _ = editor.add_history_entry(&text);
    }
    let Some(command) = text.strip_prefix('/') else {
        return Ok(Input::Question(text));
    };
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    Ok(Input::Command(name.to_string(), rest.trim().to_string()))
}

fn editor_error(error: ReadlineError) -> Error {
    match error {
        ReadlineError::Io(error) => Error::Stream(error),
        other => Error::Stream(std::io::Error::other(other)),
    }
}

/// Lines typed in earlier chats: `~/.local/state/glmtune/history`, or below XDG_STATE_HOME.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let dir = state.join("glmtune");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}
