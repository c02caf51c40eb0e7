//! The command line, as somebody types it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Command, Output, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use super::{Database, Process, process::command, wait::until_blocking};

/// How each side of a terminal is opened. A server that another test starts
/// meanwhile must not get it: the terminal would end no sooner than that server.
const TERMINAL_SIDE: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY).union(OpenptFlags::CLOEXEC);

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
    /// there and what is typed is not shown; what the terminal showed is the output.
    pub(crate) fn typed(&self, arguments: &[&str], lines: &[(&str, &str)]) -> Ran {
        let mut keyboard = pseudo_terminal();
        let typed = self.command(arguments);
        // util-linux's: the command's own terminal is the one that it is given.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(typed.get_program()).args(typed.get_args());
        for (name, value) in typed.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // On one that is called dumb, as the suite's own may be, no progress is drawn.
        command.env("TERM", "xterm");
        let terminal = ioctl_tiocgptpeer(&keyboard, TERMINAL_SIDE).expect("its other side");
        let [stdin, stdout] = [(); 2].map(|()| terminal.try_clone().expect("a descriptor"));
        let mut child = command.stdin(stdin).stdout(stdout).stderr(terminal).spawn().expect("setsid runs");
        // It holds the terminal's side, which is to be closed once the child has ended.
        drop(command);
        let mut shown = Vec::new();
        for (prompt, line) in lines {
            while !shown.ends_with(prompt.as_bytes()) {
                let goes_on = goes_on(&keyboard, &mut shown);
                assert!(goes_on, "it does not ask: {}", String::from_utf8_lossy(&shown));
            }
            until_blocking("nothing is echoed", || {
                !tcgetattr(&keyboard).unwrap().local_modes.contains(LocalModes::ECHO)
            });
            writeln!(keyboard, "{line}").expect("it reads");
        }
        while goes_on(&keyboard, &mut shown) {}
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

/// The side of a new terminal at which somebody sits.
fn pseudo_terminal() -> File {
    let side = openpt(TERMINAL_SIDE).expect("a pseudo-terminal");
    grantpt(&side).and_then(|()| unlockpt(&side)).expect("it is ours");
    side.into()
}

/// Adds what is shown next; false: nobody has the other side any more.
fn goes_on(mut keyboard: &File, shown: &mut Vec<u8>) -> bool {
    const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

    let mut watched = [PollFd::new(keyboard, PollFlags::IN)];
    let ready = poll(&mut watched, Some(&PATIENCE)).expect("it can be watched");
    assert!(ready > 0, "it neither shows anything more nor ends: {}", String::from_utf8_lossy(shown));
    let mut bytes = [0; 1024];
    match keyboard.read(&mut bytes) {
        Ok(length) => shown.extend(&bytes[..length]),
        // What Linux says there.
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => return false,
        Err(error) => panic!("the terminal cannot be read: {error}"),
    }
    true
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
