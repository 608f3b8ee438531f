//! `glmtune completions` and `glmtune man`: what shells and `man` want to know of the command line.

use std::io::Write;

use clap::CommandFactory;

use super::error::{Error, Result};
use crate::cli::{Cli, CompletionsArgs, ManArgs};

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "glmtune", &mut text);
    std::io::stdout().lock().write_all(&text)?;
    Ok(())
}

/// Prints the manual page of the program or of a command.
pub fn man(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = program
                .get_subcommands()
                .map(clap::Command::get_name)
                .collect();
            Error::Request(format!(
                "there is no command `{name}`; there are {}",
                known.join(", ")
            ))
        })?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    std::io::stdout().lock().write_all(&text)?;
    Ok(())
}
