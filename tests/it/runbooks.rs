//! Every block of commands in docs/runbooks.md does what the page says, as it is
//! written there.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use migrations::{Migrator, MigratorTrait as _};
use token_authority::proto::v1::ServiceRole;
use tonic::Code;

use crate::support::{
    Backend, Database, Process, assert_refused,
    calls::service_request,
    pki::{Authority, Files},
    postgres::Postgres,
    runbook::{Host, Runbook},
    sign_in::{PASSWORD, by_account, by_password},
    wait::until,
};

/// Whether this file runs a section's blocks; a [`Runbook`] sees to it that it runs all.
#[test]
fn every_section_with_commands_is_run() {
    let source = include_str!("runbooks.rs");
    let sections = Runbook::sections();
    assert!(sections.len() > 15, "{sections:?}");
    for section in sections {
        assert!(source.contains(&format!("Runbook::of(\"{section}\")")), "nothing runs what is under {section:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_looked_over() {
    let mut host = Host::start(Backend::Sqlite.database());
    let mut runbook = Runbook::of("Look a host over");
    let told = runbook.next(&mut host);
    assert!(told.lines().all(|line| line.starts_with("ok ")), "{told}");
    let told: serde_json::Value = serde_json::from_str(&runbook.next(&mut host)).unwrap();
    assert_eq!(told["level"], "ok");
    host.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_database_is_backed_up_and_restored() {
    let mut host = Host::start(Backend::Sqlite.database());
    let mut runbook = Runbook::of("Back up and restore the embedded database");
    let admin = host.admin().await;
    let kept = admin.issue("ada", "kept", &["read"]).await;
    let revoked = admin.issue("ada", "revoked since", &[]).await;

    runbook.next_twice(&mut host);
    assert_eq!(fs::metadata(host.backups().join("tokens.db")).unwrap().permissions().mode() & 0o777, 0o600);
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let lost = admin.issue("ada", "lost", &[]).await;
    let former = epoch(&host.database).await;
    // The disaster takes the database and the key.
    assert_eq!(host.ask("stop"), 0);
    fs::write(host.database.data_dir().join("token-authority.db"), "what is left of it").unwrap();
    fs::remove_file(host.database.ring_file()).unwrap();

    let told = runbook.next(&mut host);
    assert!(told.ends_with("serving\n"), "{told}");
    assert_ne!(epoch(&host.database).await, former);
    let admin = host.admin().await;
    assert!(admin.introspect(&kept.secret).await.active);
    assert!(!admin.introspect(&lost.secret).await.active);
    assert!(admin.introspect(&revoked.secret).await.active, "the page says so");
    host.end();
}

async fn epoch(database: &Database) -> String {
    let column = if database.url().is_some() { "epoch" } else { "hex(epoch)" };
    database.scalar(&format!("SELECT {column} FROM head")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_backed_up_and_restored() {
    let mut host = Host::start(Backend::Postgres.database());
    let mut runbook = Runbook::of("Back up and restore PostgreSQL");
    let admin = host.admin().await;
    let kept = admin.issue("ada", "kept", &["read"]).await;
    let revoked = admin.issue("ada", "revoked since", &[]).await;
    // One that nobody stops.
    let overlooked = Process::start(&host.database.replica());
    let at_overlooked = overlooked.admin().await;

    runbook.next_twice(&mut host);
    assert_eq!(fs::metadata(host.backups().join("tokens.dump")).unwrap().permissions().mode() & 0o777, 0o600);
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let lost = admin.issue("ada", "lost", &[]).await;
    assert!(at_overlooked.introspect(&lost.secret).await.active);
    let former = epoch(&host.database).await;

    let told = runbook.next(&mut host);
    assert!(told.ends_with("serving\n"), "{told}");
    assert_ne!(epoch(&host.database).await, former);
    for admin in [&host.admin().await, &at_overlooked] {
        assert!(admin.introspect(&kept.secret).await.active);
        assert!(!admin.introspect(&lost.secret).await.active);
        assert!(admin.introspect(&revoked.secret).await.active, "the page says so");
    }
    assert!(overlooked.terminate().success());
    host.database.assert_whole().await;
    host.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over() {
    let cluster = Arc::new(Postgres::start());
    let standby = cluster.standby();
    let mut host = Host::start(Database::on(&cluster));
    let mut runbook = Runbook::of("Fail over to a standby");
    let issued = host.admin().await.issue("ada", "laptop", &[]).await;
    let revoked = host.admin().await.issue("ada", "revoked", &[]).await;
    host.admin().await.revoke(&revoked.token.token_id).await.unwrap();
    until("the standby has it all", async || cluster.is_replicated()).await;
    let former = epoch(&host.database).await;

    cluster.stop();
    let url = standby.url(host.database.url().unwrap());
    host.goes_to(&url, Some("postgres"));
    let told = runbook.next(&mut host);
    assert!(told.contains(" t\n"), "it says that it was promoted: {told}");
    host.goes_to(&url, None);
    host.set("TOKEN_AUTHORITY__DATABASE__URL", &url);
    let told = runbook.next(&mut host);
    assert!(told.contains("a primary") && told.ends_with("serving\n"), "{told}");
    let admin = host.admin().await;
    assert!(admin.introspect(&issued.secret).await.active);
    assert!(!admin.introspect(&revoked.secret).await.active);
    assert_ne!(standby.sql(&url, "SELECT epoch FROM head"), former);
    // Its own database is the stopped cluster's: that cannot be looked at.
    assert_eq!(host.ask("stop"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_is_replaced_beside_servers_that_run() {
    let mut host = Host::start(Backend::Postgres.database());
    let mut runbook = Runbook::of("Replace the master key");
    let other = host.database.replica();
    let replica = Process::start(&other);
    let (admin, at_replica) = (host.admin().await, replica.admin().await);
    let issued = admin.issue("ada", "laptop", &[]).await;
    assert!(at_replica.introspect(&issued.secret).await.active);

    runbook.next(&mut host);
    other.put_ring(&host.database.ring());
    let told = runbook.next(&mut host);
    host.database.look_for_keys(told.as_bytes());
    assert!(told.contains("next") && told.contains("k1"), "{told}");
    until("both make new tokens", async || {
        let mut made = 0;
        for admin in [&admin, &at_replica] {
            made += usize::from(admin.try_issue(crate::support::issue_request("ada", "new", &[])).await.is_ok());
        }
        made == 2
    })
    .await;
    runbook.next(&mut host);
    assert!(!host.database.ring().contains("k1:"));
    other.put_ring(&host.database.ring());
    for admin in [&admin, &at_replica] {
        assert!(admin.introspect(&issued.secret).await.active, "no token is lost");
    }
    assert!(replica.terminate().success());
    host.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_key_of_an_embedded_database_is_replaced() {
    let mut host = Host::start(Backend::Sqlite.database());
    let mut runbook = Runbook::of("Replace the master key of an embedded database");
    let issued = host.admin().await.issue("ada", "laptop", &[]).await;
    runbook.next(&mut host);
    assert!(host.admin().await.introspect(&issued.secret).await.active);
    assert_eq!(host.database.scalar("SELECT key_id FROM master_keys WHERE is_current").await, "next");
    host.end();
}

on_both_databases!(
    a_lost_master_key_is_replaced,
    the_key_that_signs_is_replaced,
    a_lost_administrator_is_replaced,
    a_leak_is_ended,
    room_is_looked_for,
    what_alerts_ask_for_is_there,
);

async fn a_lost_master_key_is_replaced(backend: Backend) {
    let mut host = Host::start(backend.database());
    let mut runbook = Runbook::of("Replace a master key that is lost");
    let issued = host.admin().await.issue("ada", "laptop", &[]).await;
    assert_eq!(host.ask("stop"), 0);
    fs::remove_file(host.database.ring_file()).unwrap();
    assert_eq!(host.ask("start"), 1, "it does not start without its key");
    runbook.next(&mut host);
    assert!(host.admin().await.introspect(&issued.secret).await.active, "no token is lost");
    host.end();
}

async fn the_key_that_signs_is_replaced(backend: Backend) {
    let mut host = Host::start(backend.database());
    let mut runbook = Runbook::of("Replace the key that signs");
    let admin = host.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let session = admin.sign_in("ada").await;
    let keys = "signing_keys WHERE retire_time IS NULL";
    let former = host.database.scalar(&format!("SELECT kid FROM {keys}")).await;
    runbook.next(&mut host);
    assert_ne!(host.database.scalar(&format!("SELECT kid FROM {keys}")).await, former);
    let admin = host.admin().await;
    assert!(admin.introspect(&session).await.active, "what was signed before is good");
    let new = admin.sign_in("ada").await;
    assert!(admin.introspect(&new).await.active);
    host.end();
}

async fn a_lost_administrator_is_replaced(backend: Backend) {
    let mut host = Host::start(backend.database());
    let mut runbook = Runbook::of("Replace a lost administrator");
    let lost = host.database.admin_token();
    fs::remove_file(host.database.data_dir().join("admin.token")).unwrap();
    let told = runbook.next(&mut host);
    assert!(told.contains("admin"), "{told}");
    assert_ne!(host.database.admin_token(), lost);
    host.server().seen.secret(&lost);
    assert_refused(host.server().actor(&lost).await.who_am_i().await, Code::Unauthenticated, "CREDENTIAL_INVALID");
    host.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced() {
    let authority = Authority::new("servers");
    let database = Backend::Sqlite.database();
    let (tls, new) = (
        Files::new(database.data_dir(), &authority.server(), None),
        Files::new(database.data_dir(), &authority.server(), None),
    );
    fs::write(tls.0.join("ca.crt"), authority.pem()).unwrap();
    let path = |name: &str| tls.0.join(name).to_str().unwrap().to_owned();
    let mut host = Host::start_with(
        database,
        [
            ("TOKEN_AUTHORITY__GRPC__TLS__CERTIFICATE_FILE", path("tls.crt")),
            ("TOKEN_AUTHORITY__GRPC__TLS__PRIVATE_KEY_FILE", path("tls.key")),
            ("TLS", tls.0.to_str().unwrap().to_owned()),
            ("NEW", new.0.to_str().unwrap().to_owned()),
        ],
    );
    let grpc = host.server().grpc;
    host.set("TOKEN_AUTHORITY_URL", &format!("https://{grpc}"));
    let mut runbook = Runbook::of("Replace a certificate");
    let former = authority.shown(grpc, None).await;
    let told = runbook.next(&mut host);
    assert!(told.contains("a certificate for localhost, 127.0.0.1"), "{told}");
    let told = runbook.next(&mut host);
    assert!(told.ends_with("serving\n"), "{told}");
    until("the new one is shown", async || authority.shown(grpc, None).await != former).await;
    assert!(!host.server().logged("the TLS files were replaced, and are used from now on").is_empty());
    host.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_upgraded_and_the_version_before_goes_on_with_it() {
    let database = Backend::Postgres.database();
    let mut host = Host::start_with(database, [("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "true".to_owned())]);
    host.set("TOKEN_AUTHORITY__DATABASE__MIGRATE_ON_START", "false");
    let mut runbook = Runbook::of("Upgrade and go back");
    let issued = host.admin().await.issue("ada", "laptop", &[]).await;
    assert_eq!(host.ask("stop"), 0);
    // As the version before has left it.
    let connection = host.database.connect().await;
    Migrator::down(&connection, Some(1)).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(host.ask("start"), 1, "it is refused");

    let told = runbook.next(&mut host);
    assert!(told.contains("1 migration(s) applied") && told.ends_with("serving\n"), "{told}");
    assert!(host.admin().await.introspect(&issued.secret).await.active);
    // As a newer version would have left it.
    host.database.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29991231_000001_future', 0)");
    let told = runbook.next(&mut host);
    assert!(told.contains("a newer version applied 1 migration(s)") && told.ends_with("serving\n"), "{told}");
    assert!(host.admin().await.introspect(&issued.secret).await.active);
    host.end();
}

async fn a_leak_is_ended(backend: Backend) {
    let mut host = Host::start(backend.database());
    host.set("ACCOUNT", "ada");
    let mut runbook = Runbook::of("End a credential that leaked");
    let admin = host.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let leaked = admin.issue("ada", "leaked", &[]).await;
    let other = admin.issue("ada", "issued with it", &[]).await;
    let session = admin.sign_in_desktop(by_account("ada")).await.unwrap();
    let service = admin.create_service(service_request("gateway", &[ServiceRole::Issuer])).await.unwrap();
    host.server().actor(&service.secret).await.issue("grace", "by the service", &[]).await;
    fs::write(host.work().join("leaked.txt"), format!("{}\n", leaked.secret)).unwrap();

    let told = runbook.next(&mut host);
    assert!(told.contains("valid") && told.contains(&leaked.token.token_id) && told.contains("revoked"), "{told}");
    assert!(!admin.introspect(&leaked.secret).await.active);
    assert!(admin.introspect(&other.secret).await.active);
    let told = runbook.next(&mut host);
    assert!(told.contains("token.revoke"), "{told}");
    for ended in [&other.secret, &session.secret] {
        assert!(!admin.introspect(ended).await.active);
    }
    host.set("ACTOR", &format!("service:{}", service.credential.credential_id));
    let told = runbook.next(&mut host);
    assert!(told.contains("token.issue") && told.contains("grace"), "{told}");
    let gateway = fs::read_to_string(host.work().join("gateway.token")).unwrap();
    host.server().seen.secret(gateway.trim_end());
    let gateway = host.server().actor(gateway.trim_end()).await;
    assert_eq!(gateway.who_am_i().await.unwrap().service_roles, [i32::from(ServiceRole::Introspector)]);

    let mut runbook = Runbook::of("After the database leaked");
    admin.sign_in_desktop(by_password("ada", PASSWORD)).await.unwrap();
    runbook.next(&mut host);
    let refused = admin.sign_in_desktop(by_password("ada", PASSWORD)).await;
    assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");
    host.end();
}

async fn room_is_looked_for(backend: Backend) {
    let mut host = Host::start(backend.database());
    let mut runbook = Runbook::of("Make room on a full disk");
    let told = runbook.next(&mut host);
    assert_eq!(told.contains("MiB are free"), backend == Backend::Sqlite, "{told}");
    host.end();
}

async fn what_alerts_ask_for_is_there(backend: Backend) {
    let mut host = Host::start(backend.database());
    host.set("ACCOUNT", "ada");
    let admin = host.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let mut runbook = Runbook::of("TokenAuthoritySignInsFail");
    runbook.next(&mut host);
    assert!(!admin.introspect(&issued.secret).await.active);
    let refused = admin.sign_in_desktop(by_password("ada", PASSWORD)).await;
    assert_refused(refused, Code::Unauthenticated, "BAD_CREDENTIALS");

    let ended = admin.create_service(service_request("ended", &[ServiceRole::Issuer])).await.unwrap();
    admin.revoke_service(&ended.credential.credential_id).await.unwrap();
    let mut runbook = Runbook::of("TokenAuthorityCallersRefused");
    let told = runbook.next(&mut host);
    assert!(told.contains("ended"), "{told}");
    if backend == Backend::Postgres {
        for mut runbook in [
            Runbook::of("TokenAuthorityDatabaseSaturated"),
            Runbook::of("TokenAuthorityDatabaseSilent"),
            Runbook::of("TokenAuthorityKeyMissing"),
        ] {
            runbook.next(&mut host);
        }
    }
    host.end();
}
