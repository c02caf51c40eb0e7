//! `completions`: how does a shell learn the commands?

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Error, Exit, console};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Error> {
    // Written to memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    console::print(&script)?;
    Ok(Exit::Done)
}
