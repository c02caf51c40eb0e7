//! `auth sign-in`, `auth sign-out`: how does a person get a session's token, and
//! end it?

use clap::Args;
use zeroize::Zeroizing;

use crate::proto::v1;

use super::{
    Error,
    connection::{ConnectionArgs, Session},
    console::stdin_is_terminal,
    input::{SecretFile, prompt},
    values::Time,
    view::{Minted, SignedIn, SignedOut},
};

#[derive(Debug, Args)]
pub(super) struct SignInArgs {
    /// Whom to sign in
    #[arg(long)]
    username: String,

    /// A file with the password (- for standard input); without it a prompt asks
    #[arg(long, value_name = "FILE")]
    password_file: Option<SecretFile>,
}

impl SignInArgs {
    /// Two secrets cannot both come from standard input: which is which?
    pub(super) fn forbid_reading_stdin_twice(&self, connection: &ConnectionArgs) -> Result<(), Error> {
        if [&self.password_file, &connection.token_file].iter().all(|file| **file == Some(SecretFile::Stdin)) {
            return Err(Error::Usage("--token-file and --password-file cannot both be standard input".to_owned()));
        }
        Ok(())
    }
}

pub(super) async fn sign_in(args: SignInArgs, session: &Session) -> Result<(), Error> {
    let SignInArgs { username, password_file } = args;
    let password = password(password_file)?;
    let credentials = Some(v1::PasswordCredentials { username, password: password.to_string() });
    let request = v1::SignInRequest { credentials, client_ip: String::new() };
    let v1::SignInResponse { id_token, expires_in: _, expire_time } =
        session.call(session.client.sessions().sign_in(request)).await?;
    session.console.show_minted(&Minted::new(SignedIn { expire_time: expire_time.map(Time) }, id_token))
}

/// Ends the session whose token is called with.
pub(super) async fn sign_out(session: &Session) -> Result<(), Error> {
    let request = v1::SignOutRequest { id_token: String::new() };
    let v1::SignOutResponse {} = session.call(session.client.sessions().sign_out(request)).await?;
    session.console.show(&SignedOut {})
}

fn password(file: Option<SecretFile>) -> Result<Zeroizing<String>, Error> {
    match file {
        Some(file) => file.read(),
        None if stdin_is_terminal() => {
            prompt("Password: ").map_err(|source| Error::Read { what: "the terminal".to_owned(), source })
        }
        None => Err(Error::Usage(
            "a password is wanted: give --password-file FILE, or run this in a terminal to be asked".to_owned(),
        )),
    }
}
