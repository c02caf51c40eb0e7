//! Where settings come from: flags over environment over file over defaults.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use toml::{Table, Value};

use super::{DatabaseUrl, InvalidSetting, Settings};

/// What every variable of ours begins with.
const PREFIX: &str = "TOKEN_AUTHORITY__";

/// The settings that have a flag.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--database-url`
    pub database_url: Option<DatabaseUrl>,
    /// `--grpc-listen`
    pub grpc_listen: Option<SocketAddr>,
    /// `--http-listen`
    pub http_listen: Option<SocketAddr>,
}

/// Why settings cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML. The line itself is not shown: it may hold a secret.
    #[error("the settings file is not TOML: line {line}: {problem}")]
    Toml {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A variable cannot be read as a setting.
    #[error("the environment variable {0} {1}")]
    Variable(String, &'static str),
    /// A key is unknown, or its value is of another kind.
    #[error("setting {key}: {problem}")]
    Key {
        /// Which key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A value is refused.
    #[error(transparent)]
    Invalid(#[from] InvalidSetting),
}

/// Merges what is written in the sources over the defaults.
pub(super) fn merge(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &Flags,
) -> Result<Settings, LoadError> {
    let text = file.unwrap_or_default();
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| LoadError::Toml {
        line: error.span().map_or(0, |span| text[..span.start].lines().count().max(1)),
        problem: error.message().to_owned(),
    })?;
    for (name, value) in environment {
        let Some(path) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let name = name.to_string_lossy().into_owned();
        let value = value.into_string().map_err(|_| LoadError::Variable(name.clone(), "is not UTF-8"))?;
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        set(&mut table, &path, read_value(&value)).map_err(|problem| LoadError::Variable(name, problem))?;
    }

    let settings = Settings::deserialize_with_path(Value::Table(table))?;
    Ok(settings.with(flags))
}

/// A value of the environment: what TOML takes for a number, truth value, list
/// or table is one, all else is text.
fn read_value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    match parsed {
        Some(
            value @ (Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Array(_)
            | Value::Table(_)
            | Value::String(_)),
        ) => value,
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
    }
}

fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), &'static str> {
    match path {
        [] => Err("names no setting"),
        [name] => {
            table.insert(name.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let section = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            match section {
                Value::Table(section) => set(section, rest, value),
                _ => Err("names a setting within one that is no section"),
            }
        }
    }
}

impl Settings {
    fn deserialize_with_path(value: Value) -> Result<Self, LoadError> {
        serde_path_to_error::deserialize::<_, Self>(value).map_err(|error| {
            let key = error.path().to_string();
            LoadError::Key { key, problem: error.into_inner().message().to_owned() }
        })
    }

    fn with(mut self, flags: &Flags) -> Self {
        let Flags { data_dir, database_url, grpc_listen, http_listen } = flags.clone();
        if let Some(data_dir) = data_dir {
            self.data_dir = data_dir;
        }
        if database_url.is_some() {
            self.database.url = database_url;
        }
        if let Some(listen) = grpc_listen {
            self.grpc.listen = listen;
        }
        if let Some(listen) = http_listen {
            self.http.listen = listen;
        }
        self
    }
}
