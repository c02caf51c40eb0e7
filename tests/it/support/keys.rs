//! The ring of master keys in a data directory, and the commands that work on
//! it. What a command says never shows a key.

use std::{fs, path::PathBuf};

use memchr::memmem;

use super::{
    Database,
    process::command,
    terminal::{Ran, ran},
};

impl Database {
    pub(crate) fn ring_file(&self) -> PathBuf {
        self.data_dir().join("master.key")
    }

    pub(crate) fn ring(&self) -> String {
        fs::read_to_string(self.ring_file()).expect("there is a ring")
    }

    /// Gives this data directory another ring, in one piece.
    pub(crate) fn put_ring(&self, ring: &str) {
        let temporary = self.data_dir().join("master.key.new");
        fs::write(&temporary, ring).expect("it can be written");
        fs::rename(temporary, self.ring_file()).expect("it can be put in place");
    }

    /// The ring without the key of that name.
    pub(crate) fn ring_without(&self, id: &str) -> String {
        self.ring()
            .lines()
            .filter(|line| !line.starts_with(&format!("{id}:")))
            .fold(String::new(), |text, line| text + line + "\n")
    }

    /// Runs `keys …` with `arguments`.
    #[track_caller]
    pub(crate) fn keys(&self, arguments: &[&str]) -> Ran {
        let ran = ran(command(self, &[&["keys"], arguments].concat()));
        self.look_for_keys(ran.stdout.as_bytes());
        self.look_for_keys(ran.stderr.as_bytes());
        ran
    }

    /// Runs `keys …` to a good end, with nothing to complain of.
    #[track_caller]
    pub(crate) fn keys_done(&self, arguments: &[&str]) -> String {
        let Ran { code, stdout, stderr } = self.keys(arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "keys {arguments:?}: {stdout}");
        stdout
    }

    /// What `keys list` tells: each key's name, `current` or not, whether it is in
    /// the file, and how many live secrets are under it.
    #[track_caller]
    pub(crate) fn keys_listed(&self) -> Vec<(String, bool, String, u64)> {
        let listed: serde_json::Value =
            serde_json::from_str(&self.keys_done(&["list", "--output", "json"])).expect("JSON");
        let key = |key: &serde_json::Value| {
            let text = |name: &str| key[name].as_str().expect("a text").to_owned();
            let current = key["current"].as_bool().expect("a truth");
            (text("key"), current, text("file"), key["secrets"].as_u64().expect("a number"))
        };
        listed["keys"].as_array().expect("a list").iter().map(key).collect()
    }

    /// Looks for every key of the ring's file where none may be.
    #[track_caller]
    pub(crate) fn look_for_keys(&self, text: &[u8]) {
        let Ok(ring) = fs::read_to_string(self.ring_file()) else {
            return;
        };
        for (id, key) in ring.lines().filter_map(|line| line.split_once(':')) {
            assert!(memmem::find(text, key.as_bytes()).is_none(), "the key {id} is shown");
        }
    }
}
