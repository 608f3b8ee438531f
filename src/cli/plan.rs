//! The flags of `glmtune inspect` that describe a training: all of `glmtune train`, with its defaults.

use std::collections::BTreeSet;

use clap::builder::TypedValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use super::TrainArgs;

/// What `train` must be told and a plan need not: `inspect` names the model itself, and nothing is read or
/// written.
const NOT_NEEDED: [&str; 3] = ["model_name_or_path", "train_path", "output_dir"];
/// What has no bearing on a plan; accepted, so that a command line of `train` can be taken as it is.
const NO_BEARING: [&str; 23] = [
    "no_fused",
    "resume",
    "dry_run",
    "quick_start",
    "show_loss_step",
    "save_model_step",
    "save_total_limit",
    "save_safetensors",
    "save_tokenizer",
    "no_dashboard",
    "cache_dir",
    "no_cache",
    "eval_path",
    "val_size",
    "eval_steps",
    "eval_batch_size",
    "eval_task",
    "eval_rows",
    "load_best_model_at_end",
    "metric_for_best_model",
    "early_stopping_patience",
    "early_stopping_threshold",
    "general_path",
];

/// A training whose memory is to be known before it is started.
#[derive(Debug, Clone)]
pub struct PlanArgs {
    /// Whether every part is shown.
    pub plan: bool,
    /// Processes that train together, with a device each.
    pub processes: usize,
    /// The training.
    pub train: TrainArgs,
    /// What was given on the command line, by the names of the fields.
    given: BTreeSet<String>,
}

impl PlanArgs {
    /// Whether a flag was given, by the name of its field.
    pub fn is_given(&self, field: &str) -> bool {
        self.given.contains(field)
    }
}

impl FromArgMatches for PlanArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let given = matches.ids().map(clap::Id::as_str).filter(is_given);
        Ok(Self {
            plan: matches.get_flag("plan"),
            processes: matches.get_one("processes").copied().unwrap_or(1),
            train: TrainArgs::from_arg_matches(matches)?,
            given: given.map(str::to_string).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for PlanArgs {
    fn augment_args(command: Command) -> Command {
        let plan = Arg::new("plan")
            .long("plan")
            .action(ArgAction::SetTrue)
            .help(
                "Show what device and host will need for the training that these flags describe, part by \
                 part, and which flags would lower it",
            );
        let processes = Arg::new("processes")
            .long("processes")
            .value_name("N")
            .value_parser(
                value_parser!(u64)
                    .range(1..=65_536)
                    .map(|count| count as usize),
            )
            .default_value("1")
            .help("Processes under mpirun, with a device each: what is shown is what each needs");
        let mut command = TrainArgs::augment_args(command.arg(plan).arg(processes));
        for id in NOT_NEEDED {
            // A path must not be empty; nobody reads this one.
            command = command.mut_arg(id, |arg| arg.required(false).default_value(".").hide(true));
        }
        for id in NO_BEARING {
            command = command.mut_arg(id, |arg| arg.hide(true));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Cli;

    /// Every flag of `train`, also those to come, is one of `inspect`, with the same default.
    #[test]
    fn inspect_takes_the_flags_of_train() {
        let cli = Cli::command();
        let [train, inspect] = ["train", "inspect"].map(|name| cli.find_subcommand(name).unwrap());
        for flag in train.get_arguments() {
            let found = inspect
                .get_arguments()
                .find(|other| other.get_id() == flag.get_id())
                .unwrap();
            assert_eq!(found.get_long(), flag.get_long());
            assert_eq!(found.get_all_aliases(), flag.get_all_aliases());
            if !super::NOT_NEEDED.contains(&flag.get_id().as_str()) {
                assert_eq!(found.get_default_values(), flag.get_default_values());
            }
        }
    }

    #[test]
    fn a_command_line_of_train_is_taken_as_it_is() {
        let line = "glmtune inspect DIR --plan --model-name-or-path M --train-path r --output-dir o \
                    --train-batch-size 2 --seed 3 --no-cache --deepspeed --ds-file x.json";
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok());
    }
}
