//! `token import`: a file of tokens comes in by a command that may be cut short at
//! any moment, and goes on where it ended.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use token_authority::{
    proto::v1::{ImportedToken, imported_token::Hash},
    settings::Settings,
};

use crate::support::{
    Actor, Backend, Database, Process, Terminal, TestServer,
    calls::question,
    legacy::{LegacyToken, take_over},
    seed::many,
    settings::set_patience,
    terminal::ran_with_input,
    wait::until,
};

on_both_databases!(many_imported_tokens_are_proved_once_each);

/// The legacy form, as the environment has it.
fn set_form(command: &mut Command) {
    command.env("TOKEN_AUTHORITY__CREDENTIALS__LEGACY", r#"[{ prefix = "utm_", hint_length = 12 }]"#);
}

fn line(token: &ImportedToken) -> String {
    let mut line = json!({ "accountId": token.account_id, "label": token.label });
    match token.hash.as_ref().unwrap() {
        Hash::Bcrypt(hash) => {
            line["bcrypt"] = json!(hash);
            line["lookupHint"] = json!(token.lookup_hint);
        }
        Hash::Sha256(digest) => {
            let digits = digest.iter().fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").unwrap();
                digits
            });
            line["sha256"] = json!(digits);
        }
    }
    line.to_string()
}

fn write_file(database: &Database, lines: &[String]) -> PathBuf {
    let path = database.data_dir().join("tokens.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_checked_whole_and_told_by_its_lines() {
    let database = Backend::Sqlite.database();
    let process = Process::start_with(&database, set_form);
    let operator = Terminal::new(&database, &process, &database.admin_token());
    let old: Vec<_> = (0..5).map(LegacyToken::new).collect();
    let mut lines: Vec<_> = old.iter().map(|token| line(&token.by_bcrypt("ada"))).collect();
    lines[4] = line(&old[4].by_sha256("ada"));
    let file = |lines: &[String]| write_file(&database, lines).to_str().unwrap().to_owned();
    let import = |path: &str, more: &[&str]| operator.run(&[&["token", "import", "--file", path], more].concat());

    let mut bad = lines.clone();
    bad.insert(1, String::new());
    bad[3] = r#"{"accountId": "ada"}"#.to_owned();
    bad[4] = "junk".to_owned();
    let refused = import(&file(&bad), &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (5, ""), "{refused:?}");
    assert!(refused.stderr.contains("line 4: missing field `label`; line 5: "), "{refused:?}");
    assert!(refused.stderr.contains("[INVALID_LINES]"), "{refused:?}");
    assert_eq!(import("/nowhere/at/all", &[]).code, 1);

    let good = file(&lines);
    let checked: Value = serde_json::from_str(&import(&good, &["--dry-run", "--output", "json"]).stdout).unwrap();
    assert_eq!(checked, json!({ "tokenCount": 5, "newCount": 5, "dryRun": true }));
    let admin = process.admin().await;
    assert!(!admin.introspect(&old[0].0).await.active);
    let done = import(&good, &["--batch", "2", "--output", "json"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told, json!({ "tokenCount": 5, "newCount": 5, "dryRun": false }));
    for token in &old {
        assert!(admin.introspect(&token.0).await.active);
    }

    // What the server refuses, it refuses by the batch; the line is named.
    lines.push(line(&LegacyToken::new(6).by_bcrypt("ada")));
    lines.push(line(&ImportedToken { lookup_hint: "utm_1".to_owned(), ..LegacyToken::new(7).by_bcrypt("ada") }));
    let refused = import(&file(&lines), &["--batch", "5"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("line 7 was refused"), "{refused:?}");
    assert!(refused.stderr.contains("5 of 7 tokens are imported"), "{refused:?}");
    assert!(refused.stderr.contains("INVALID_LOOKUP_HINT"), "{refused:?}");
    assert_eq!(admin.tokens_of("ada", &[]).await.len(), 5);

    lines.pop();
    let piped = operator.command(&["token", "import", "--file", "-", "--output", "json"]);
    let piped = ran_with_input(piped, &lines.join("\n"));
    let told: Value = serde_json::from_str(&piped.stdout).unwrap();
    assert_eq!(told, json!({ "tokenCount": 6, "newCount": 1, "dryRun": false }), "{piped:?}");
    assert!(process.terminate().success());
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_shown_on_a_terminal() {
    let database = Backend::Sqlite.database();
    let process = Process::start_with(&database, set_form);
    let operator = Terminal::new(&database, &process, &database.admin_token());
    let lines: Vec<_> = (0..30).map(|number| line(&LegacyToken::new(number).by_sha256("ada"))).collect();
    let path = write_file(&database, &lines);
    let import = ["token", "import", "--batch", "10", "--file", path.to_str().unwrap()];
    let ran = operator.typed(&import, &[]);
    assert!(ran.code == 0 && ran.stdout.contains("30/30 imported"), "{ran:?}");
    assert!(process.terminate().success());
}

/// A hundred thousand with `TOKEN_AUTHORITY_TEST_TOKENS=100000`.
async fn many_imported_tokens_are_proved_once_each(backend: Backend) {
    const BATCH: usize = 50;

    let count = usize::try_from(many(400)).unwrap();
    let database = backend.database();
    let old: Vec<_> = (0..count).map(LegacyToken::new).collect();
    let lines: Vec<_> = hashed(&old).await;
    let path = write_file(&database, &lines);

    // Killed on its way, and started again.
    let process = Process::start_with(&database, |command| {
        set_form(command);
        set_patience(command);
        command.env("TOKEN_AUTHORITY__LOG__FILTER", "info");
    });
    let operator = Terminal::new(&database, &process, &database.admin_token());
    let batch = BATCH.to_string();
    let arguments = ["token", "import", "--file", path.to_str().unwrap(), "--batch", &batch];
    let mut cut_short = operator.command(&arguments);
    let mut child = cut_short.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let imported = async || database.count("credentials WHERE imported").await;
    until("some are imported", async || imported().await > 0).await;
    child.kill().unwrap();
    child.wait().unwrap();
    // What it sent last goes on to its end.
    let mut there = imported().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        there = imported().await;
    }
    println!("{backend:?}: killed after {there} of {count} tokens were imported");
    assert_eq!(there % BATCH as u64, 0, "a batch takes effect as a whole");
    // Where it takes long, standard error says how far it is.
    let again = operator.run(&[&arguments[..], &["--output", "json"]].concat());
    assert_eq!(again.code, 0, "{again:?}");
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again, json!({ "tokenCount": count, "newCount": count as u64 - there, "dryRun": false }));
    assert_eq!(imported().await, count as u64, "there are no doubles");
    assert!(process.terminate().success());

    let settings = |database: &Database| {
        let mut settings: Settings = database.settings(None);
        take_over(&mut settings);
        settings.credentials.bcrypt_queue = 1_000;
        settings
    };
    for runs in [count as u64, 0] {
        let server = TestServer::on(database.clone(), &settings(&database)).await;
        let admin = server.admin().await;
        for token in old.chunks(200) {
            assert_active(&admin, token).await;
        }
        assert_eq!(server.server.bcrypt_runs(), runs, "each was proved once");
        // What found no room to be stored is stored with its next use.
        let lacking = async || database.count("secrets WHERE fingerprint IS NULL").await;
        let mut passes = 0;
        while lacking().await > 0 {
            for token in old.chunks(200) {
                assert_active(&admin, token).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            passes += 1;
            assert!(passes < 500, "some are never stored");
        }
        assert_eq!(server.server.bcrypt_runs(), runs, "and remembered");
        println!("{backend:?}: {count} imported tokens were introspected by {runs} runs of bcrypt");
        server.end().await;
    }
}

async fn assert_active(admin: &Actor, tokens: &[LegacyToken]) {
    let questions = tokens.iter().map(|token| question(&token.0, &[])).collect();
    assert!(admin.batch_introspect(questions).await.unwrap().iter().all(|answer| answer.active));
}

/// The lines of these tokens, hashed side by side.
async fn hashed(tokens: &[LegacyToken]) -> Vec<String> {
    let halves = tokens.chunks(tokens.len().div_ceil(2)).map(|tokens| {
        let tokens = tokens.to_vec();
        tokio::task::spawn_blocking(move || {
            let numbered = tokens.iter().enumerate();
            numbered
                .map(|(number, token)| line(&token.by_bcrypt(&format!("account-{}", number % 100))))
                .collect::<Vec<_>>()
        })
    });
    join_all(halves).await.into_iter().flat_map(Result::unwrap).collect()
}
