//! `man`: how does a packager get the manual's pages?

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};

use super::{
    Cli, Error, Exit,
    server::{failed, say},
};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to write them; made where it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page for each command, `token-authority-token-create.1` and its kin.
pub(super) fn run(args: &ManArgs) -> Result<Exit, Error> {
    fs::create_dir_all(&args.directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.directory).map_err(failed)?;
    let pages = fs::read_dir(&args.directory).map_err(failed)?.count();
    say(&format!("{pages} pages are in {}\n", args.directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let directory = tempfile::tempdir().expect("a directory");
        let args = ManArgs { directory: directory.path().join("man1") };
        run(&args).expect("pages");

        let page = |name: &str| fs::read_to_string(args.directory.join(name)).expect("a page");
        assert!(page("token-authority.1").contains("Exit codes"));
        assert!(page("token-authority-serve.1").contains("grpc\\-listen"));
        assert!(page("token-authority-auth-token-rotate.1").contains("overlap"));
    }
}
