//! `token import`: how do tokens of another system come in?
//!
//! A file of them, one JSON object a line, is checked whole before anything is
//! sent, and then sent in batches, each of which takes effect as a whole. Where
//! that is cut short, the same command again goes on: what is there already is
//! not made twice.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, IsTerminal as _, Read as _},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use crate::{
    client::CallError,
    domain::{
        account::AccountId,
        digest::BcryptHash,
        network::{MAX_NETWORKS, Network},
        scope::{MAX_SCOPES, Scope},
        text::Label,
    },
    proto::v1::{self, imported_token::Hash},
};

use super::{
    Error, connection::Session, console::Console, input::SecretFile, values::parse_time, view::TokensImported,
};

/// So many wrong lines are shown.
const SHOWN: usize = 20;
/// A longer line is no token's.
const MAX_LINE: u64 = 256 * 1024;
/// How often a progress bar moves at most, and how often a line says it where
/// there is no terminal.
const REFRESHES_PER_SECOND: u8 = 10;
const SAY_EVERY: Duration = Duration::from_secs(10);

const FILE_HELP: &str = "\
A file of tokens, one JSON object a line (- for standard input):

  {\"accountId\": \"ada\", \"label\": \"webhook\", \"scopes\": [\"read\"],
   \"bcrypt\": \"$2b$10$…\", \"lookupHint\": \"utm_4fR9\"}

accountId, label and either bcrypt (the hash of the whole token, with
lookupHint, its first characters) or sha256 (64 hexadecimal digits, or base64)
are wanted; scopes, inheritsPermissions, allowedCidrs, createTime and
expireTime (RFC 3339) may be left out. Empty lines are passed over";

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[arg(long, value_name = "FILE", help = "A file of tokens, one JSON object a line (- for standard input)")]
    #[arg(long_help = FILE_HELP)]
    file: SecretFile,

    /// Check the file, and with the server whether it would take it; import
    /// nothing
    #[arg(long)]
    dry_run: bool,

    /// How many tokens go to the server at a time; each time all of them take
    /// effect, or none
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
}

impl ImportArgs {
    pub(super) fn reads_stdin(&self) -> bool {
        self.file == SecretFile::Stdin
    }
}

/// A line, as the contract's message has it in JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    #[serde(alias = "account_id")]
    account_id: String,
    label: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default, alias = "inherits_permissions")]
    inherits_permissions: bool,
    #[serde(default, alias = "allowed_cidrs")]
    allowed_cidrs: Vec<String>,
    #[serde(alias = "create_time")]
    create_time: Option<String>,
    #[serde(alias = "expire_time")]
    expire_time: Option<String>,
    bcrypt: Option<String>,
    sha256: Option<String>,
    #[serde(alias = "lookup_hint")]
    lookup_hint: Option<String>,
}

/// Where the lines come from; twice, since they are checked first.
enum Source {
    File(SecretFile),
    Read(Vec<u8>),
}

/// The lines of a source that hold tokens, each with its number.
struct Lines<'a> {
    name: String,
    text: Box<dyn BufRead + 'a>,
    number: u64,
}

pub(super) async fn run(args: ImportArgs, session: &Session) -> Result<(), Error> {
    let ImportArgs { file, dry_run, batch } = args;
    let source = Source::open(file)?;
    let total = check(source.lines()?)?;
    let progress = Progress::new(total, dry_run);

    let mut lines = source.lines()?;
    let mut done = TokensImported { token_count: 0, new_count: 0, dry_run };
    loop {
        let (numbers, tokens) = next_batch(&mut lines, usize::from(batch))?;
        if tokens.is_empty() {
            break;
        }
        let sent = tokens.len() as u64;
        let request = v1::ImportTokensRequest { tokens, validate_only: dry_run };
        match session.call(session.client.tokens().import_tokens(request)).await {
            Ok(response) => {
                done.token_count += sent;
                done.new_count += u64::from(response.new_count.unsigned_abs());
                progress.advance(sent, done.token_count, session.console);
            }
            Err(error) => {
                progress.end();
                if let Some(number) = index_of(&error).and_then(|index| numbers.get(index)) {
                    session.console.warn(&format!("line {number} was refused, and its batch with it"));
                }
                if !dry_run {
                    let (done, rest) = (done.token_count, "the same command again goes on where this ended");
                    session.console.warn(&format!("{done} of {total} tokens are imported; {rest}"));
                }
                return Err(error.into());
            }
        }
    }
    progress.end();
    session.console.show(&done)
}

/// Which token of a batch the server refused.
fn index_of(error: &CallError) -> Option<usize> {
    let of_path = || {
        let path = &error.field_violations.first()?.field;
        Some(path.strip_prefix("tokens[")?.split_once(']')?.0)
    };
    error.metadata.get("index").map(String::as_str).or_else(of_path)?.parse().ok()
}

/// How many tokens there are; what is wrong with others is told of many at once.
fn check(lines: Lines<'_>) -> Result<u64, Error> {
    let (mut good, mut bad, mut problems) = (0, 0, Vec::new());
    for line in lines {
        let (number, text) = line?;
        match token(&text) {
            Ok(_) => good += 1,
            Err(problem) => {
                bad += 1;
                if problems.len() < SHOWN {
                    problems.push((number, problem));
                }
            }
        }
    }
    if problems.is_empty() { Ok(good) } else { Err(Error::Lines { more: bad - problems.len() as u64, problems }) }
}

fn next_batch(lines: &mut Lines<'_>, size: usize) -> Result<(Vec<u64>, Vec<v1::ImportedToken>), Error> {
    let (mut numbers, mut tokens) = (Vec::new(), Vec::new());
    for line in lines.take(size) {
        let (number, text) = line?;
        // It may have changed since it was checked.
        let problem = |problem| Error::Lines { problems: vec![(number, problem)], more: 0 };
        tokens.push(token(&text).map_err(problem)?);
        numbers.push(number);
    }
    Ok((numbers, tokens))
}

/// Reads a line. What is wrong with it is told without what it holds: that may be
/// a hash.
fn token(text: &str) -> Result<v1::ImportedToken, String> {
    let line: Line = serde_json::from_str(text).map_err(|error| {
        // These name a field at most.
        let told = error.to_string();
        let field = told.split(" at line ").next().filter(|told| told.contains(" field `"));
        field.map_or_else(|| format!("no JSON object as it is wanted, column {}", error.column()), ToOwned::to_owned)
    })?;
    let Line {
        account_id,
        label,
        scopes,
        inherits_permissions,
        allowed_cidrs,
        create_time,
        expire_time,
        bcrypt,
        sha256,
        lookup_hint,
    } = line;
    let time = |field: &str, text: Option<String>| {
        text.map(|text| parse_time(&text).map_err(|error| format!("{field}: {error}"))).transpose()
    };
    account_id.parse::<AccountId>().map_err(|error| format!("accountId: {error}"))?;
    Label::new(&label).map_err(|error| format!("label: {error}"))?;
    if scopes.len() > MAX_SCOPES || allowed_cidrs.len() > MAX_NETWORKS {
        return Err(format!("at most {MAX_SCOPES} scopes and {MAX_NETWORKS} allowedCidrs are wanted"));
    }
    if inherits_permissions && !scopes.is_empty() {
        return Err("scopes: a token that inherits permissions has none of its own".to_owned());
    }
    for scope in &scopes {
        scope.parse::<Scope>().map_err(|error| format!("scopes: {error}"))?;
    }
    for network in &allowed_cidrs {
        network.parse::<Network>().map_err(|error| format!("allowedCidrs: {error}"))?;
    }
    let hash = match (bcrypt, sha256) {
        (Some(hash), None) => {
            BcryptHash::parse(&hash).map_err(|error| format!("bcrypt: {error}"))?;
            if lookup_hint.as_deref().unwrap_or_default().is_empty() {
                return Err("lookupHint: the token's first characters are wanted with bcrypt".to_owned());
            }
            Hash::Bcrypt(hash)
        }
        (None, Some(digest)) => {
            let bytes = read_digest(&digest);
            Hash::Sha256(bytes.ok_or("sha256: 64 hexadecimal digits, or 32 bytes in base64, are wanted")?)
        }
        (Some(_), Some(_)) | (None, None) => return Err("either bcrypt or sha256 is wanted".to_owned()),
    };
    Ok(v1::ImportedToken {
        account_id,
        label,
        scopes,
        allowed_cidrs,
        create_time: time("createTime", create_time)?,
        expire_time: time("expireTime", expire_time)?,
        lookup_hint: lookup_hint.unwrap_or_default(),
        inherits_permissions,
        hash: Some(hash),
    })
}

fn read_digest(text: &str) -> Option<Vec<u8>> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
        return pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    }
    BASE64_STANDARD.decode(text).ok().filter(|bytes| bytes.len() == 32)
}

impl Source {
    fn open(file: SecretFile) -> Result<Self, Error> {
        match file {
            SecretFile::Stdin => {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|source| Error::Read { what: file.to_string(), source })?;
                Ok(Self::Read(bytes))
            }
            SecretFile::Path(_) => Ok(Self::File(file)),
        }
    }

    fn lines(&self) -> Result<Lines<'_>, Error> {
        let (name, text): (_, Box<dyn BufRead + '_>) = match self {
            Self::Read(bytes) => (SecretFile::Stdin.to_string(), Box::new(Cursor::new(bytes))),
            Self::File(file) => {
                let name = file.to_string();
                let open = || match file {
                    SecretFile::Path(path) => File::open(path),
                    SecretFile::Stdin => Err(io::ErrorKind::Unsupported.into()),
                };
                let opened = open().map_err(|source| Error::Read { what: name.clone(), source })?;
                (name, Box::new(BufReader::new(opened)))
            }
        };
        Ok(Lines { name, text, number: 0 })
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<(u64, String), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.number += 1;
            let mut text = String::new();
            match self.text.by_ref().take(MAX_LINE).read_line(&mut text) {
                Ok(0) => return None,
                Ok(_) if text.trim().is_empty() => {}
                Ok(read) if read as u64 == MAX_LINE => {
                    let problems = vec![(self.number, "the line is too long".to_owned())];
                    return Some(Err(Error::Lines { problems, more: 0 }));
                }
                Ok(_) => return Some(Ok((self.number, text))),
                Err(source) => {
                    let what = format!("{}, line {}", self.name, self.number);
                    return Some(Err(Error::Read { what, source }));
                }
            }
        }
    }
}

/// How far it is, on standard error: a bar on a terminal, else a line now and
/// then.
struct Progress {
    bar: ProgressBar,
    total: u64,
    // When it was last said, where there is no terminal.
    said: Option<std::cell::Cell<tokio::time::Instant>>,
}

impl Progress {
    fn new(total: u64, dry_run: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            Some(total),
            if is_terminal {
                ProgressDrawTarget::stderr_with_hz(REFRESHES_PER_SECOND)
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        let what = if dry_run { "checked" } else { "imported" };
        let template = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
        bar.set_style(ProgressStyle::with_template(&template).expect("it is a template"));
        Self { bar, total, said: (!is_terminal).then(|| tokio::time::Instant::now().into()) }
    }

    fn advance(&self, more: u64, done: u64, console: Console) {
        self.bar.inc(more);
        if let Some(said) = &self.said
            && said.get().elapsed() >= SAY_EVERY
        {
            said.set(tokio::time::Instant::now());
            console.tell_progress(done, self.total);
        }
    }

    fn end(&self) {
        self.bar.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi";

    fn problem(text: &str) -> String {
        token(text).expect_err(text)
    }

    #[test]
    fn a_line_is_the_contracts_message() {
        let line = format!(
            r#"{{"accountId": "ada", "label": "app", "scopes": ["read"], "allowedCidrs": ["10.0.0.0/8"],
                "createTime": "2020-01-01T00:00:00Z", "expireTime": "2030-01-01T00:00:00Z",
                "bcrypt": "{BCRYPT}", "lookupHint": "utm_4fR9"}}"#
        );
        let expected = v1::ImportedToken {
            account_id: "ada".to_owned(),
            label: "app".to_owned(),
            scopes: vec!["read".to_owned()],
            allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
            create_time: Some(prost_types::Timestamp { seconds: 1_577_836_800, nanos: 0 }),
            expire_time: Some(prost_types::Timestamp { seconds: 1_893_456_000, nanos: 0 }),
            lookup_hint: "utm_4fR9".to_owned(),
            inherits_permissions: false,
            hash: Some(Hash::Bcrypt(BCRYPT.to_owned())),
        };
        assert_eq!(token(&line), Ok(expected));
        let other_names = r#"{"account_id": "ada", "label": "app", "inherits_permissions": true, "sha256": "#;
        let hexadecimal = token(&format!("{other_names}\"{}\"}}", "0a".repeat(32))).expect("a token");
        let base64 = token(&format!("{other_names}\"{}\"}}", BASE64_STANDARD.encode([10; 32]))).expect("a token");
        assert_eq!(hexadecimal, base64);
        assert_eq!(hexadecimal.hash, Some(Hash::Sha256(vec![10; 32])));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_what_it_holds() {
        let with = |more: &str| format!(r#"{{"accountId": "ada", "label": "app"{more}}}"#);
        let sha256 = format!(r#", "sha256": "{}""#, "00".repeat(32));
        for (line, expected) in [
            (with(""), "either bcrypt or sha256"),
            (with(&format!(r#"{sha256}, "bcrypt": "{BCRYPT}""#)), "either bcrypt or sha256"),
            (with(&format!(r#", "bcrypt": "{BCRYPT}""#)), "lookupHint: "),
            (with(r#", "bcrypt": "$2b$10$verysecret", "lookupHint": "utm_4fR9""#), "bcrypt: "),
            (with(r#", "sha256": "verysecret""#), "sha256: "),
            (with(r#", "sha256": ["verysecret"]"#), "column "),
            (with(&format!(r#"{sha256}, "shasum": "verysecret""#)), "unknown field `shasum`"),
            (with(&format!(r#"{sha256}, "expireTime": "tomorrow""#)), "expireTime: "),
            (with(&format!(r#"{sha256}, "scopes": ["a b"]"#)), "scopes: "),
            (with(&format!(r#"{sha256}, "scopes": ["a"], "inheritsPermissions": true"#)), "scopes: "),
            (with(&format!(r#"{sha256}, "allowedCidrs": ["10/8"]"#)), "allowedCidrs: "),
            (r#"{"label": "app"}"#.to_owned(), "missing field `accountId`"),
            (r#"{"accountId": "a b", "label": "app"}"#.to_owned(), "accountId: "),
            (r#"{"accountId": "ada", "label": ""}"#.to_owned(), "label: "),
            ("verysecret".to_owned(), "column "),
        ] {
            let problem = problem(&line);
            assert!(problem.contains(expected) && !problem.contains("verysecret"), "{line}: {problem}");
        }
    }

    #[test]
    fn lines_are_told_by_their_numbers() {
        let good = format!(r#"{{"accountId": "ada", "label": "app", "sha256": "{}"}}"#, "00".repeat(32));
        let read = |text: String| Source::Read(text.into_bytes());
        assert_eq!(check(read(format!("\n{good}\r\n\n{good}")).lines().expect("read")).ok(), Some(2));
        let source = read(format!("{good}\n\nx\n{good}\n{}", "y\n".repeat(SHOWN)));
        let Err(Error::Lines { problems, more: 1 }) = check(source.lines().expect("read")) else {
            panic!("they are not tokens");
        };
        assert_eq!(problems.iter().map(|(line, _)| *line).take(2).collect::<Vec<_>>(), [3, 5]);
        let long = read("x".repeat(usize::try_from(MAX_LINE).expect("it is short")));
        assert!(matches!(check(long.lines().expect("read")), Err(Error::Lines { more: 0, .. })));
    }
}
