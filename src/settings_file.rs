//! `--config FILE.toml`: settings by the names of the flags. They are put among the arguments before
//! these are parsed, so that there is one place that knows what a setting may be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use glmtune_model::error::{Error, Result};
use glmtune_model::files::{self, Limit};
use glmtune_model::near_names::near_names;
use toml::{Table, Value};

use crate::cli::{Cli, normalize_flag};

/// The command whose settings can stand in a file, and the one that plans it.
const COMMAND: &str = "train";
const PLANNING: &str = "inspect";
/// Near names that an error lists.
const NEAR_NAMES: usize = 3;

/// Arguments (with `-` in the names of flags) with the settings of a `--config` file and of the quick
/// start put in; `quick_start` gives the latter for an output directory. What is given as a flag wins.
///
/// # Errors
/// If the file cannot be read, or holds a name that is not a flag or a value that the flag does not take.
pub fn expand(
    args: Vec<OsString>,
    quick_start: impl Fn(Option<PathBuf>) -> Result<Vec<Setting>>,
) -> Result<Vec<OsString>> {
    let Some(place) = command_at(&args) else {
        return Ok(args);
    };
    let given = flags(&args[place..]);
    let mut settings = Vec::new();
    if let Some(path) = value_of(&args[place..], "--config") {
        settings.extend(read(&path)?);
    }
    if given.iter().any(|flag| flag == "--quick-start") {
        let dir = value_of(&args[place..], "--output-dir");
        settings.extend(quick_start(dir)?);
    }
    let mut known = given;
    let mut expanded = args[..=place].to_vec();
    for (flag, argument) in settings {
        if !known.contains(&flag) {
            known.push(flag);
            expanded.push(argument);
        }
    }
    expanded.extend_from_slice(&args[place + 1..]);
    Ok(expanded)
}

/// Where the command stands that takes settings: it is the first word after the program's name.
fn command_at(args: &[OsString]) -> Option<usize> {
    let command = args.get(1)?;
    (command == COMMAND || command == PLANNING).then_some(1)
}

/// The names of the flags among some arguments.
fn flags(args: &[OsString]) -> Vec<String> {
    let texts = args.iter().filter_map(|arg| arg.to_str());
    let flags = texts.filter(|text| text.starts_with("--"));
    flags
        .map(|text| text.split('=').next().unwrap_or(text).to_string())
        .collect()
}

fn value_of(args: &[OsString], flag: &str) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == flag {
            return args.next().map(PathBuf::from);
        }
        let value = arg.to_str().and_then(|text| text.strip_prefix(flag));
        if let Some(value) = value.and_then(|rest| rest.strip_prefix('=')) {
            return Some(PathBuf::from(value));
        }
    }
    None
}

/// A flag and the argument that gives it.
pub type Setting = (String, OsString);

fn read(path: &Path) -> Result<Vec<Setting>> {
    let text = files::read_text(path, Limit::SETTINGS)?;
    parse(&text, path)
}

/// The settings in the text of a file; `path` is for messages.
///
/// # Errors
/// As [`expand`].
pub(crate) fn parse(text: &str, path: &Path) -> Result<Vec<Setting>> {
    let fault = |detail: String| Error::Request(format!("{}: {detail}", path.display()));
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| fault(error.to_string().trim_end().to_string()))?;
    of_table(COMMAND, &table, |name| line_of(text, name))
        .map_err(|faults| fault(faults.join("\n  ")))
}

/// The settings in a table, as arguments of a command; `line` gives the line of a name, for messages.
///
/// # Errors
/// With all names that are no flag of the command, and all values that no flag has.
pub(crate) fn of_table(
    command: &str,
    table: &Table,
    line: impl Fn(&str) -> Option<usize>,
) -> std::result::Result<Vec<Setting>, Vec<String>> {
    let mut settings = Vec::new();
    let mut faults = Vec::new();
    for (name, value) in table {
        let line = line(name).map_or(String::new(), |line| format!("line {line}: "));
        match setting(command, name, value) {
            Ok(setting) => settings.extend(setting),
            Err(detail) => faults.push(format!("{line}{detail}")),
        }
    }
    match faults.is_empty() {
        true => Ok(settings),
        false => Err(faults),
    }
}

/// Whether a command has a flag of a name.
pub(crate) fn is_flag(command: &str, name: &str) -> bool {
    let flag = normalize_flag(&format!("--{name}"));
    takes_value(command, &flag[2..]).is_some()
}

/// The flag of a command that a setting is, by the flag's own name where the setting has another one for it.
pub(crate) fn flag_of(command: &str, name: &str) -> Option<String> {
    let flag = normalize_flag(&format!("--{name}"));
    let program = Cli::command();
    let command = program.find_subcommand(command)?;
    let argument = argument(command, &flag[2..])?;
    Some(format!("--{}", argument.get_long()?))
}

/// The line, from 1, on which a name is set.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start().trim_start_matches('[');
        line.trim_start_matches('"').starts_with(name)
    };
    text.lines().position(sets).map(|index| index + 1)
}

fn setting(
    command: &str,
    name: &str,
    value: &Value,
) -> std::result::Result<Option<Setting>, String> {
    let flag = normalize_flag(&format!("--{name}"));
    let Some(takes_value) = takes_value(command, &flag[2..]) else {
        return Err(format!("`{name}` is not a setting{}", near(command, name)));
    };
    let text = match value {
        Value::Boolean(on) if !takes_value => {
            return Ok(on.then(|| (flag.clone(), OsString::from(flag))));
        }
        // An empty list is not a value, as if the flag were not given.
        Value::Array(values) if takes_value && values.is_empty() => return Ok(None),
        value if takes_value => text(value),
        _ => None,
    };
    match text {
        Some(text) => Ok(Some((flag.clone(), format!("{flag}={text}").into()))),
        None if takes_value => Err(format!(
            "`{name}`: expected a number, a string or a list of those"
        )),
        None => Err(format!("`{name}`: expected true or false")),
    }
}

/// Whether the flag of a name takes a value; `None` if there is no such flag.
fn takes_value(command: &str, name: &str) -> Option<bool> {
    let program = Cli::command();
    let command = program.find_subcommand(command)?;
    Some(argument(command, name)?.get_action().takes_values())
}

fn argument<'a>(command: &'a clap::Command, name: &str) -> Option<&'a clap::Arg> {
    command.get_arguments().find(|argument| {
        let aliases = argument.get_all_aliases().unwrap_or_default();
        argument.get_long() == Some(name) || aliases.contains(&name)
    })
}

fn near(command: &str, name: &str) -> String {
    let name = name.replace('_', "-");
    let program = Cli::command();
    let known = program.find_subcommand(command).into_iter();
    let known: Vec<&str> = known
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .collect();
    let near = near_names(&name, known, NEAR_NAMES);
    let near: Vec<String> = near.iter().map(|name| name.replace('-', "_")).collect();
    format!("; near names: {}", near.join(", "))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(on) => Some(on.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text).collect();
            texts.map(|texts| texts.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    fn args(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    fn expand_with(file: &str, more: &[&str]) -> Result<Vec<OsString>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        fs::write(&path, file).unwrap();
        let config = format!("--config={}", path.display());
        let mut all = vec!["glmtune", "train", &config];
        all.extend(more);
        let mut expanded = expand(args(&all), |_| Ok(Vec::new()))?;
        expanded.retain(|arg| !arg.to_str().unwrap().starts_with("--config"));
        Ok(expanded)
    }

    #[test]
    fn settings_become_flags_and_flags_win() {
        let file = "learning_rate = 1e-4\nis_skip = true\nno_shuffle = false\n\
                    lora_module_name = [\"dense\", \"query_key_value\"]\nlora_dim = 4\n\
                    prefix_projection = false\n";
        let found = expand_with(file, &["--lora-dim", "16"]).unwrap();
        let expected = [
            "glmtune",
            "train",
            "--is-skip",
            "--learning-rate=0.0001",
            "--lora-module-name=dense,query_key_value",
            "--prefix-projection=false",
            "--lora-dim",
            "16",
        ];
        assert_eq!(found, args(&expected));
    }

    #[test]
    fn other_names_of_a_setting() {
        let found = expand_with("lora_r = 4\nlog_steps = 2\n", &["--lora-dim", "16"]).unwrap();
        let expected = [
            "glmtune",
            "train",
            "--log-steps=2",
            "--lora-r=4",
            "--lora-dim",
            "16",
        ];
        assert_eq!(found, args(&expected));
    }

    #[test]
    fn all_faults_are_named_with_their_lines() {
        let file = "lora_dim = 4\nlearn_rate = 1\nis_skip = 3\n[course]\nseed = 1\n";
        let error = expand_with(file, &[]).unwrap_err().to_string();
        assert!(
            error.contains("line 2: `learn_rate` is not a setting"),
            "{error}"
        );
        assert!(error.contains("learning_rate"), "{error}");
        assert!(
            error.contains("line 3: `is_skip`: expected true or false"),
            "{error}"
        );
        assert!(error.contains("`course` is not a setting"), "{error}");
        let error = expand_with("a = = 1", &[]).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn other_commands_are_left_alone() {
        let chat = args(&["glmtune", "chat", "--config", "x"]);
        assert_eq!(expand(chat.clone(), |_| Ok(Vec::new())).unwrap(), chat);
    }
}
