//! The command line, as somebody types it.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Output, Stdio},
};

use super::{Database, Process, process::command};

/// Somebody who runs commands against a server, with a credential in the
/// environment.
pub(crate) struct Terminal<'a> {
    database: &'a Database,
    process: &'a Process,
    credential: String,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Terminal<'a> {
    pub(crate) fn new(database: &'a Database, process: &'a Process, credential: &str) -> Self {
        Self { database, process, credential: credential.to_owned() }
    }

    /// Runs a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments))
    }

    /// Runs a command that succeeds, and reads the JSON that it prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// Runs a command that mints, and reads the secret that it prints alone.
    #[track_caller]
    pub(crate) fn secret(&self, arguments: &[&str]) -> String {
        let ran = self.run(&[arguments, &["--output", "secret"]].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        let secret = ran.stdout.strip_suffix('\n').expect("one line");
        assert!(
            secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)),
            "nothing but the secret"
        );
        self.process.seen.secret(secret);
        secret.to_owned()
    }

    /// Runs a command on a terminal, where each line is typed when its prompt is
    /// there; what the terminal showed is the output.
    pub(crate) fn typed(&self, arguments: &[&str], lines: &[(&str, &str)]) -> Ran {
        let typed = self.command(arguments);
        let words = std::iter::once(typed.get_program()).chain(typed.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().expect("UTF-8")).collect();
        // util-linux's, which gives a command a terminal.
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        for (name, value) in typed.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script runs");
        let (mut keyboard, mut screen) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut shown = Vec::new();
        for (prompt, line) in lines {
            while !shown.ends_with(prompt.as_bytes()) {
                let mut byte = [0];
                screen.read_exact(&mut byte).expect("it asks");
                shown.extend(byte);
            }
            writeln!(keyboard, "{line}").expect("it reads");
        }
        screen.read_to_end(&mut shown).expect("the terminal can be read");
        let status = child.wait().expect("it ends");
        Ran {
            code: status.code().expect("it ends by itself"),
            stdout: String::from_utf8(shown).expect("UTF-8"),
            stderr: String::new(),
        }
    }

    /// A command with the server's address and the credential in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.database, arguments);
        command.env("TOKEN_AUTHORITY_URL", self.process.url()).env("TOKEN_AUTHORITY_TOKEN", &self.credential);
        command
    }
}

/// Runs a command to its end.
pub(crate) fn ran(mut command: Command) -> Ran {
    command.output().expect("the binary runs").into()
}

/// Runs a command to its end, with something to read.
pub(crate) fn ran_with_input(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}
