//! What the sources give, and what is refused with which words.

use std::ffi::OsString;

use super::*;

fn merged(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Settings, LoadError> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let settings = source::merge(Some(file), environment, flags)?;
    settings.check()?;
    Ok(settings)
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    merged(file, environment, &Flags::default()).map(|_| ()).expect_err("it is refused").to_string()
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "[grpc]\nlisten = '127.0.0.1:1'\n[http]\nlisten = '127.0.0.1:2'\n[log]\nfilter = 'warn'";
    let environment = [
        ("TOKEN_AUTHORITY__GRPC__LISTEN", "127.0.0.1:3"),
        ("TOKEN_AUTHORITY__HTTP__LISTEN", "127.0.0.1:4"),
        ("OTHER", "x"),
    ];
    let flags = Flags { grpc_listen: Some("127.0.0.1:5".parse().expect("an address")), ..Flags::default() };
    let settings = merged(file, &environment, &flags).expect("valid");
    assert_eq!(settings.grpc.listen.port(), 5);
    assert_eq!(settings.http.listen.port(), 4);
    assert_eq!(settings.log.filter, "warn");
    assert_eq!(settings.credentials.bcrypt_cost, 10);
}

#[test]
fn every_kind_of_value_comes_from_the_environment() {
    let settings = merged(
        "",
        &[
            ("TOKEN_AUTHORITY__CREDENTIALS__BCRYPT_COST", "4"),
            ("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "true"),
            ("TOKEN_AUTHORITY__TOKENS__DEFAULT_LIFETIME", "30days"),
            ("TOKEN_AUTHORITY__POLICY__VERSION", "1"),
            ("TOKEN_AUTHORITY__POLICY__PLANS", "[{ name = 'PRO', max_tokens = 10 }]"),
            ("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "0.25"),
            ("TOKEN_AUTHORITY__DATA_DIR", "/var/lib/x"),
        ],
        &Flags::default(),
    )
    .expect("valid");
    assert_eq!(settings.telemetry.sample_ratio.to_bits(), 0.25_f64.to_bits());
    assert_eq!(settings.credentials.bcrypt_cost, 4);
    assert!(settings.database.migrate_on_start);
    assert_eq!(settings.policy.plans[0].max_tokens, Some(10));
    assert_eq!(settings.data_dir, Path::new("/var/lib/x"));
}

#[test]
fn an_unknown_key_is_named() {
    assert!(refusal("[grpc]\nlisen = 'x'", &[]).contains("lisen"));
    assert!(refusal("", &[("TOKEN_AUTHORITY__GRPC__LISEN", "x")]).contains("lisen"));
    assert!(refusal("nonsense = 1", &[]).contains("nonsense"));
    assert!(refusal("[[policy.plans]]\nname = 'PRO'\nmax = 1", &[]).contains("policy.plans[0]"));
}

#[test]
fn what_is_not_safe_is_refused() {
    let beyond = refusal("[grpc]\nlisten = '0.0.0.0:50051'", &[]);
    assert!(beyond.contains("grpc.allow_plaintext"), "{beyond}");
    assert!(merged("[grpc]\nlisten = '0.0.0.0:50051'\nallow_plaintext = true", &[], &Flags::default()).is_ok());
    assert!(refusal("[http]\nlisten = '[::]:80'", &[]).contains("http.allow_plaintext"));
    assert!(refusal("[credentials]\nbcrypt_cost = 3", &[]).contains("bcrypt_cost"));
    assert!(refusal("[database]\nlock_timeout = '0s'", &[]).contains("lock_timeout"));
    assert!(refusal("[database]\nurl = 'mysql://x'", &[]).contains("database.url"));
    assert!(refusal("[database]\nurl = 'sqlite::memory:'", &[]).contains("database.url"));
    assert!(refusal("[tokens]\ndefault_lifetime = 'never'", &[]).contains("max_lifetime"));
    assert!(refusal("[tokens]\ndefault_lifetime = 'x'", &[]).contains("tokens.default_lifetime"));
    assert!(refusal("[sessions]\ndesktop_max_lifetime = '1day'", &[]).contains("sessions.desktop_lifetime"));
    assert!(refusal("[sign_in]\nmax_failures_per_address = 0", &[]).contains("sign_in.max_failures_per_address"));
    assert!(refusal("[credentials]\ntoken_prefix = 'svc'", &[]).contains("differ"));
}

#[test]
fn tls_takes_the_place_of_what_else_would_protect() {
    let pair = "certificate_file = 'tls.crt'\nprivate_key_file = 'tls.key'";
    let settings = merged(&format!("[grpc]\nlisten = '0.0.0.0:50051'\n[grpc.tls]\n{pair}"), &[], &Flags::default());
    assert_eq!(settings.expect("valid").grpc.tls.certificate_file, Some(PathBuf::from("tls.crt")));
    let variables = [
        ("TOKEN_AUTHORITY__HTTP__TLS__CERTIFICATE_FILE", "/tls.crt"),
        ("TOKEN_AUTHORITY__HTTP__TLS__PRIVATE_KEY_FILE", "/tls.key"),
    ];
    assert!(merged("[http]\nlisten = '[::]:80'", &variables, &Flags::default()).is_ok());

    for (text, key) in [
        ("[grpc.tls]\ncertificate_file = 'tls.crt'", "grpc.tls.private_key_file"),
        ("[http.tls]\nprivate_key_file = 'tls.key'", "http.tls.certificate_file"),
        ("[grpc.tls]\nclient_ca_file = 'ca.crt'", "grpc.tls.certificate_file"),
        (&format!("[grpc.tls]\nrequire_client_certificate = true\n{pair}"), "grpc.tls.client_ca_file"),
        ("[grpc]\nmax_connection_age_grace = '1s'", "grpc.max_connection_age_grace"),
    ] {
        let refused = refusal(text, &[]);
        assert!(refused.starts_with(key), "{refused}");
    }
}

#[test]
fn names_in_certificates_have_known_roles() {
    let tls = "[grpc.tls]\ncertificate_file = 'a'\nprivate_key_file = 'b'\nclient_ca_file = 'c'";
    let roles = |san: &str, roles: &str| format!("{tls}\n[[grpc.certificate_roles]]\nsan = '{san}'\nroles = {roles}");
    assert!(merged(&roles("spiffe://x/y", "['issuer', 'login']"), &[], &Flags::default()).is_ok());
    for (san, names, problem) in [
        ("*.example.org", "['issuer']", "without wildcards"),
        ("example.org", "['issuers']", "there is no role"),
        ("example.org", "[]", "no roles"),
    ] {
        let refused = refusal(&roles(san, names), &[]);
        assert!(refused.contains("grpc.certificate_roles") && refused.contains(problem), "{refused}");
    }
    let alone = "[[grpc.certificate_roles]]\nsan = 'example.org'\nroles = ['issuer']";
    assert!(refusal(alone, &[]).contains("grpc.tls.client_ca_file"));
}

#[test]
fn proxies_are_networks_and_what_kubernetes_is_told_is_well_formed() {
    let good = "[http]\ntrusted_proxies = ['10.0.0.0/8', '::1']\n[kubernetes]\nrequired_scopes = ['a', 'b']";
    let settings = merged(good, &[], &Flags::default()).expect("valid");
    let proxies = settings.http_trusted_proxies().expect("valid");
    assert!(proxies.trust("::ffff:10.1.1.1".parse().expect("an address")));
    let variable = [("TOKEN_AUTHORITY__HTTP__TRUSTED_PROXIES", "['10.0.0.0/8']")];
    assert_eq!(merged("", &variable, &Flags::default()).expect("valid").http.trusted_proxies, ["10.0.0.0/8"]);
    for (text, key) in [
        ("[http]\ntrusted_proxies = ['10.0.0.1/8']", "http.trusted_proxies"),
        ("[http]\ntrusted_proxies = ['']", "http.trusted_proxies"),
        ("[kubernetes]\nrequired_scopes = ['\"']", "kubernetes.required_scopes"),
        ("[kubernetes]\nname_prefix = 'system:'", "kubernetes.name_prefix"),
        ("[[http.certificate_roles]]\nsan = 'x'\nroles = ['issuer']", "http.certificate_roles"),
    ] {
        let refused = refusal(text, &[]);
        assert!(refused.starts_with(key), "{refused}");
    }
}

#[test]
fn proxies_of_the_grpc_port_are_networks() {
    let settings = merged("[grpc]\ntrusted_proxies = ['10.0.0.0/8', '::1']", &[], &Flags::default()).expect("valid");
    let proxies = settings.grpc_trusted_proxies().expect("valid");
    assert!(proxies.trust("::ffff:10.1.1.1".parse().expect("an address")));
    assert!(!proxies.trust("192.0.2.1".parse().expect("an address")));
    let variable = [("TOKEN_AUTHORITY__GRPC__TRUSTED_PROXIES", "['10.0.0.0/8']")];
    assert_eq!(merged("", &variable, &Flags::default()).expect("valid").grpc.trusted_proxies, ["10.0.0.0/8"]);
    for wrong in ["10.0.0.1/8", "", "proxy.example.com", "10.0.0.0/33"] {
        let refused = refusal(&format!("[grpc]\ntrusted_proxies = ['{wrong}']"), &[]);
        assert!(refused.starts_with("grpc.trusted_proxies"), "{refused}");
    }
}

#[test]
fn origins_are_as_browsers_send_them() {
    let with = |origin: &str| format!("[grpc.web]\nallowed_origins = ['{origin}']");
    for origin in ["https://app.example.com", "http://127.0.0.1:8000", "http://[::1]:8000", "https://localhost"] {
        let settings = merged(&with(origin), &[], &Flags::default()).expect("valid");
        assert_eq!(settings.web_origins().expect("valid"), [origin]);
    }
    for wrong in [
        "*",
        "null",
        "",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/x",
        "https://App.example.com",
        "https://app.example.com:443",
        "https://ada:x@app.example.com",
        "ftp://app.example.com",
        "https://*.example.com",
    ] {
        let refused = refusal(&with(wrong), &[]);
        assert!(refused.starts_with("grpc.web.allowed_origins"), "{refused}");
    }
}

#[test]
fn secrets_are_redacted() {
    for (url, shown) in [
        ("postgres://user:pa:s@s@host:5432/db?sslpassword=x", "postgres://user:…@host:5432/db?…"),
        ("postgres://user@host/db", "postgres://user@host/db"),
        ("postgres://user:pa?ss@host/db?sslmode=require", "postgres://user:…@host/db?…"),
        ("postgres:///db?host=/run&password=x", "postgres:///db?…"),
    ] {
        let settings = merged(&format!("[database]\nurl = '{url}'"), &[], &Flags::default()).expect("valid");
        let text = settings.to_toml().expect("it can be written");
        assert!(text.contains(shown), "{text}");
        assert!(format!("{settings:?}").contains(shown));
    }
}

#[test]
fn a_malformed_file_is_refused_without_showing_it() {
    let refused = refusal("[database]\nurl = \"postgres://user:hunter2@host/db\n", &[]);
    assert!(refused.contains("line 2"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text = Settings::default().to_toml().expect("it can be written");
    let again = merged(&text, &[], &Flags::default()).expect("valid");
    assert_eq!(again.to_toml().expect("it can be written"), text);
}

#[test]
fn every_setting_is_in_the_readme() {
    fn keys(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(table) => keys(&key, table, found),
                _ => found.push(key),
            }
        }
    }
    let mut settings = Settings::default();
    settings.database.url = Some(DatabaseUrl::new("sqlite:x"));
    settings.keys.master_key_file = Some(PathBuf::new());
    settings.admin.token_file = Some(PathBuf::new());
    settings.self_service.manage_scope = Some(String::new());
    for tls in [&mut settings.grpc.tls, &mut settings.http.tls] {
        tls.certificate_file = Some(PathBuf::new());
        tls.private_key_file = Some(PathBuf::new());
        tls.client_ca_file = Some(PathBuf::new());
    }
    settings.telemetry.otlp_endpoint = Some(String::new());
    let role = CertificateRole { san: String::new(), roles: Vec::new() };
    settings.grpc.certificate_roles = vec![role.clone()];
    settings.http.certificate_roles = vec![role];
    let mut found = Vec::new();
    keys("", &settings.to_toml().expect("it can be written").parse().expect("it is TOML"), &mut found);
    let readme = include_str!("../../README.md");
    for key in found.iter().filter(|key| !key.starts_with("policy.")) {
        assert!(readme.contains(&format!("`{key}`")), "{key} is not in the README");
    }
}

#[test]
fn a_collector_is_a_url_without_a_credential() {
    for good in ["http://127.0.0.1:4317", "https://collector.example", ""] {
        let variables =
            [("TOKEN_AUTHORITY__TELEMETRY__OTLP_ENDPOINT", good), ("TOKEN_AUTHORITY__TELEMETRY__SAMPLE_RATIO", "1")];
        let settings = merged("", &variables, &Flags::default()).expect("valid");
        assert_eq!(settings.telemetry.endpoint().is_some(), !good.is_empty());
    }
    for bad in ["127.0.0.1:4317", "grpc://host", "/v1/traces", "http://user:hunter2@host", "http://a b"] {
        let refused = refusal(&format!("[telemetry]\notlp_endpoint = '{bad}'"), &[]);
        assert!(refused.contains("telemetry.otlp_endpoint"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    for ratio in ["-0.1", "1.5", "nan"] {
        let refused = refusal(&format!("[telemetry]\nsample_ratio = {ratio}"), &[]);
        assert!(refused.contains("telemetry.sample_ratio"), "{refused}");
    }
}

#[test]
fn legacy_forms_are_told_apart() {
    let form = |prefix: &str, hint_length: u32| format!("{{ prefix = '{prefix}', hint_length = {hint_length} }}");
    let legacy = |forms: &[String]| format!("[credentials]\nlegacy = [{}]", forms.join(", "));
    let settings = merged(&legacy(&[form("utm_", 12), form("abc-", 20)]), &[], &Flags::default()).expect("valid");
    assert_eq!(settings.credentials.legacy.len(), 2);
    let tables = "[[credentials.legacy]]\nprefix = 'utm_'\nhint_length = 12";
    assert_eq!(merged(tables, &[], &Flags::default()).expect("valid").credentials.legacy.len(), 1);
    let variable = [("TOKEN_AUTHORITY__CREDENTIALS__LEGACY", "[{ prefix = 'utm_', hint_length = 12 }]")];
    let settings = merged("", &variable, &Flags::default()).expect("valid");
    assert_eq!(settings.credentials.legacy[0].prefix, "utm_");
    assert!(settings.to_toml().expect("TOML").contains("[[credentials.legacy]]"));

    for (forms, problem) in [
        (vec![form("dt_", 12)], "cannot be told from"),
        (vec![form("svc_old", 12)], "cannot be told from"),
        (vec![form("utm_", 12), form("utm_live_", 20)], "cannot be told from"),
        (vec![form("utm_", 4)], "hint_length"),
        (vec![form("", 4)], "prefix"),
    ] {
        let refusal = refusal(&legacy(&forms), &[]);
        assert!(refusal.contains("credentials.legacy") && refusal.contains(problem), "{refusal}");
    }
    assert!(refusal("[[credentials.legacy]]\nprefix = 'utm_'", &[]).contains("hint_length"));
}
