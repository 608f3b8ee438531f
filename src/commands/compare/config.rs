//! The settings of a comparison, `compare.toml`: each is checked before anything runs, and what is wrong is told
//! with its line, all at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use glmtune_model::files::{self, Limit};
use glmtune_model::near_names::near_names;
use serde_json::{Map, json};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::folders::folder_name;
use crate::cli::TaskChoice;
use crate::commands::error::{Error, Result};
use crate::settings_file::{self, Setting};

/// What can stand at the top.
const KEYS: [&str; 12] = [
    "base",
    "train",
    "test",
    "task",
    "score",
    "abilities",
    "eval_path",
    "seeds",
    "examples",
    "defaults",
    "predict",
    "method",
];
/// Flags of `train` that the comparison gives, and what decides them.
const OWN: [(&str, &str); 9] = [
    ("--seed", "`seeds` at the top says"),
    ("--model-name-or-path", "`base` at the top says"),
    ("--train-path", "`train` at the top says"),
    ("--test-path", "`test` at the top says"),
    ("--output-dir", "--output_dir of the comparison says"),
    ("--config", "this file takes its place"),
    ("--resume", "a comparison always goes on"),
    ("--dry-run", "a comparison trains"),
    ("--quick-start", "a comparison has a base and rows"),
];
/// Flags that say which rows a training holds out, of which it has one.
pub const HELD_OUT: [&str; 2] = ["--eval-path", "--val-size"];
/// Flags of `train` that name a file of rows.
const ROWS: [&str; 2] = ["--eval-path", "--general-path"];
/// The seed of `train`.
const SEED: u64 = 1234;
/// Rows shown in the report.
const EXAMPLES: usize = 6;

/// A comparison.
#[derive(Debug)]
pub struct Config {
    /// The folder from which its paths start.
    pub folder: PathBuf,
    /// The base model.
    pub base: PathBuf,
    /// Training rows.
    pub train: PathBuf,
    /// Rows that are answered and scored.
    pub test: PathBuf,
    /// Rows of the abilities.
    pub abilities: Option<PathBuf>,
    /// Rows of the validation.
    pub eval_path: Option<PathBuf>,
    /// How answers are scored.
    pub task: TaskChoice,
    /// The score that stands for the others.
    pub score: Option<String>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Rows shown in the report.
    pub examples: usize,
    /// Flags of `predict`.
    pub predict: Vec<Setting>,
    /// The methods.
    pub methods: Vec<MethodConfig>,
    /// What all runs have in common, for the report.
    pub shown: Map<String, serde_json::Value>,
}

/// A method.
#[derive(Debug)]
pub struct MethodConfig {
    /// Its name.
    pub name: String,
    /// The folder of its runs.
    pub folder: String,
    /// Flags of `train`.
    pub settings: Vec<Setting>,
    /// The same for the report.
    pub shown: Map<String, serde_json::Value>,
}

impl Config {
    /// Reads a comparison.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = files::read_text(path, Limit::SETTINGS)?;
        let whole =
            std::path::absolute(path).map_err(|error| glmtune_model::Error::io(path, error))?;
        let folder = whole.parent().map(Path::to_path_buf).unwrap_or_default();
        parse(&text, folder).map_err(|faults| {
            Error::Request(format!("{}: {}", path.display(), faults.join("\n  ")))
        })
    }
}

fn parse(text: &str, folder: PathBuf) -> std::result::Result<Config, Vec<String>> {
    let malformed = |error: toml::de::Error| vec![error.to_string().trim_end().to_string()];
    let table: Table = text.parse().map_err(malformed)?;
    let places = DeTable::parse(text).map_err(malformed)?;
    let mut reader = Reader {
        text,
        table: &table,
        places: places.get_ref(),
        folder,
        faults: Vec::new(),
    };
    let config = reader.config();
    match (reader.faults.is_empty(), config) {
        (true, Some(config)) => Ok(config),
        (_, _) => Err(reader.faults),
    }
}

/// The file while it is read; faults add up.
struct Reader<'a> {
    text: &'a str,
    table: &'a Table,
    places: &'a DeTable<'a>,
    folder: PathBuf,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self) -> Option<Config> {
        self.check_keys();
        let base = self.path("base", true);
        let train = self.path("train", true);
        let test = self.path("test", true);
        let abilities = self.path("abilities", false);
        let eval_path = self.path("eval_path", false);
        let task = self.task();
        let seeds = self.seeds();
        let examples = self.examples();
        let score = self.text_of("score", false);
        let defaults = self.section("defaults", "train");
        let predict = self.section("predict", "predict");
        let methods = self.methods(&defaults);
        Some(Config {
            folder: self.folder.clone(),
            base: base?,
            train: train?,
            test: test?,
            abilities,
            eval_path,
            task: task?,
            score,
            seeds,
            examples,
            predict: settings_file::of_table("predict", &predict, |_| None).ok()?,
            methods,
            shown: self.shown(),
        })
    }

    /// Notes a fault at a key of the top.
    fn fault(&mut self, key: &str, detail: impl std::fmt::Display) {
        let line = line_of(self.text, self.places, key);
        self.faults.push(located(line, detail));
    }

    fn check_keys(&mut self) {
        let unknown: Vec<String> = self
            .table
            .keys()
            .filter(|key| !KEYS.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            let near = near_names(&key, KEYS.to_vec(), 1).join(", ");
            let flag = match settings_file::is_flag("train", &key) {
                true => "; flags of `train` stand in [defaults] or in a [[method]]".to_string(),
                false => format!("; the nearest is `{near}`"),
            };
            self.fault(
                &key,
                format!("`{key}` is not a setting of a comparison{flag}"),
            );
        }
    }

    fn text_of(&mut self, key: &str, is_required: bool) -> Option<String> {
        match self.table.get(key) {
            Some(Value::String(text)) if !text.is_empty() => return Some(text.clone()),
            Some(_) => self.fault(key, format!("`{key}`: expected a string")),
            None if is_required => self.faults.push(format!("no `{key}`")),
            None => {}
        }
        None
    }

    /// A path, from the folder of the file.
    fn path(&mut self, key: &str, is_required: bool) -> Option<PathBuf> {
        let text = self.text_of(key, is_required)?;
        let path = self.folder.join(text);
        if !path.exists() {
            self.fault(key, format!("`{key}`: {} does not exist", path.display()));
        }
        Some(path)
    }

    fn task(&mut self) -> Option<TaskChoice> {
        let name = self.text_of("task", true)?;
        match TaskChoice::from_str(&name, false) {
            Ok(task @ (TaskChoice::Triples | TaskChoice::Text | TaskChoice::Questions)) => {
                Some(task)
            }
            _ => {
                self.fault(
                    "task",
                    format!("`task` is {name:?}; expected triples, text or questions"),
                );
                None
            }
        }
    }

    fn seeds(&mut self) -> Vec<u64> {
        let Some(value) = self.table.get("seeds") else {
            return vec![SEED];
        };
        let seeds: Option<Vec<u64>> = value.as_array().and_then(|values| {
            values
                .iter()
                .map(|value| u64::try_from(value.as_integer()?).ok())
                .collect()
        });
        let mut seeds = seeds.unwrap_or_default();
        let count = seeds.len();
        let mut known = Vec::new();
        seeds.retain(|seed| {
            !known.contains(seed) && {
                known.push(*seed);
                true
            }
        });
        if seeds.is_empty() || seeds.len() != count {
            self.fault(
                "seeds",
                "`seeds`: expected a list of different whole numbers, such as [1, 2, 3]",
            );
        }
        seeds
    }

    fn examples(&mut self) -> usize {
        let Some(value) = self.table.get("examples") else {
            return EXAMPLES;
        };
        let count = value
            .as_integer()
            .and_then(|count| usize::try_from(count).ok());
        if count.is_none() {
            self.fault("examples", "`examples`: expected a number of rows");
        }
        count.unwrap_or_default()
    }

    /// A table of flags of a command.
    fn section(&mut self, key: &str, command: &str) -> Table {
        let table = match self.table.get(key) {
            Some(Value::Table(table)) => table.clone(),
            Some(_) => {
                self.fault(
                    key,
                    format!("`{key}`: expected a table, [{key}], of flags of `{command}`"),
                );
                return Table::new();
            }
            None => return Table::new(),
        };
        let places = self
            .places
            .get(key)
            .and_then(|value| value.get_ref().as_table());
        self.check_flags(command, &table, places);
        table
    }

    fn check_flags(&mut self, command: &str, table: &Table, places: Option<&DeTable<'_>>) {
        let text = self.text;
        let line = |name: &str| line_of(text, places?, name);
        if let Err(faults) = settings_file::of_table(command, table, line) {
            self.faults.extend(faults);
        }
        for (name, value) in table {
            let Some(flag) = settings_file::flag_of(command, name) else {
                continue;
            };
            if let Some((_, owner)) = OWN.iter().find(|(own, _)| *own == flag) {
                self.faults.push(located(
                    line(name),
                    format!("`{name}` cannot stand here: {owner}"),
                ));
            }
            let rows = ROWS.contains(&flag.as_str()).then(|| value.as_str());
            let path = rows.flatten().map(|path| self.folder.join(path));
            if let Some(path) = path.filter(|path| !path.exists()) {
                let detail = format!("`{name}`: {} does not exist", path.display());
                self.faults.push(located(line(name), detail));
            }
        }
    }

    fn methods(&mut self, defaults: &Table) -> Vec<MethodConfig> {
        let tables: Option<Vec<Table>> = match self.table.get("method") {
            Some(Value::Array(values)) if !values.is_empty() => values
                .iter()
                .map(|value| value.as_table().cloned())
                .collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.faults
                .push("no [[method]]; each has a `name` and flags of `train`".to_string());
            return Vec::new();
        };
        let mut methods: Vec<MethodConfig> = Vec::new();
        for (index, mut table) in tables.into_iter().enumerate() {
            let places = self
                .places
                .get("method")
                .and_then(|value| value.get_ref().as_array());
            let places: Option<&Spanned<DeValue<'_>>> = places.and_then(|all| all.get(index));
            let line = places.map(|place| line_at(self.text, place.span().start));
            let name = match table.remove("name") {
                Some(Value::String(name)) if !name.trim().is_empty() => name,
                _ => {
                    self.faults
                        .push(located(line, "a [[method]] needs a `name`, a text"));
                    continue;
                }
            };
            self.check_flags(
                "train",
                &table,
                places.and_then(|place| place.get_ref().as_table()),
            );
            if name.chars().any(char::is_control) {
                let detail = format!("the name {name:?} holds what cannot be printed in a line");
                self.faults.push(located(line, detail));
            }
            let folder = folder_name(&name);
            if let Some(other) = methods.iter().find(|other| other.folder == folder) {
                let detail = format!(
                    "the names {:?} and {name:?} are too much alike for folders of their own",
                    other.name
                );
                self.faults.push(located(line, detail));
            }
            let merged = merged(defaults, table);
            methods.push(MethodConfig {
                folder,
                settings: settings(&merged),
                shown: as_json(&merged),
                name,
            });
        }
        methods
    }

    /// Everything but the methods and their defaults, as it stands in the file.
    fn shown(&self) -> Map<String, serde_json::Value> {
        let own = self
            .table
            .iter()
            .filter(|(key, _)| *key != "method" && *key != "defaults");
        let own: Table = own
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        as_json(&own)
    }
}

/// The settings of a method: its own, and those of all methods that it does not replace, whatever name it has for
/// them.
fn merged(defaults: &Table, own: Table) -> Table {
    let replaced: Vec<String> = own.keys().map(|name| place(name)).collect();
    let defaults = defaults.iter();
    let kept = defaults.filter(|(name, _)| !replaced.contains(&place(name)));
    let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
    kept.chain(own).collect()
}

/// What a setting decides: there is one of a kind.
fn place(name: &str) -> String {
    let flag = settings_file::flag_of("train", name).unwrap_or_else(|| name.to_string());
    match HELD_OUT.contains(&flag.as_str()) {
        true => HELD_OUT[0].to_string(),
        false => flag,
    }
}

/// The flags of `train` that settings are, each under its own name.
fn settings(table: &Table) -> Vec<Setting> {
    let found = settings_file::of_table("train", table, |_| None).unwrap_or_default();
    let own_name = |flag: String| settings_file::flag_of("train", &flag[2..]).unwrap_or(flag);
    let found = found.into_iter();
    found
        .map(|(flag, argument)| (own_name(flag), argument))
        .collect()
}

fn as_json(table: &Table) -> Map<String, serde_json::Value> {
    let value = serde_json::to_value(table).unwrap_or_else(|_| json!({}));
    value.as_object().cloned().unwrap_or_default()
}

fn located(line: Option<usize>, detail: impl std::fmt::Display) -> String {
    match line {
        Some(line) => format!("line {line}: {detail}"),
        None => detail.to_string(),
    }
}

/// The line, from 1, of a key of a table.
fn line_of(text: &str, places: &DeTable<'_>, key: &str) -> Option<usize> {
    let found = places.iter().find(|(name, _)| name.get_ref() == key);
    found.map(|(name, _)| line_at(text, name.span().start))
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The arguments of settings.
pub fn arguments(settings: &[Setting]) -> impl Iterator<Item = OsString> + '_ {
    settings.iter().map(|(_, argument)| argument.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
base = "base"
train = "t"
test = "t"
task = "triples"
seeds = [1, 2]
[defaults]
max_len = 64
[[method]]
name = "LoRA"
train_type = "lora"
max_len = 32
[[method]]
name = "Full 全"
train_type = "all"
"#;

    fn read(text: &str) -> std::result::Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["base", "t"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        parse(text, folder.path().to_path_buf()).map_err(|faults| faults.join("\n"))
    }

    #[test]
    fn a_methods_own_settings_win() {
        let config = read(GOOD).unwrap();
        assert_eq!((config.seeds.len(), config.methods.len()), (2, 2));
        let lora: Vec<OsString> = arguments(&config.methods[0].settings).collect();
        assert_eq!(lora.len(), 2);
        assert!(
            lora.contains(&"--max-len=32".into()) && lora.contains(&"--train-type=lora".into())
        );
        assert_ne!(config.methods[0].folder, config.methods[1].folder);
    }

    /// Also under another name, and where one of two says which rows are held out.
    #[test]
    fn a_methods_own_settings_replace_those_of_all() {
        let text = GOOD
            .replace(
                "max_len = 64",
                "max_len = 64\nlora_r = 4\nval_size = 0.1\nsave-total-limit = 2",
            )
            .replace(
                "max_len = 32",
                "lora_dim = 8\nvalidation_file = \"t\"\nsave_total_limit = 3",
            );
        let config = read(&text).unwrap();
        let of = |index: usize| -> Vec<String> {
            let found = arguments(&config.methods[index].settings);
            let mut found: Vec<_> = found.map(|arg| arg.into_string().unwrap()).collect();
            found.sort();
            found
        };
        let lora = [
            "--lora-dim=8",
            "--max-len=64",
            "--save-total-limit=3",
            "--train-type=lora",
            "--validation-file=t",
        ];
        assert_eq!(of(0), lora);
        assert!(of(1).contains(&"--val-size=0.1".to_string()));
        let names = |index: usize| {
            let settings = config.methods[index].settings.iter();
            settings
                .filter(|(flag, _)| HELD_OUT.contains(&flag.as_str()))
                .count()
        };
        assert_eq!((names(0), names(1)), (1, 1));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            (
                GOOD.replace("seeds =", "sed ="),
                "line 6: `sed` is not a setting of a comparison; the nearest is `seeds`",
            ),
            (
                GOOD.replace("seeds = [1, 2]", "max_len = 3"),
                "line 6: `max_len` is not a setting of a comparison; flags of",
            ),
            (
                GOOD.replace("[1, 2]", "[1, 1]"),
                "line 6: `seeds`: expected a list of different",
            ),
            (
                GOOD.replace("max_len = 32", "maxlen = 32"),
                "line 12: `maxlen` is not a setting; near names: max_len",
            ),
            (
                GOOD.replace("max_len = 64", "seed = 64"),
                "line 8: `seed` cannot stand here: `seeds` at the top",
            ),
            (
                GOOD.replace("max_len = 64", "model_dir = \"b\""),
                "line 8: `model_dir` cannot stand here: `base` at the top",
            ),
            (
                GOOD.replace("max_len = 32", "eval_path = \"u\""),
                "line 12: `eval_path`: ",
            ),
            (
                GOOD.replace("\"triples\"", "\"perplexity\""),
                "line 5: `task` is \"perplexity\"; expected triples",
            ),
            (
                GOOD.replace("test = \"t\"", "test = \"u\""),
                "line 4: `test`: ",
            ),
            (GOOD.replace("test = \"t\"\n", ""), "no `test`"),
            (
                GOOD.replace("name = \"LoRA\"", ""),
                "line 9: a [[method]] needs a `name`",
            ),
            (GOOD.replace("Full 全", "lora"), "too much alike"),
            (
                GOOD.replace("Full 全", "a\\u001b[31m"),
                "line 13: the name \"a\\u{1b}[31m\" holds",
            ),
            (
                GOOD.split("[[").next().unwrap().to_string(),
                "no [[method]]",
            ),
            ("base = ".to_string(), "TOML parse error at line 1"),
        ];
        for (text, expected) in cases {
            let message = read(&text).map(|_| String::new()).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
        let both = GOOD
            .replace("seeds =", "sed =")
            .replace("max_len = 32", "maxlen = 32");
        assert_eq!(read(&both).map(|_| ()).unwrap_err().lines().count(), 2);
    }
}
