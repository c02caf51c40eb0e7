//! The command line against a running server: an operator's commands, a
//! holder's own, and how each can end.

use serde_json::{Value, json};

use crate::support::{
    Backend, Database, Process, Terminal,
    sign_in::by_password,
    terminal::{Ran, ran, ran_with_input},
};

const USAGE: i32 = 2;
const DENIED: i32 = 3;
const NOT_FOUND: i32 = 4;
const REFUSED: i32 = 5;
const UNAVAILABLE: i32 = 6;

fn start() -> (Database, Process) {
    let database = Backend::Sqlite.database();
    let process = Process::start(&database);
    (database, process)
}

fn operator<'a>(database: &'a Database, process: &'a Process) -> Terminal<'a> {
    Terminal::new(database, process, &database.admin_token())
}

/// The values of one key in a list of records.
fn each<'a>(records: &'a Value, key: &str) -> Vec<&'a str> {
    records.as_array().unwrap().iter().map(|record| record[key].as_str().unwrap()).collect()
}

/// Why a command failed, as programs are told: on standard error alone.
#[track_caller]
fn assert_failed(ran: &Ran, code: i32, reason: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
    let told: Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
    assert_eq!((&told["error"]["reason"], &told["error"]["exitCode"]), (&json!(reason), &json!(code)));
}

#[test]
fn an_operator_issues_lists_and_shows_tokens() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada"]);
    let create = |label, options: &[&'static str]| {
        [&["token", "create", "--account", "ada", "--scope", "read", "--label", label], options].concat()
    };
    let piped = operator.secret(&create("piped", &[]));
    assert!(piped.starts_with("dt_"));
    let shown = operator.json(&create("shown", &["--ttl", "30d", "--cidr", "10.0.0.0/8"]));
    process.seen.secret(shown["secret"].as_str().unwrap());
    assert_eq!(shown["token"]["allowedCidrs"], json!(["10.0.0.0/8"]));
    let table = operator.run(&create("table", &[]));
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    let secret = table.stdout.lines().find(|line| line.starts_with("dt_")).unwrap();
    process.seen.secret(secret);

    let listed = operator.json(&["token", "list", "--account", "ada"]);
    assert_eq!(each(&listed["tokens"], "label"), ["table", "shown", "piped"]);
    assert_eq!(each(&listed["tokens"], "state"), ["active"; 3]);
    assert!(![piped.as_str(), secret].iter().any(|secret| listed.to_string().contains(secret)));
    let newest = operator.json(&["token", "list", "--account", "ada", "--limit", "1"]);
    assert_eq!(each(&newest["tokens"], "label"), ["table"]);
    let id = shown["token"]["tokenId"].as_str().unwrap();
    assert_eq!(operator.json(&["token", "show", id])["token"], shown["token"]);
    assert!(process.terminate().success());
}

#[test]
fn an_operator_revokes_by_id_by_secret_and_all_at_once() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    let create = ["token", "create", "--account", "ada", "--label", "x"];
    let secrets: Vec<_> = (0..4).map(|_| operator.secret(&create)).collect();
    let listed = operator.json(&["token", "list", "--account", "ada"]);
    let [.., second, first] = each(&listed["tokens"], "tokenId")[..] else { panic!("there are four: {listed}") };

    let revoked = operator.json(&["token", "revoke", first, "--reason", "compromised"]);
    assert_eq!(
        (&revoked["token"]["state"], &revoked["token"]["revocationReason"]),
        (&json!("revoked"), &json!("compromised"))
    );
    let by_secret = ["token", "revoke", "--secret-file", "-", "--output", "json"];
    let ended = ran_with_input(operator.command(&by_secret), &format!("{}\n", secrets[1]));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["token"]["tokenId"], json!(second));
    let unknown = ran_with_input(operator.command(&by_secret), "dt_unknown");
    assert_eq!((unknown.code, unknown.stdout.trim_end()), (0, "{}"));
    let all = operator.json(&["token", "revoke", "--all", "--account", "ada", "--include-sessions"]);
    assert_eq!(all["revokedCount"], json!(2));

    assert!(each(&operator.json(&["token", "list", "--account", "ada"])["tokens"], "label").is_empty());
    let revoked = operator.json(&["token", "list", "--account", "ada", "--state", "revoked"]);
    assert_eq!(revoked["tokens"].as_array().unwrap().len(), 4);
    assert!(process.terminate().success());
}

#[test]
fn an_operator_sets_passwords_suspends_and_ends_sessions() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada", "--username", "ada"]);
    let set = ["account", "set-password", "ada", "--password-file", "-", "--output", "json"];
    let told = ran_with_input(operator.command(&set), "correct horse\n");
    process.seen.password("correct horse");
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told, json!({ "accountId": "ada", "hasPassword": true }));
    let short = ran_with_input(operator.command(&set), "short\n");
    assert_failed(&short, REFUSED, "INVALID_PASSWORD");
    assert_failed(&ran_with_input(operator.command(&set), ""), 1, "UNREADABLE");

    let suspended = operator.json(&["account", "suspend", "ada"]);
    assert_eq!((&suspended["account"]["suspended"], &suspended["account"]["username"]), (&json!(true), &json!("ada")));
    assert_eq!(operator.json(&["account", "restore", "ada"])["account"]["suspended"], json!(false));
    for command in ["suspend", "restore"] {
        let missing = operator.run(&["account", command, "nobody", "--output", "json"]);
        assert_failed(&missing, NOT_FOUND, "ACCOUNT_NOT_FOUND");
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let opened = runtime
        .block_on(async { process.admin().await.sign_in_desktop(by_password("ada", "correct horse")).await.unwrap() });
    let listed = operator.json(&["session", "list", "--account", "ada"]);
    assert_eq!(each(&listed["sessions"], "sessionId"), [opened.session.session_id.as_str()]);
    assert_eq!(each(&listed["sessions"], "deviceName"), ["Laptop"]);
    let own = Terminal::new(&database, &process, &opened.secret).json(&["session", "list"]);
    assert_eq!(each(&own["sessions"], "sessionId"), [opened.session.session_id.as_str()]);
    let end = ["session", "end", opened.session.session_id.as_str()];
    assert_eq!(operator.json(&end), json!({ "sessionId": opened.session.session_id }));
    operator.json(&end);
    assert!(operator.json(&["session", "list", "--account", "ada"])["sessions"].as_array().unwrap().is_empty());
    let all = operator.run(&["session", "list", "--account", "ada", "--include-ended"]);
    assert!(all.stdout.contains("SIGNED OUT") && all.stdout.contains("Laptop"), "{}", all.stdout);
    let unknown = operator.run(&["session", "end", "01890a5d-ac96-774b-bcce-b302099a8057", "--output", "json"]);
    assert_failed(&unknown, NOT_FOUND, "SESSION_NOT_FOUND");
    let removed = operator.json(&["account", "set-password", "ada", "--remove"]);
    assert_eq!(removed, json!({ "accountId": "ada", "hasPassword": false }));
    assert!(process.terminate().success());
}

#[test]
fn a_password_is_asked_for_twice() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada", "--username", "ada"]);
    let set = ["account", "set-password", "ada"];
    let type_in = |first, second| operator.typed(&set, &[("New password: ", first), ("The same again: ", second)]);
    let differ = type_in("correct horse", "battery staple");
    assert!(differ.code == 2 && differ.stdout.contains("none was set"), "{differ:?}");
    assert!(!differ.stdout.contains("correct horse") && !differ.stdout.contains("battery staple"));
    let sign_in = ["auth", "sign-in", "--username", "ada"];
    let ask = |password| operator.typed(&sign_in, &[("Password: ", password)]);
    assert_eq!(ask("correct horse").code, DENIED);
    let same = type_in("correct horse", "correct horse");
    assert!(same.code == 0 && same.stdout.contains("set"), "{same:?}");
    let signed_in = ask("correct horse");
    assert!(signed_in.code == 0 && signed_in.stdout.contains("eyJ"), "{signed_in:?}");
    assert!(process.terminate().success());
}

#[test]
fn an_operator_keeps_accounts() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    let made = operator.json(&["account", "put", "ada", "--username", "Ada", "--permission", "read"]);
    assert_eq!(made["account"]["permissions"], json!(["read"]));
    let etag = made["account"]["etag"].as_str().unwrap();
    let changed = operator.json(&["account", "put", "ada", "--email", "ada@example.com", "--etag", etag]);
    assert_eq!(
        (&changed["account"]["username"], &changed["account"]["email"]),
        (&json!("Ada"), &json!("ada@example.com"))
    );
    let stale = operator.run(&["account", "put", "ada", "--email", "", "--etag", etag, "--output", "json"]);
    assert_failed(&stale, REFUSED, "ETAG_MISMATCH");
    operator.json(&["account", "put", "ben"]);

    assert_eq!(operator.json(&["account", "get", "ada"]), changed);
    assert_eq!(each(&operator.json(&["account", "list"])["accounts"], "accountId"), ["ada", "ben"]);
    operator.json(&["account", "delete", "ada"]);
    let gone = operator.run(&["account", "get", "ada", "--output", "json"]);
    assert_failed(&gone, NOT_FOUND, "ACCOUNT_NOT_FOUND");
    let table = operator.run(&["account", "list"]);
    assert_eq!(table.code, 0);
    assert!(table.stdout.contains("ben") && !table.stdout.contains("ada"), "{}", table.stdout);
    assert!(process.terminate().success());
}

#[test]
fn somebody_signs_in_and_out() {
    let database = Backend::Sqlite.database();
    let process = Process::start_with(&database, |command| {
        command.env("TOKEN_AUTHORITY__SIGN_IN__OPEN", "true");
    });
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada", "--username", "Ada"]);
    let file = database.data_dir().join("password");
    std::fs::write(&file, "correct horse\n").unwrap();
    let file = file.to_str().unwrap();
    operator.json(&["account", "set-password", "ada", "--password-file", file]);
    process.seen.password("correct horse");

    // Without a credential of one's own.
    let nobody = Terminal::new(&database, &process, "");
    let sign_in = ["auth", "sign-in", "--username", "ada", "--password-file", file];
    let token = nobody.secret(&sign_in);
    let ada = Terminal::new(&database, &process, &token);
    assert_eq!(ada.json(&["auth", "status"])["account"]["accountId"], json!("ada"));
    let shown = nobody.json(&sign_in);
    process.seen.secret(shown["secret"].as_str().unwrap());
    assert!(shown["expireTime"].is_string());
    let piped = nobody.command(&["auth", "sign-in", "--username", "ada", "--password-file", "-"]);
    let table = ran_with_input(piped, "correct horse\n");
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    process.seen.secret(table.stdout.lines().find(|line| line.starts_with("eyJ")).unwrap());

    assert_eq!(ada.json(&["auth", "sign-out"]), json!({}));
    assert_failed(&ada.run(&["auth", "status", "--output", "json"]), DENIED, "CREDENTIAL_INVALID");
    let own = operator.run(&["auth", "sign-out", "--output", "json"]);
    assert_failed(&own, REFUSED, "ID_TOKEN_REQUIRED");

    let wrong = nobody.command(&["auth", "sign-in", "--username", "ada", "--password-file", "-", "--output", "json"]);
    assert_failed(&ran_with_input(wrong, "wrong horse"), DENIED, "BAD_CREDENTIALS");
    assert_failed(&nobody.run(&["auth", "sign-in", "--username", "ada", "--output", "json"]), USAGE, "USAGE");
    let twice = [&sign_in[..4], &["--password-file", "-", "--token-file", "-", "--output", "json"]].concat();
    assert_failed(&nobody.run(&twice), USAGE, "USAGE");
    assert!(process.terminate().success());
}

#[test]
fn an_operator_keeps_service_credentials() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    let create = ["service", "create", "--name", "gateway", "--role", "introspector", "--role", "auditor"];
    let secret = operator.secret(&create);
    assert!(secret.starts_with("svc_"));
    let gateway = Terminal::new(&database, &process, &secret);
    let me = gateway.json(&["auth", "status"]);
    assert_eq!((&me["label"], &me["serviceRoles"]), (&json!("gateway"), &json!(["introspector", "auditor"])));
    let id = me["credentialId"].as_str().unwrap();
    assert_failed(&operator.run(&[&create[..], &["--output", "json"]].concat()), REFUSED, "NAME_TAKEN");

    let rotated = operator.secret(&["service", "rotate", id, "--overlap", "1h"]);
    assert_eq!(gateway.json(&["auth", "status"]), me, "the old secret goes on working");
    let third = operator.secret(&["service", "rotate", id]);
    for ended in [&secret, &rotated] {
        let refused = Terminal::new(&database, &process, ended).run(&["auth", "status", "--output", "json"]);
        assert_failed(&refused, DENIED, "CREDENTIAL_INVALID");
    }
    assert_eq!(Terminal::new(&database, &process, &third).json(&["auth", "status"]), me);

    assert_eq!(each(&operator.json(&["service", "list"])["credentials"], "name"), ["gateway", "admin"]);
    assert!(operator.json(&["service", "revoke", id])["credential"]["revokeTime"].is_string());
    assert_eq!(each(&operator.json(&["service", "list"])["credentials"], "name"), ["admin"]);
    let all = operator.json(&["service", "list", "--include-ended"]);
    assert_eq!(each(&all["credentials"], "name"), ["gateway", "admin"]);
    assert!(process.terminate().success());
}

#[test]
fn a_holder_manages_its_own() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada", "--permission", "read"]);
    let secret = operator.secret(&["token", "create", "--account", "ada", "--label", "laptop", "--inherit"]);
    let holder = Terminal::new(&database, &process, &secret);
    let me = holder.json(&["auth", "status"]);
    assert_eq!((&me["account"]["accountId"], &me["scopes"]), (&json!("ada"), &json!(["read"])));

    let own = holder.secret(&["auth", "token", "create", "--name", "ci-pipeline", "--scope", "read"]);
    let listed = holder.json(&["auth", "token", "list"]);
    assert_eq!(each(&listed["tokens"], "label"), ["ci-pipeline", "laptop"]);
    let narrow = Terminal::new(&database, &process, &own);
    assert_failed(&narrow.run(&["auth", "token", "list", "--output", "json"]), DENIED, "NOT_PERMITTED");
    let id = listed["tokens"][0]["tokenId"].as_str().unwrap();
    assert_eq!(holder.json(&["auth", "token", "revoke", id])["token"]["state"], json!("revoked"));
    assert_failed(&narrow.run(&["auth", "status", "--output", "json"]), DENIED, "CREDENTIAL_INVALID");
    assert!(process.terminate().success());
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let (database, process) = start();
    let operator = operator(&database, &process);
    let missing = "01890a5d-ac96-774b-bcce-b302099a8057";
    let as_json = |arguments: &[&'static str]| [arguments, &["--output", "json"]].concat();
    let unknown = operator.run(&as_json(&["token", "show", missing]));
    assert_failed(&unknown, NOT_FOUND, "TOKEN_NOT_FOUND");
    let nameless = operator.run(&as_json(&["token", "create", "--account", "ada", "--label", ""]));
    assert_failed(&nameless, REFUSED, "INVALID_LABEL");
    let secret_of_a_list = operator.run(&["token", "list", "--account", "ada", "--output", "secret"]);
    assert_eq!((secret_of_a_list.code, secret_of_a_list.stdout.as_str()), (USAGE, ""));
    assert_eq!(operator.run(&["token", "lost"]).code, USAGE);

    let stranger = Terminal::new(&database, &process, "dt_stranger");
    assert_failed(&stranger.run(&as_json(&["account", "list"])), DENIED, "CREDENTIAL_INVALID");
    let without = operator.command(&as_json(&["account", "list"]));
    assert_failed(&without_credential(without), DENIED, "NO_CREDENTIAL");

    // The credential may come as an argument, which is warned of.
    let by_argument = without_credential(operator.command(&["auth", "status", "--token", &database.admin_token()]));
    assert_eq!(by_argument.code, 0);
    assert!(by_argument.stderr.starts_with("warning: --token"), "{}", by_argument.stderr);
    let file = database.data_dir().join("admin.token");
    let by_file = without_credential(operator.command(&["auth", "status", "--token-file", file.to_str().unwrap()]));
    assert_eq!((by_file.code, by_file.stderr.as_str()), (0, ""));

    let list = operator.command(&as_json(&["account", "list"]));
    assert!(process.terminate().success());
    assert_failed(&ran(list), UNAVAILABLE, "UNREACHABLE");
}

/// Runs a command whose environment has no credential.
fn without_credential(mut command: std::process::Command) -> Ran {
    command.env_remove("TOKEN_AUTHORITY_TOKEN");
    ran(command)
}

#[test]
fn a_plans_limit_is_told_to_people_and_programs() {
    let database = Backend::Sqlite.database();
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/utm.toml");
    let process = Process::start_with(&database, |command| {
        command.args(["--config", settings]);
    });
    let operator = operator(&database, &process);
    operator.json(&["account", "put", "ada", "--plan", "BASIC"]);
    let create = ["token", "create", "--account", "ada", "--label", "app", "--scope", "trading:read"];
    let refused = operator.run(&[&create[..], &["--output", "json"]].concat());
    assert_failed(&refused, REFUSED, "TOKEN_LIMIT_REACHED");
    let told: Value = serde_json::from_str(&refused.stderr).unwrap();
    let metadata = json!({ "code": "CONNECTED_APP_LIMIT_REACHED", "limit": "0", "plan": "BASIC" });
    assert_eq!(told["error"]["metadata"], metadata);
    let refused = operator.run(&create);
    assert!(refused.stderr.contains("Maximum 0 connected apps allowed on your plan."), "{}", refused.stderr);
    assert!(process.terminate().success());
}
