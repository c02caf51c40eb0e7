//! The master key is replaced without losing a token, and without the cost of
//! bcrypt for any that is used while the former key is still there.

use std::collections::HashMap;

use token_authority::{
    domain::{
        digest::Fingerprint,
        id::SecretId,
        keys::{KeyId, KeyRing},
    },
    proto::v1::ListTokensRequest,
    server::Server,
    settings::Settings,
    store::{NewFingerprint, Store},
};

use crate::support::{Backend, Database, Issued, Process, TestServer, log, wait::until};

on_both_databases!(
    a_new_key_takes_over_from_the_former,
    a_former_key_that_is_gone_costs_one_bcrypt_a_secret,
    another_key_under_a_known_name_is_refused,
    a_ring_that_was_lost_is_replaced,
    a_broken_file_takes_no_key_away,
    only_the_current_key_replaces_a_fingerprint,
);

async fn start(database: &Database) -> TestServer {
    TestServer::on(database.clone(), &database.settings(None)).await
}

async fn end(server: TestServer) {
    let database = server.database.clone();
    server.end().await;
    database.look_for_keys(&log::kept());
    database.look_for_keys(&database.dump());
}

async fn key_of(database: &Database, issued: &Issued) -> String {
    let secret = &issued.token.secrets[0].secret_id;
    let id = if database.url().is_some() { format!("'{secret}'") } else { format!("x'{}'", secret.replace('-', "")) };
    database.scalar(&format!("SELECT key_id FROM secrets WHERE id = {id}")).await
}

fn page_of(account: &str, page_size: i32, page_token: &str) -> ListTokensRequest {
    ListTokensRequest {
        account_id: account.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    }
}

async fn a_new_key_takes_over_from_the_former(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let old = admin.issue("ada", "old", &[]).await;
    admin.issue("ada", "older", &[]).await;
    let page = admin.list_tokens(page_of("ada", 1, "")).await.unwrap().next_page_token;
    end(server).await;

    database.keys_done(&["add", "--id", "k2"]);
    let server = start(&database).await;
    let added = server.admin().await.issue("ada", "added", &[]).await;
    assert_eq!(key_of(&database, &added).await, "k1", "a key that was added is not in use");
    end(server).await;

    database.keys_done(&["promote", "k2"]);
    let server = start(&database).await;
    let admin = server.admin().await;
    assert!(admin.introspect(&old.secret).await.active);
    assert_eq!(server.server.bcrypt_runs(), 0, "the former key is still there");
    let rest = admin.list_tokens(page_of("ada", 10, &page)).await.unwrap();
    assert_eq!(rest.tokens.len(), 1, "a page token of the former key opens");
    let new = admin.issue("ada", "new", &[]).await;
    assert_eq!(key_of(&database, &new).await, "k2");
    until("what was used comes under the current key", async || key_of(&database, &old).await == "k2").await;
    assert_eq!(key_of(&database, &added).await, "k1", "it was not used");
    assert!(admin.introspect(&old.secret).await.active && admin.introspect(&new.secret).await.active);
    end(server).await;
    database.assert_whole().await;
}

async fn a_former_key_that_is_gone_costs_one_bcrypt_a_secret(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let (used, unused) = (admin.issue("ada", "used", &[]).await, admin.issue("ada", "unused", &[]).await);
    end(server).await;
    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    let server = start(&database).await;
    assert!(server.admin().await.introspect(&used.secret).await.active);
    until("both that were used are under k2", async || database.count("secrets WHERE key_id = 'k2'").await == 2).await;
    end(server).await;
    assert_eq!(
        database.keys_listed(),
        [("k1".to_owned(), false, "yes".to_owned(), 1), ("k2".to_owned(), true, "yes".to_owned(), 2)],
    );

    database.put_ring(&database.ring_without("k1"));
    for runs in [1, 0] {
        let server = start(&database).await;
        let admin = server.admin().await;
        for _ in 0..2 {
            assert!(admin.introspect(&used.secret).await.active);
            assert!(admin.introspect(&unused.secret).await.active);
        }
        assert_eq!(server.server.bcrypt_runs(), runs, "of the one that was not used, once");
        until("it is under k2", async || key_of(&database, &unused).await == "k2").await;
        end(server).await;
    }
    assert_eq!(
        database.keys_listed(),
        [("k1".to_owned(), false, "no".to_owned(), 0), ("k2".to_owned(), true, "yes".to_owned(), 3)],
    );
}

fn another_key(id: &str) -> String {
    format!("{id}:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
}

async fn another_key_under_a_known_name_is_refused(backend: Backend) {
    let database = backend.database();
    assert!(Process::start(&database).terminate().success());
    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);
    let ring = database.ring();

    for id in ["k1", "k2"] {
        database.put_ring(&(database.ring_without(id) + &another_key(id)));
        let log = Process::try_start_with(&database, |_| {}).err().expect("it does not start");
        let refusal = "is not the database's master key of that name";
        assert!(log.contains(refusal) && log.contains("copy the file from a server that has it"), "{log}");
        for command in [&["promote", id][..], &["add"]] {
            let refused = database.keys(command);
            assert!(refused.code == 1 && refused.stderr.contains(refusal), "{refused:?}");
        }
        let listed = database.keys_listed();
        assert!(listed.iter().any(|(key, _, file, _)| key == id && file == "another"), "{listed:?}");
        database.put_ring(&ring);
    }
    assert!(Process::start(&database).terminate().success());
}

async fn a_ring_that_was_lost_is_replaced(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    end(server).await;
    std::fs::remove_file(database.ring_file()).unwrap();

    let added = database.keys(&["add", "--id", "k2"]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains("lacks the current key k1"), "{added:?}");
    let refusal = Server::start(&database.settings(None)).await.err().map(|error| error.to_string());
    assert!(refusal.is_some_and(|refusal| refusal.contains("lacks the database's master key")));
    database.keys_done(&["promote", "k2"]);

    for runs in [2, 0] {
        let server = start(&database).await;
        assert!(server.admin().await.introspect(&issued.secret).await.active);
        assert_eq!(server.server.bcrypt_runs(), runs, "the token and its asker, once each");
        until("both are under k2", async || database.count("secrets WHERE key_id = 'k2'").await == 2).await;
        end(server).await;
    }
}

async fn a_broken_file_takes_no_key_away(backend: Backend) {
    let database = backend.database();
    let server = Process::start(&database);
    let admin = server.admin().await;
    let before = admin.issue("ada", "before", &[]).await;
    let ring = database.ring();

    let complaint = "the master keys at hand stay in use";
    for (problems, broken) in [(1, "k1:short\n"), (2, "# ours\nnonsense\n"), (3, &another_key("k1"))] {
        database.put_ring(broken);
        until("it is said", async || server.log().matches(complaint).count() == problems).await;
        assert!(!server.log().contains(&broken.trim()[3..]), "what the file holds is in the log");
        assert!(admin.introspect(&before.secret).await.active);
        let meanwhile = admin.issue("ada", "meanwhile", &[]).await;
        assert_eq!(key_of(&database, &meanwhile).await, "k1");
    }
    database.put_ring(&ring);
    until("it is in order", async || server.log().contains("the file of master keys is in order again")).await;
    assert_eq!(server.log().matches(complaint).count(), 3, "each problem is told once");
    assert!(!server.log().contains("not serving"));
    database.look_for_keys(server.log().as_bytes());
    assert!(server.terminate().success());
}

/// As a replica would that does not know yet that another key was promoted.
async fn only_the_current_key_replaces_a_fingerprint(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let issued = server.admin().await.issue("ada", "laptop", &[]).await;
    end(server).await;
    database.keys_done(&["add", "--id", "k2"]);
    database.keys_done(&["promote", "k2"]);

    let settings: Settings = database.settings(None);
    let store = Store::open(settings.store_config().unwrap()).await.unwrap();
    let ring = KeyRing::parse(&database.ring()).unwrap();
    let id = |text: &str| KeyId::new(text).unwrap();
    let secret: SecretId = issued.token.secrets[0].secret_id.parse().unwrap();
    let store_under = async |key: &str, instead_of: Option<&str>| {
        assert!(ring.get(&id(key)).is_some());
        let new = NewFingerprint { instead_of: instead_of.map(id), fingerprint: Fingerprint::from_bytes([7; 32]) };
        store.store_fingerprints(id(key), HashMap::from([(secret, new)])).await.unwrap();
    };
    let of = "secrets WHERE key_id =";
    store_under("k1", Some("k1")).await;
    store_under("k2", None).await;
    store_under("k2", Some("k3")).await;
    assert_eq!(database.count(&format!("{of} 'k1'")).await, 2, "it is left alone");
    store_under("k2", Some("k1")).await;
    assert_eq!(database.count(&format!("{of} 'k2'")).await, 1);
    store_under("k1", Some("k2")).await;
    assert_eq!(database.count(&format!("{of} 'k2'")).await, 1, "a newer key's is left alone");
    store.close().await;
}
