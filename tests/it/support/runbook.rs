//! docs/runbooks.md, executed as it is written: its blocks of commands, and a host to
//! run them on.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Actor, Database, Process,
    postgres::{free_port, programs},
    process::{BINARY, command},
};

const RUNBOOKS: &str = include_str!("../../../docs/runbooks.md");
/// The most that one block may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Hands on to the test what a host's service manager is asked for.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$2" = token-authority ] || exit 1
echo "$1" >"$ASKED.new" && mv "$ASKED.new" "$ASKED"
until [ -e "$ASKED.done" ]; do sleep 0.02; done
read -r status <"$ASKED.done"
rm "$ASKED.done"
exit "$status"
"#;

/// The blocks of one section that are still to be run: all of them are.
pub(crate) struct Runbook {
    section: String,
    blocks: VecDeque<String>,
}

/// All sections that have blocks of commands, and those blocks.
fn sections() -> Vec<(String, VecDeque<String>)> {
    let mut sections: Vec<(String, VecDeque<String>)> = Vec::new();
    let (mut heading, mut block): (&str, Option<(usize, String)>) = ("", None);
    for line in RUNBOOKS.lines() {
        let text = line.trim_start();
        block = match block.take() {
            Some((_, commands)) if text == "```" => {
                match sections.last_mut() {
                    Some((section, blocks)) if section == heading => blocks.push_back(commands),
                    _ => sections.push((heading.to_owned(), [commands].into())),
                }
                None
            }
            Some((indent, commands)) => Some((indent, commands + line.get(indent..).unwrap_or_default() + "\n")),
            None if text == "```sh" => Some((line.len() - text.len(), String::new())),
            None => {
                assert!(!text.starts_with("```"), "only blocks of commands are known here: {line}");
                heading = text.strip_prefix("### ").unwrap_or(heading);
                None
            }
        };
    }
    assert!(block.is_none(), "the last block is not closed");
    sections
}

impl Runbook {
    /// That of a section, by its heading.
    pub(crate) fn of(section: &str) -> Self {
        let blocks = sections().into_iter().find(|(heading, _)| heading == section).map(|(_, blocks)| blocks);
        let blocks = blocks.unwrap_or_else(|| panic!("docs/runbooks.md has no commands under {section:?}"));
        Self { section: section.to_owned(), blocks }
    }

    /// The headings of all of them.
    pub(crate) fn sections() -> Vec<String> {
        sections().into_iter().map(|(heading, _)| heading).collect()
    }

    /// Runs the next block, which succeeds; what it printed.
    #[track_caller]
    pub(crate) fn next(&mut self, host: &mut Host) -> String {
        let (code, said) = self.try_next(host);
        assert_eq!(code, 0, "{}:\n{said}", self.section);
        said
    }

    /// The same, and then once more: it is a block for every now and then.
    #[track_caller]
    pub(crate) fn next_twice(&mut self, host: &mut Host) {
        self.blocks.push_front(self.blocks.front().expect("there is one").clone());
        self.next(host);
        self.next(host);
    }

    /// Runs the next block; its exit code, and what it printed.
    #[track_caller]
    pub(crate) fn try_next(&mut self, host: &mut Host) -> (i32, String) {
        let block = self.blocks.pop_front().unwrap_or_else(|| panic!("{} has no more blocks", self.section));
        host.run(&block)
    }
}

impl Drop for Runbook {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.blocks.is_empty(), "of {} these were not run: {:?}", self.section, self.blocks);
        }
    }
}

/// A host with one server, its settings in the environment, and a shell.
pub(crate) struct Host {
    pub(crate) database: Database,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    process: Option<Process>,
}

impl Host {
    /// A host whose server runs.
    pub(crate) fn start(database: Database) -> Self {
        Self::start_with(database, [])
    }

    /// The same, with more in its environment.
    pub(crate) fn start_with<'a>(database: Database, more: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let directory = database.data_dir().join("host");
        for name in ["bin", "backups", "safe", "work"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        let systemctl = directory.join("bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();

        let mut host = Self { database, environment: BTreeMap::new(), directory, process: None };
        let port = free_port();
        host.set("TOKEN_AUTHORITY__GRPC__LISTEN", &format!("127.0.0.1:{port}"));
        host.set("TOKEN_AUTHORITY_URL", &format!("http://127.0.0.1:{port}"));
        for (name, directory) in [("BACKUPS", "backups"), ("SAFE", "safe")] {
            let directory = host.directory.join(directory);
            host.set(name, directory.to_str().unwrap());
        }
        host.set("KEY", "next");
        host.set("FORMER", "k1");
        let asked = host.directory.join("asked");
        host.set("ASKED", asked.to_str().unwrap());
        if let Some(url) = host.database.url().map(ToOwned::to_owned) {
            host.goes_to(&url, None);
        }
        for (name, value) in more {
            host.set(name, &value);
        }
        let code = host.ask("start");
        assert_eq!(code, 0, "the server starts");
        let token = host.database.admin_token();
        host.set("TOKEN_AUTHORITY_TOKEN", &token);
        host
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Has PostgreSQL's own tools go to this database, as its own role or as another.
    pub(crate) fn goes_to(&mut self, url: &str, role: Option<&str>) {
        let parts = url.strip_prefix("postgres://").and_then(|rest| {
            let (login, place) = rest.split_once('@')?;
            let ((own, password), (host, database)) = (login.split_once(':')?, place.split_once('/')?);
            let (host, port) = host.split_once(':')?;
            Some([role.unwrap_or(own), password, host, port, database])
        });
        let [role, password, host, port, database] = parts.expect("a URL of the tests' own");
        for (name, value) in [("PGHOST", host), ("PGPORT", port), ("PGUSER", role), ("PGDATABASE", database)] {
            self.set(name, value);
        }
        let file = self.directory.join("pgpass");
        fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        self.set("PGPASSFILE", file.to_str().unwrap());
    }

    /// The server, which runs.
    pub(crate) fn server(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    pub(crate) async fn admin(&self) -> Actor {
        self.server().admin().await
    }

    /// Where commands are run.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.directory.join("backups")
    }

    /// Has the service manager do something; its exit code.
    pub(crate) fn ask(&mut self, verb: &str) -> i32 {
        if matches!(verb, "stop" | "restart")
            && let Some(mut process) = self.process.take()
        {
            assert!(process.end().success());
            // What is in the database, the end of the host sees.
            process.seen.look_for_secrets(process.log().as_bytes(), &[]);
        }
        if matches!(verb, "start" | "restart") && self.process.is_none() {
            let environment = &self.environment;
            let started = Process::try_start_with(&self.database, |command| {
                let own = environment.iter().filter(|(name, _)| name.starts_with("TOKEN_AUTHORITY__"));
                command.envs(own);
            });
            match started {
                Ok(process) => self.process = Some(process),
                Err(log) => {
                    eprintln!("the server did not start:\n{log}");
                    return 1;
                }
            }
        }
        0
    }

    /// Runs commands in a shell; the exit code, and all that they printed.
    fn run(&mut self, commands: &str) -> (i32, String) {
        let output = self.directory.join("output");
        let file = fs::File::create(&output).unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", commands]).current_dir(self.work()).stdin(Stdio::null());
        shell.stdout(file.try_clone().unwrap()).stderr(file);
        for (name, value) in command(&self.database, &[]).get_envs() {
            shell.env(name, value.unwrap());
        }
        shell.envs(&self.environment).env("PATH", self.path());
        let mut child = shell.spawn().expect("bash runs");
        let asked = PathBuf::from(&self.environment["ASKED"]);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if let Ok(verb) = fs::read_to_string(&asked) {
                fs::remove_file(&asked).unwrap();
                let code = self.ask(verb.trim_end());
                let answer = asked.with_extension("answer");
                fs::write(&answer, format!("{code}\n")).unwrap();
                fs::rename(answer, asked.with_extension("done")).unwrap();
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("these commands do not end:\n{commands}\n{}", fs::read_to_string(&output).unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code().expect("bash ends by itself"), fs::read_to_string(&output).unwrap())
    }

    fn path(&self) -> String {
        let own = Path::new(BINARY).parent().expect("it is in a directory");
        let mut path = vec![self.directory.join("bin"), own.to_owned()];
        if self.database.url().is_some() {
            path.push(programs().to_owned());
        }
        let mut path: Vec<_> = path.iter().map(|directory| directory.display().to_string()).collect();
        path.extend(std::env::var("PATH"));
        path.join(":")
    }

    /// Ends the server and the host.
    pub(crate) fn end(mut self) {
        assert!(self.process.take().expect("the server runs").terminate().success());
    }
}
