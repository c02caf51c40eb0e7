//! How is the master key replaced? On the server's own host: a new key is added
//! to the file, the file is given to every replica, and the key is promoted. The
//! key that signs is replaced by one word.
//!
//! No key is ever printed.

use clap::{Args, Subcommand};

use super::{
    Error, Exit,
    console::Console,
    server::{ServerArgs, failed, runtime, say},
    view::KeysListed,
};
use crate::{domain::keys::KeyId, server::keys};

/// `keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Which keys there are, which one is current, and how many live secrets
    /// need which
    List(ServerArgs),
    /// Add a new key to the file; nothing uses it before it is promoted
    Add(AddArgs),
    /// Name a key of the file the current one, once every replica has it
    Promote(PromoteArgs),
    /// Sign the tokens of sessions with another key from now on; those signed
    /// before can be verified until they expire
    RotateSigning(ServerArgs),
}

/// The options of `keys add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name: up to 32 of a-z, 0-9 and -; without it, the date
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<KeyId>,

    #[command(flatten)]
    server: ServerArgs,
}

/// The options of `keys promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The key's name in the file
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: KeyId,

    #[command(flatten)]
    server: ServerArgs,
}

fn parse_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::new(text).ok_or("a key's name is 1 to 32 of a-z, 0-9 and -")
}

/// Runs one of them.
pub(super) fn run(command: &KeysCommand, console: Console) -> Result<Exit, Error> {
    match command {
        KeysCommand::List(server) => {
            let states = runtime()?.block_on(keys::list(&server.load()?)).map_err(failed)?;
            console.show(&KeysListed::from(states))?;
            Ok(Exit::Done)
        }
        KeysCommand::Add(AddArgs { id, server }) => {
            let settings = server.load()?;
            let added = runtime()?.block_on(keys::add(&settings, id.clone())).map_err(failed)?;
            if let Some(current) = added.lacks {
                console.warn(&format!(
                    "the file lacks the current key {current}: secrets under it will need bcrypt once more, and a \
                     server refuses to start before another key is promoted"
                ));
            }
            let (id, file) = (added.id, settings.master_key_file());
            say(&format!(
                "the key {id} was added to {}; nothing uses it yet\nnext: give that file to every replica, then run \
                 `token-authority keys promote {id}`\n",
                file.display()
            ))
        }
        KeysCommand::RotateSigning(server) => {
            let id = runtime()?.block_on(keys::rotate_signing(&server.load()?)).map_err(failed)?;
            say(&format!("the key {id} signs from now on\n"))
        }
        KeysCommand::Promote(PromoteArgs { id, server }) => {
            let settings = server.load()?;
            if runtime()?.block_on(keys::promote(&settings, id)).map_err(failed)? {
                say(&format!(
                    "the key {id} is current now\nnext: keep the keys before it in the file until `token-authority \
                     keys list` shows no secrets under them\n"
                ))
            } else {
                say(&format!("the key {id} is current already\n"))
            }
        }
    }
}
