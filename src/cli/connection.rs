//! Which server is called, as whom, and for how long is it waited?

use std::{
    convert::Infallible,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Args;
use tonic::{Response, Status};
use zeroize::Zeroizing;

use crate::client::{BearerToken, CallError, Client, ClientIdentity, ConnectError, Timeouts, Tls, is_protected};

use super::{
    Error, Exit,
    console::{Console, stdin_is_terminal},
    input::{SecretFile, prompt},
    values::parse_duration,
};

const CREDENTIAL_VARIABLE: &str = "TOKEN_AUTHORITY_TOKEN";

/// The options of every command that calls a server.
///
/// The credential is the first of: `--token`, `--token-file`, the environment,
/// the answer to a prompt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Calling a server")]
pub(super) struct ConnectionArgs {
    /// The server to call
    #[arg(
        long,
        global = true,
        env = "TOKEN_AUTHORITY_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051"
    )]
    url: String,

    /// A file with the credential to call with (- for standard input); without
    /// it `TOKEN_AUTHORITY_TOKEN` is used, or else a prompt
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) token_file: Option<SecretFile>,

    /// The credential itself; process listings show it, so rather use a file or
    /// the environment
    #[arg(long, global = true, value_name = "VALUE")]
    token: Option<SecretArgument>,

    /// The authorities that may vouch for a server, in PEM; without it this
    /// system's
    #[arg(long, global = true, value_name = "FILE", env = "TOKEN_AUTHORITY_CA_FILE", hide_env_values = true)]
    ca_file: Option<PathBuf>,

    /// A client certificate to show the server, in PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TOKEN_AUTHORITY_CERTIFICATE_FILE",
        hide_env_values = true,
        requires = "private_key_file"
    )]
    certificate_file: Option<PathBuf>,

    /// The private key of that certificate, in PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TOKEN_AUTHORITY_PRIVATE_KEY_FILE",
        hide_env_values = true,
        requires = "certificate_file"
    )]
    private_key_file: Option<PathBuf>,

    /// How long to wait for each answer
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration
    )]
    timeout: Duration,
}

/// A secret that was given as an argument. Anything is taken here: a parser
/// that refuses a value prints it.
#[derive(Clone)]
struct SecretArgument(Zeroizing<String>);

impl FromStr for SecretArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for SecretArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretArgument([redacted])")
    }
}

/// A server to call, and where to show what it says.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) console: Console,
}

impl Session {
    /// Waits for a call of one of the generated clients.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        self.client.call(call).await
    }
}

impl ConnectionArgs {
    /// Connects, and does `work` with the connection. Where a certificate is shown,
    /// it may stand for a credential.
    pub(super) fn call(
        &self,
        console: Console,
        work: impl AsyncFnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Exit, Error> {
        if self.certificate_file.is_some() {
            return self.call_as_anybody(console, work);
        }
        let token = self.credential(console)?;
        self.call_with(Some(token), console, work)
    }

    /// The same for what may be open to all: without a credential where none is
    /// given, and without being asked for one.
    pub(super) fn call_as_anybody(
        &self,
        console: Console,
        work: impl AsyncFnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Exit, Error> {
        let token = match self.source(environment(), false) {
            Err(Error::NoCredential) => None,
            Err(error) => return Err(error),
            Ok(source) => Some(Self::read(source, console)?),
        };
        self.call_with(token, console, work)
    }

    /// The same for what is open to all and has no need to know who asks.
    pub(super) fn call_as_nobody(
        &self,
        console: Console,
        work: impl AsyncFnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Exit, Error> {
        self.call_with(None, console, work)
    }

    fn call_with(
        &self,
        token: Option<BearerToken>,
        console: Console,
        work: impl AsyncFnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Exit, Error> {
        if !is_protected(&self.url) {
            console.warn("the credential and all answers travel unprotected to the server: rather use https://");
        }
        let tls = self.tls()?;
        let timeouts = Timeouts { connect: self.timeout.min(Timeouts::default().connect), call: self.timeout };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        runtime.block_on(async {
            let client = Client::connect_with(&self.url, token, timeouts, &tls).await?;
            work(&Session { client, console }).await?;
            Ok(Exit::Done)
        })
    }

    fn tls(&self) -> Result<Tls, Error> {
        let authorities = self.ca_file.as_deref().map(read_file).transpose()?;
        let identity = match (&self.certificate_file, &self.private_key_file) {
            (Some(certificate), Some(private_key)) => {
                let key = Zeroizing::new(read_file(private_key)?);
                Some(ClientIdentity::from_pem(&read_file(certificate)?, &key).map_err(ConnectError::from)?)
            }
            _ => None,
        };
        Ok(Tls { authorities, identity })
    }

    fn credential(&self, console: Console) -> Result<BearerToken, Error> {
        Self::read(self.source(environment(), stdin_is_terminal())?, console)
    }

    fn read(source: Source, console: Console) -> Result<BearerToken, Error> {
        let from = source.name();
        let credential = match source {
            Source::Argument(credential) => {
                console.warn(
                    "--token shows the credential in process listings; rather use --token-file or \
                     TOKEN_AUTHORITY_TOKEN",
                );
                credential
            }
            Source::File(file) => file.read()?,
            Source::Environment(credential) => credential,
            Source::Prompt => prompt("Credential to call with: ")
                .map_err(|source| Error::Read { what: "the terminal".to_owned(), source })?,
        };
        BearerToken::new(credential.as_str()).map_err(|source| Error::UnusableCredential { from, source })
    }

    /// An empty variable is none: that is how scripts unset one for a command.
    fn source(&self, environment: Option<Zeroizing<String>>, stdin_is_terminal: bool) -> Result<Source, Error> {
        if let Some(SecretArgument(credential)) = &self.token {
            return Ok(Source::Argument(credential.clone()));
        }
        if let Some(file) = &self.token_file {
            return Ok(Source::File(file.clone()));
        }
        if let Some(credential) = environment.filter(|value| !value.is_empty()) {
            return Ok(Source::Environment(credential));
        }
        if stdin_is_terminal {
            return Ok(Source::Prompt);
        }
        Err(Error::NoCredential)
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { what: path.display().to_string(), source })
}

fn environment() -> Option<Zeroizing<String>> {
    match std::env::var(CREDENTIAL_VARIABLE) {
        Ok(value) => Some(Zeroizing::new(value)),
        Err(std::env::VarError::NotPresent) => None,
        // Nothing that could be sent; refused later, without a word of it.
        Err(std::env::VarError::NotUnicode(_)) => Some(Zeroizing::new("\0".to_owned())),
    }
}

/// Where the credential comes from, the first in this order.
enum Source {
    Argument(Zeroizing<String>),
    File(SecretFile),
    Environment(Zeroizing<String>),
    Prompt,
}

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::Argument(_) => "--token",
            Self::File(_) => "--token-file",
            Self::Environment(_) => CREDENTIAL_VARIABLE,
            Self::Prompt => "the prompt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(token: Option<&str>, file: Option<&str>) -> ConnectionArgs {
        ConnectionArgs {
            url: String::new(),
            token: token.map(|text| text.parse().expect("anything is taken")),
            token_file: file.map(|text| text.parse().expect("any name is taken")),
            timeout: Duration::ZERO,
            ca_file: None,
            certificate_file: None,
            private_key_file: None,
        }
    }

    fn chosen(arguments: &ConnectionArgs, environment: Option<&str>, terminal: bool) -> &'static str {
        let environment = environment.map(|value| Zeroizing::new(value.to_owned()));
        arguments.source(environment, terminal).map_or("none", |source| source.name())
    }

    #[test]
    fn the_nearest_credential_is_used() {
        let all = arguments(Some("dt_a"), Some("file"));
        assert_eq!(chosen(&all, Some("dt_b"), true), "--token");
        let file = arguments(None, Some("file"));
        assert_eq!(chosen(&file, Some("dt_b"), true), "--token-file");
        let none = arguments(None, None);
        assert_eq!(chosen(&none, Some("dt_b"), true), CREDENTIAL_VARIABLE);
        assert_eq!(chosen(&none, Some(""), true), "the prompt");
        assert_eq!(chosen(&none, None, true), "the prompt");
        assert_eq!(chosen(&none, None, false), "none");
    }

    #[test]
    fn debug_shows_nothing_of_the_credential() {
        let shown = format!("{:?}", arguments(Some("dt_verysecret"), None));
        assert!(!shown.contains("verysecret"), "{shown}");
        assert!(shown.contains("[redacted]"), "{shown}");
    }
}
