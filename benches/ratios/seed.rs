//! Tokens as if they had been issued, written straight into the database: a
//! million would take bcrypt a day.
//!
//! All share one secret, so that one run of bcrypt gives each a hash that is
//! truly its own; their ids, and so their texts and fingerprints, differ.

use std::{convert::Infallible, fmt::Write as _, fs, path::Path};

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use token_authority::{
    domain::{
        credential::{Forms, Kind, Plaintext, Prefix, Secret},
        id::{AccountKey, CredentialId, SecretId},
        keys::{KeyRing, MasterKey},
        time::Timestamp,
    },
    random,
};
use uuid::Uuid;

use crate::postgres::Postgres;

/// When all of them were issued, and when they expire: 2026 and 2100.
const ISSUED: i64 = 1_767_225_600_000_000;
const EXPIRES: i64 = 4_102_444_800_000_000;
/// Rows of one statement, or of one piece of a copy.
const CHUNK: usize = 500;

/// Which tokens to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    /// Told apart from other seeds of the same database.
    pub(crate) name: &'static str,
    pub(crate) tokens: usize,
    /// Whom they belong to, in equal parts.
    pub(crate) accounts: usize,
    /// With a fingerprint, as minted ones have it; without, as imported ones.
    pub(crate) fingerprints: bool,
    pub(crate) bcrypt_cost: u32,
}

/// The database to write to, which no server uses meanwhile.
pub(crate) enum Target<'a> {
    Sqlite(&'a Path),
    Postgres(&'a str),
}

/// One column's value.
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Uuid(Uuid),
    Bytes(Vec<u8>),
}

impl<T: Into<String>> From<T> for Value {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// A token as its rows and its holder need it.
struct Token {
    id: CredentialId,
    account: Uuid,
    plaintext: Plaintext,
}

/// The forms by default.
pub(crate) fn forms() -> Forms {
    let prefix = |text| Prefix::new(text).expect("well-formed");
    Forms::new(prefix("dt"), prefix("ds"), prefix("svc")).expect("they differ")
}

/// A secret of nobody's.
pub(crate) fn draw_secret() -> Secret {
    let Ok(secret) = Secret::draw(|buffer| {
        random::fill(buffer);
        Ok::<_, Infallible>(())
    });
    secret
}

/// Makes the tokens under the first key of `master_key_file`, and writes them,
/// one a line, to `credentials`.
pub(crate) async fn sow(seed: Seed, target: Target<'_>, master_key_file: &Path, credentials: &Path) {
    let ring = fs::read_to_string(master_key_file).expect("the master key's file");
    let ring = KeyRing::parse(&ring).expect("a ring of master keys");
    let secret = draw_secret();
    let hash = bcrypt::hash(secret.expose(), seed.bcrypt_cost).expect("a secret is short, and the cost allowed");
    let accounts: Vec<Uuid> =
        (0..seed.accounts).map(|number| AccountKey::at(issued(number), random::bytes()).uuid()).collect();
    let forms = forms();
    let tokens: Vec<Token> = (0..seed.tokens)
        .map(|number| {
            let id = CredentialId::at(issued(number), random::bytes());
            let plaintext = forms.encode(Kind::Personal, id, &secret).expect("an opaque kind");
            Token { id, account: accounts[number % accounts.len()], plaintext }
        })
        .collect();
    let mut lines = String::with_capacity(tokens.len() * 64);
    for token in &tokens {
        lines.push_str(token.plaintext.expose());
        lines.push('\n');
    }
    fs::write(credentials, lines).expect("the credentials' file is written");

    let mut sink = Sink::open(target).await;
    let account = |(number, key): (usize, &Uuid)| account_row(&format!("{}-{number}", seed.name), *key);
    sink.write("accounts", accounts.iter().enumerate().map(account)).await;
    sink.write("credentials", tokens.iter().map(|token| credential_row(token, seed.fingerprints))).await;
    let key = ring.first().filter(|_| seed.fingerprints);
    sink.write("secrets", tokens.iter().map(|token| secret_row(token, &hash, key))).await;
    sink.close().await;
}

fn issued(number: usize) -> Timestamp {
    Timestamp::from_micros(ISSUED + number as i64 * 10).expect("in range")
}

fn account_row(name: &str, key: Uuid) -> Vec<(&'static str, Value)> {
    vec![
        ("id", Value::Uuid(key)),
        ("account_id", name.into()),
        ("username", format!("User {name}").into()),
        ("username_compared", format!("user {name}").into()),
        ("email", format!("{name}@example.com").into()),
        ("plan", Value::Null),
        ("roles", "".into()),
        ("permissions", "".into()),
        ("limit_permissions", Value::Bool(false)),
        ("suspended", Value::Bool(false)),
        ("password_hash", Value::Null),
        ("token_generation", Value::Int(0)),
        ("session_generation", Value::Int(0)),
        ("create_time", Value::Int(ISSUED)),
        ("update_time", Value::Int(ISSUED)),
        ("etag", Value::Uuid(key)),
    ]
}

fn credential_row(token: &Token, minted: bool) -> Vec<(&'static str, Value)> {
    vec![
        ("id", Value::Uuid(token.id.uuid())),
        ("kind", Value::Int(1)),
        ("account", Value::Uuid(token.account)),
        ("label", "TradingView webhook".into()),
        ("inherits_permissions", Value::Bool(false)),
        ("scopes", "signals:read trading:read trading:write".into()),
        ("roles", "".into()),
        ("networks", "".into()),
        ("hint", token.plaintext.hint().into()),
        ("generation", Value::Int(0)),
        ("created_by", "service:0198b2f1-0000-7000-8000-000000000000".into()),
        ("request_id", Value::Null),
        ("imported", Value::Bool(!minted)),
        ("create_time", Value::Int(ISSUED)),
        ("expire_time", Value::Int(EXPIRES)),
        ("rotate_time", Value::Null),
        ("revoke_time", Value::Null),
        ("revocation_reason", Value::Null),
    ]
}

fn secret_row(token: &Token, hash: &str, key: Option<&MasterKey>) -> Vec<(&'static str, Value)> {
    let (fingerprint, key_id) = match key {
        None => (Value::Null, Value::Null),
        Some(key) => (Value::Bytes(key.fingerprint(&token.plaintext).expose().to_vec()), key.id().as_str().into()),
    };
    vec![
        ("id", Value::Uuid(SecretId::at(issued(0), random::bytes()).uuid())),
        ("credential", Value::Uuid(token.id.uuid())),
        ("bcrypt_hash", hash.into()),
        ("fingerprint", fingerprint),
        ("key_id", key_id),
        ("create_time", Value::Int(ISSUED)),
        ("end_time", Value::Null),
    ]
}

/// Where rows go.
enum Sink {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Sink {
    async fn open(target: Target<'_>) -> Self {
        match target {
            Target::Sqlite(file) => {
                let options = SqliteConnectOptions::new()
                    .filename(file)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Off)
                    .disable_statement_logging();
                let mut connection = options.connect().await.expect("the database is there");
                execute(&mut connection, "BEGIN IMMEDIATE").await;
                Self::Sqlite(connection)
            }
            Target::Postgres(url) => {
                let options: PgConnectOptions = url.parse().expect("a PostgreSQL URL");
                Self::Postgres(options.disable_statement_logging().connect().await.expect("PostgreSQL answers"))
            }
        }
    }

    async fn write(&mut self, table: &str, rows: impl Iterator<Item = Vec<(&'static str, Value)>>) {
        let mut rows = rows.peekable();
        let columns: Vec<_> = rows.peek().expect("there are rows").iter().map(|(name, _)| *name).collect();
        let columns = columns.join(", ");
        match self {
            Self::Sqlite(connection) => {
                while rows.peek().is_some() {
                    let mut statement = format!("INSERT INTO {table} ({columns}) VALUES ");
                    for row in rows.by_ref().take(CHUNK) {
                        write_row(&mut statement, &row, ["(", ", ", "),"], literal);
                    }
                    statement.pop();
                    execute(connection, &statement).await;
                }
            }
            Self::Postgres(connection) => {
                let statement = format!("COPY {table} ({columns}) FROM STDIN");
                let mut copy = connection.copy_in_raw(&statement).await.expect("rows can be copied in");
                while rows.peek().is_some() {
                    let mut text = String::new();
                    for row in rows.by_ref().take(CHUNK) {
                        write_row(&mut text, &row, ["", "\t", "\n"], copied);
                    }
                    copy.send(text.into_bytes()).await.expect("PostgreSQL takes the rows");
                }
                copy.finish().await.expect("PostgreSQL takes the rows");
            }
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(mut connection) => {
                execute(&mut connection, "COMMIT").await;
                execute(&mut connection, "ANALYZE").await;
                connection.close().await.expect("SQLite closes");
            }
            Self::Postgres(connection) => connection.close().await.expect("PostgreSQL closes"),
        }
    }
}

/// So that PostgreSQL has nothing left to do of its own when it is measured.
pub(crate) fn settle(postgres: &Postgres, database: &str) {
    for statement in ["VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"] {
        postgres.sql(database, statement);
    }
}

async fn execute(connection: &mut SqliteConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect("SQLite takes the statement");
}

fn write_row(
    text: &mut String,
    row: &[(&str, Value)],
    [before, between, after]: [&str; 3],
    write_value: fn(&mut String, &Value),
) {
    text.push_str(before);
    for (index, (_, value)) in row.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { between });
        write_value(text, value);
    }
    text.push_str(after);
}

/// As SQLite's SQL has it; no text here has a quotation mark.
fn literal(text: &mut String, value: &Value) {
    let written = match value {
        Value::Null => write!(text, "NULL"),
        Value::Bool(value) => write!(text, "{}", u8::from(*value)),
        Value::Int(value) => write!(text, "{value}"),
        Value::Text(value) => write!(text, "'{value}'"),
        Value::Uuid(value) => write!(text, "x'{}'", value.simple()),
        Value::Bytes(value) => write!(text, "x'{}'", Hex(value)),
    };
    written.expect("a String takes all");
}

/// As PostgreSQL's COPY has it; no text here has a tab or a backslash.
fn copied(text: &mut String, value: &Value) {
    let written = match value {
        Value::Null => write!(text, "\\N"),
        Value::Bool(value) => write!(text, "{value}"),
        Value::Int(value) => write!(text, "{value}"),
        Value::Text(value) => write!(text, "{value}"),
        Value::Uuid(value) => write!(text, "{value}"),
        Value::Bytes(value) => write!(text, "\\\\x{}", Hex(value)),
    };
    written.expect("a String takes all");
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
