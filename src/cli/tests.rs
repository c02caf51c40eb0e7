//! Which arguments are taken, and what do they ask for?

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["token-authority"], arguments].concat())
}

fn refusal(arguments: &[&str]) -> ErrorKind {
    match parse(arguments) {
        Ok(cli) => panic!("{arguments:?} was taken as {cli:?}"),
        Err(error) => error.kind(),
    }
}

#[test]
fn the_tree_of_commands_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_documented_commands_are_taken() {
    for line in [
        "token create --account acme --label ci --scope a --scope b --ttl 30d --cidr 10.0.0.0/8",
        "token create --account acme --label ci --inherit --request-id 7",
        "token create --account acme --label ci --expire-time 2030-01-31T12:00:00Z",
        "token list --account acme --state active --state revoked --limit 5",
        "token show 01890a5d-ac96-774b-bcce-b302099a8057",
        "token revoke 01890a5d-ac96-774b-bcce-b302099a8057 --reason compromised",
        "token revoke --secret-file -",
        "token revoke --all --account acme --include-sessions",
        "token inspect",
        "token inspect --secret-file leaked.txt",
        "account put acme --plan PRO --suspended true --limit-permissions false",
        "account get acme",
        "account list --limit 10",
        "account delete acme",
        "account suspend acme",
        "account restore acme",
        "account set-password acme",
        "account set-password acme --password-file -",
        "account set-password acme --remove",
        "session list --account acme --include-ended --limit 5",
        "session end 01890a5d-ac96-774b-bcce-b302099a8057",
        "auth status",
        "auth sign-in --username ada --password-file -",
        "auth sign-out",
        "auth token create --name ci-pipeline",
        "auth token list --state expired",
        "auth token revoke 01890a5d-ac96-774b-bcce-b302099a8057",
        "service create --name gateway --role introspector --role auditor --ttl 90d",
        "service list --include-ended",
        "service rotate 01890a5d-ac96-774b-bcce-b302099a8057 --overlap 1h",
        "service revoke 01890a5d-ac96-774b-bcce-b302099a8057",
        "healthcheck --url http://127.0.0.1:50051 --timeout 1s",
        "man share/man/man1",
        "serve --config a.toml --data-dir d --grpc-listen 127.0.0.1:0 --http-listen [::1]:0",
        "migrate --database-url postgres://localhost/tokens",
        "settings show --config a.toml",
        "admin reset --data-dir d",
        "admin backup --to copy.db",
        "admin new-epoch --config a.toml",
        "doctor --config a.toml --expires-within 12h --strict --output json",
        "keys list --config a.toml --output json",
        "keys add --id 2027-01",
        "keys promote 2027-01 --data-dir d",
        "keys rotate-signing --data-dir d",
        "completions bash",
        "--token dt_x auth token list",
        "auth token list --token dt_x --url http://localhost:1 --output json --timeout 3s",
        "--token-file credential.txt token list --account acme",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        if let Err(error) = parse(&arguments) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn contradictions_are_refused() {
    use ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, UnknownArgument, ValueValidation};
    for (line, kind) in [
        ("token create --label ci", MissingRequiredArgument),
        ("token create --account acme", MissingRequiredArgument),
        ("token create --account a --label l --ttl 1d --expire-time 2030-01-31T12:00:00Z", ArgumentConflict),
        ("token create --account a --label l --inherit --scope s", ArgumentConflict),
        ("token create --account a --label l --ttl 30", ValueValidation),
        ("token create --account a --label l --expire-time 2030-01-31", ValueValidation),
        ("token revoke", MissingRequiredArgument),
        ("token revoke ID --secret-file -", ArgumentConflict),
        ("token revoke ID --all --account acme", ArgumentConflict),
        ("token revoke --all", MissingRequiredArgument),
        ("token revoke --account acme", MissingRequiredArgument),
        ("token revoke ID --account acme", ArgumentConflict),
        ("token revoke ID --include-sessions", ArgumentConflict),
        ("token list --account a --limit 0", ValueValidation),
        ("token list --account a --state unheard-of", InvalidValue),
        ("account set-password acme --remove --password-file -", ArgumentConflict),
        ("account set-password acme --password hunter2", UnknownArgument),
        ("session end", MissingRequiredArgument),
        ("service create --name gateway", MissingRequiredArgument),
        ("service create --name gateway --role root", InvalidValue),
        ("auth token create", MissingRequiredArgument),
        ("auth sign-in", MissingRequiredArgument),
        ("serve --grpc-listen here", ValueValidation),
        ("keys promote", MissingRequiredArgument),
        ("keys add --id Not:a-name", ValueValidation),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        assert_eq!(refusal(&arguments), kind, "{line}");
    }
}

#[test]
fn help_and_version_are_no_failure_and_wrong_usage_is() {
    assert_eq!(run(["token-authority", "--version"]), Exit::Done);
    assert_eq!(run(["token-authority", "frobnicate"]), Exit::Usage);
    assert_eq!(run(["token-authority"]), Exit::Usage);
}

#[test]
fn a_secret_alone_comes_from_commands_that_make_one() {
    let mints = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let cli = parse(&arguments).unwrap_or_else(|error| panic!("{line}: {error}"));
        cli.command.mints()
    };
    assert!(mints("token create --account a --label l"));
    assert!(mints("auth token create --name n"));
    assert!(mints("auth sign-in --username ada"));
    assert!(!mints("auth sign-out"));
    assert!(mints("service create --name n --role issuer"));
    assert!(mints("service rotate ID"));
    assert!(!mints("token list --account a"));
    assert!(!mints("service revoke ID"));
    assert_eq!(run(["token-authority", "auth", "status", "--output", "secret"]), Exit::Usage);
}

#[test]
fn standard_input_cannot_hold_two_secrets() {
    let line = ["token-authority", "--token-file", "-", "token", "revoke"];
    let whole = [&line[..], &["--secret-file", "-"]].concat();
    assert_eq!(run(whole), Exit::Usage);
    let line = ["token-authority", "--token-file", "-", "account", "set-password", "acme", "--password-file", "-"];
    assert_eq!(run(line), Exit::Usage);
}

#[test]
fn half_a_client_certificate_is_wrong_usage() {
    for half in ["--certificate-file", "--private-key-file"] {
        let line = ["token-authority", "--url", "https://localhost:1", half, "client.pem", "auth", "status"];
        assert_eq!(run(line), Exit::Usage);
    }
}

#[test]
fn neither_debug_nor_refusals_show_a_secret() {
    let cli = parse(&["--token", "dt_very secret\n", "auth", "status"]);
    let shown = format!("{cli:?}");
    assert!(shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("very secret"), "{shown}");
}

#[test]
fn exit_codes_are_in_the_help() {
    let help = Cli::command().render_long_help().to_string();
    for exit in [Exit::Done, Exit::Failure, Exit::Usage, Exit::Denied, Exit::NotFound, Exit::Refused, Exit::Unavailable]
    {
        assert!(help.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(parse(&["completions", shell]).is_ok(), "{shell}");
    }
}
