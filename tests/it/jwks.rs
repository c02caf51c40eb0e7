//! GetJwks: whoever verifies the tokens of sessions finds the keys for it, until
//! the last of them has expired.

use std::{fs, time::Duration};

use serde_json::json;

use crate::support::{
    Backend, Process, TestServer,
    gate::Gate,
    settings::be_patient,
    sign_in::PASSWORD,
    wait::until,
    web_session::{read_part, verify, with_part},
};

const PARTY: &str = "token-authority";

on_both_databases!(
    the_keys_are_open_to_all,
    another_library_verifies_by_them,
    a_key_stays_until_its_last_token_expired
);

async fn the_keys_are_open_to_all(backend: Backend) {
    let server = TestServer::start(backend).await;
    for caller in [server.anybody().await, server.actor("junk").await, server.admin().await] {
        let jwks = caller.jwks().await;
        let [key] = jwks["keys"].as_array().unwrap().as_slice() else { panic!("there is one: {jwks}") };
        let [x, kid] = ["x", "kid"].map(|name| key[name].as_str().unwrap());
        assert_eq!((x.len(), kid.len()), (43, 43));
        let expected = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": x, "kid": kid });
        assert_eq!(*key, expected, "its public half alone");
    }
    let anybody = server.anybody().await;
    let calls = (0..1_000).map(|_| anybody.kids());
    let mut told = futures_util::future::join_all(calls).await;
    told.dedup();
    assert_eq!(told.len(), 1);
    server.end().await;
}

/// Whoever gives up leaves its reading to those who come after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_give_up_one_reads() {
    const CALLS: usize = 40;
    // The server looks after its keys as well.
    const READERS: u64 = 2;

    let server = TestServer::configured(Backend::Postgres, None, be_patient).await;
    let anybody = server.anybody().await;
    let gate = Gate::closed(&server.database);
    let lock = gate.lock_table("signing_keys");
    gate.is_reached().await;
    let waiting = || gate.backends("wait_event_type = 'Lock'");
    until("one reads", async || {
        assert!(tokio::time::timeout(Duration::from_millis(20), anybody.kids()).await.is_err(), "they are held");
        waiting() > 0
    })
    .await;
    for _ in 0..CALLS {
        assert!(tokio::time::timeout(Duration::from_millis(5), anybody.kids()).await.is_err(), "they are held");
        assert!(waiting() <= READERS);
    }
    gate.open();
    lock.join().expect("the lock was held");
    assert_eq!(anybody.kids().await.len(), 1);
    server.end().await;
}

async fn another_library_verifies_by_them(backend: Backend) {
    let server = TestServer::start(backend).await;
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let token = admin.sign_in("ada").await;
    let jwks = admin.jwks().await;
    let claims = verify(&token, &jwks, PARTY, PARTY).unwrap();
    assert_eq!(claims, read_part(&token, 1));
    assert_eq!(claims["sub"], "ada");

    let mut other = read_part(&token, 1);
    other["sub"] = "ben".into();
    let mut unsigned = read_part(&token, 0);
    unsigned["alg"] = "none".into();
    let mut another_type = read_part(&token, 0);
    another_type["typ"] = "JWT".into();
    for (forged, problem) in [
        (with_part(&token, 1, &other), "InvalidSignatureError"),
        (with_part(&token, 0, &unsigned), "InvalidAlgorithmError"),
        (with_part(&token, 0, &another_type), "not an access token"),
    ] {
        let refused = verify(&forged, &jwks, PARTY, PARTY).unwrap_err();
        assert!(refused.contains(problem), "{refused}");
    }
    assert!(verify(&token, &jwks, "another", PARTY).unwrap_err().contains("InvalidIssuerError"));
    assert!(verify(&token, &jwks, PARTY, "another").unwrap_err().contains("InvalidAudienceError"));
    server.end().await;
}

async fn a_key_stays_until_its_last_token_expired(backend: Backend) {
    let server = TestServer::start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    admin.put_user("ada", PASSWORD).await;
    let [former] = admin.kids().await.try_into().unwrap();
    let token = admin.sign_in("ada").await;
    let exp = read_part(&token, 1)["exp"].as_i64().unwrap();

    // Beside the service where that can be, while it is stopped where not.
    let (said, server) = match backend {
        Backend::Postgres => (database.keys_done(&["rotate-signing"]), server),
        Backend::Sqlite => {
            server.end().await;
            let said = database.keys_done(&["rotate-signing"]);
            (said, TestServer::on(database.clone(), &database.settings(None)).await)
        }
    };
    server.seen.secret(&token);
    let admin = server.admin().await;
    let new = said.split(' ').nth(2).unwrap().to_owned();
    until("both are told", async || admin.kids().await == [new.clone(), former.clone()]).await;
    let after = admin.sign_in("ada").await;
    assert_eq!(read_part(&after, 0)["kid"], new);
    let jwks = admin.jwks().await;
    for token in [&token, &after] {
        assert!(admin.introspect(token).await.active);
        verify(token, &jwks, PARTY, PARTY).unwrap();
    }
    let expires = "SELECT expire_time / 1000000 FROM signing_keys WHERE retire_time IS NOT NULL";
    assert_eq!(database.scalar(expires).await, exp.to_string());

    // As it is a lifetime later.
    database.execute("UPDATE signing_keys SET expire_time = retire_time WHERE retire_time IS NOT NULL").await;
    until("the former is told no more", async || admin.kids().await == [new.clone()]).await;
    server.end().await;
    assert_eq!(database.count("signing_keys").await, 2);
    let process = Process::start(&database);
    until("it is removed", async || database.count("signing_keys").await == 1).await;
    assert!(process.terminate().success());
    assert!(!fs::read(database.ring_file()).unwrap().is_empty());
}
