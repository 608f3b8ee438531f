//! `glmtune train`: fine-tune a model on a file of rows.

mod abilities;
mod answers;
mod check;
mod continued;
mod devices;
mod dry_run;
mod ending;
mod output_dir;
mod preparation;
pub mod quick_start;
mod request;
mod settings;
mod settings_file;
mod validation;
mod validation_settings;
mod watch;

use glmtune_model::device_health;
use glmtune_training::data::Fullness;
use glmtune_training::deepspeed::DeepSpeedConfig;
use glmtune_training::parallel::processes::ranks::ProcessGroup;
use glmtune_training::run::Outcome;
use glmtune_training::saving::OutputDir;
use glmtune_training::{Training, TrainingBackend};

use self::request::Request;
use super::error::{Error, Result};
use super::ranks;
use super::session;
use crate::cli::TrainArgs;
use crate::on_devices;

pub(super) use self::check::check as check_flags;
pub(super) use self::request::default_cache;
pub(super) use self::settings::planned as planned_settings;

/// Runs the command.
pub fn run(args: &TrainArgs) -> Result<()> {
    let group = ranks::join()?;
    let result = device_health::guard(|| run_rank(args, &group));
    let result = result.map_err(|error| devices::explain(error, args));
    if let Err(error) = &result
        && group.size() > 1
        && !matches!(error, Error::Interrupted(_))
    {
        crate::print::error(error);
        group.abort(error.exit_status().into());
    }
    result
}

fn run_rank(args: &TrainArgs, group: &ProcessGroup) -> Result<()> {
    check::check(args, group)?;
    settings_file::check(args)?;
    let output_dir = output_dir::open(args, group)?;
    if args.quick_start {
        quick_start::start(args)?;
    }
    let info = session::open(&args.model)?;
    let args = &continued::resolve(args)?;
    let file = args.deepspeed_file().map(DeepSpeedConfig::read);
    let file = file.transpose()?;
    let selected = devices::select(args, group)?;
    let outcome = on_devices!(&selected, |devices: B| {
        let request = Request::<B> {
            args,
            info: &info,
            file: file.as_ref(),
            selected: &selected,
            devices: &devices,
            group,
        };
        match output_dir {
            None => dry_run::run(&request).map(|()| None),
            Some(output_dir) => train(&request, output_dir).map(Some),
        }
    })?;
    let Some(outcome) = outcome else {
        return Ok(());
    };
    if args.quick_start && !outcome.interrupted {
        quick_start::show(args, &outcome)?;
    }
    ending::finish(args, &outcome, group)
}

fn train<B: TrainingBackend>(request: &Request<'_, B>, output_dir: OutputDir) -> Result<Outcome> {
    let settings = request.settings()?;
    request.say_devices(&settings);
    request.probe(&settings)?;
    request.say_unmet(&settings);
    let rows = request.rows(&settings)?;
    let (rows, validation) = request.validation(&settings, rows)?;
    request.say(Fullness::of(&rows, &settings).to_string());
    let mut asked = request.training(&settings, rows, output_dir)?;
    asked.validation = validation;
    asked.abilities = request.abilities(&settings)?;
    let training = Training::prepare(asked, &mut preparation::shown(request.group))?;
    if request.group.is_first() {
        settings_file::save(request.args, &settings)?;
    }
    let mut observers = watch::observers(request.args, request.group, &training.description())?;
    let (_, outcome) = training.run(&mut observers)?;
    Ok(outcome)
}
