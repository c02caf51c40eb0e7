//! When, from where and how often a credential was used: written down a moment
//! later, by all replicas together, and never in anybody's way.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use token_authority::{
    domain::{id::SecretId, time::Timestamp},
    proto::v1::{
        IntrospectRequest, IssueTokenRequest, ListServiceCredentialsRequest, ServiceCredential, ServiceRole, Token,
    },
    settings::Span,
    store::{SecretUses, Store},
};
use tonic::Code;

use crate::support::{
    Actor, Backend, Database, Process, TestServer, assert_refused,
    calls::{question, texts},
    forge,
    gate::backends,
    issue_request,
    refusal::assert_field_refused,
    wait::until,
};

/// Long after the test's end.
const NEVER: Span = Span(Duration::from_hours(1));
const HERE: &str = "203.0.113.7";
const ELSEWHERE: &str = "2001:db8::7";

on_both_databases!(
    a_use_is_told_wherever_the_token_is,
    a_batch_counts_each_item,
    what_is_inactive_is_no_use,
    a_caller_counts_once_a_call,
    a_rotation_loses_no_use,
    none_is_lost_at_the_end,
    what_was_deleted_meanwhile_is_passed_over,
    a_killed_server_loses_the_interval_and_no_more,
    a_database_held_by_a_lock_delays_no_introspection,
);

async fn start(backend: Backend) -> TestServer {
    TestServer::configured(backend, None, |settings| {
        settings.introspection.use_interval = Span(Duration::from_millis(20));
    })
    .await
}

fn from(secret: &str, address: &str) -> IntrospectRequest {
    IntrospectRequest { client_ip: address.to_owned(), ..question(secret, &[]) }
}

async fn use_from(actor: &Actor, secret: &str, address: &str) {
    assert!(actor.try_introspect(from(secret, address)).await.unwrap().active);
}

/// The token, once so many uses are written.
async fn used(admin: &Actor, token_id: &str, count: i64) -> Token {
    let mut token = Token::default();
    until("the uses are written", async || {
        token = admin.get_token(token_id).await.unwrap();
        token.use_count >= count
    })
    .await;
    assert_eq!(token.use_count, count);
    token
}

fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("there is a time");
    Timestamp::from_parts(time.seconds, time.nanos).unwrap().as_micros()
}

/// What is written of all secrets of the credentials of that label or name.
async fn written(database: &Database, label: &str) -> u64 {
    let sum = format!(
        "SELECT coalesce(sum(u.use_count), 0) FROM uses u JOIN secrets s ON s.id = u.secret \
         JOIN credentials c ON c.id = s.credential WHERE c.label = '{label}'"
    );
    database.scalar(&sum).await.parse().expect("a number")
}

async fn service_named(admin: &Actor, name: &str) -> ServiceCredential {
    let listed = admin.list_services(ListServiceCredentialsRequest::default()).await.unwrap();
    listed.credentials.into_iter().find(|credential| credential.name == name).expect("it is listed")
}

async fn a_use_is_told_wherever_the_token_is(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let id = &issued.token.token_id;
    let unused = admin.get_token(id).await.unwrap();
    assert_eq!((unused.last_used_time, unused.last_used_ip.as_str(), unused.use_count), (None, "", 0));
    assert_eq!(unused.secrets[0].last_used_time, None);

    for address in [ELSEWHERE, HERE, "::ffff:203.0.113.7"] {
        use_from(&admin, &issued.secret, address).await;
    }
    let token = used(&admin, id, 3).await;
    assert_eq!(token.last_used_ip, HERE);
    assert!(micros(token.last_used_time) >= micros(token.create_time));
    assert_eq!(token.secrets[0].last_used_time, token.last_used_time);
    assert_eq!(admin.tokens_of("ada", &[]).await, std::slice::from_ref(&token));

    admin.introspect(&issued.secret).await;
    let later = used(&admin, id, 4).await;
    assert_eq!(later.last_used_ip, "", "nobody said from where");
    assert!(micros(later.last_used_time) >= micros(token.last_used_time));

    let holder = server.actor(&issued.secret).await;
    holder.who_am_i().await.unwrap();
    assert_eq!(used(&admin, id, 5).await.last_used_ip, "127.0.0.1", "a call by itself is a use from its peer");

    let revoked = admin.revoke(id).await.unwrap().unwrap();
    assert_eq!((revoked.use_count, revoked.last_used_ip.as_str()), (5, "127.0.0.1"));
    server.end().await;
}

async fn a_batch_counts_each_item(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let one = admin.issue("ada", "one", &[]).await;
    let two = admin.issue("ada", "two", &[]).await;
    let batch = [(&one, HERE), (&two, HERE), (&one, ELSEWHERE), (&two, ELSEWHERE), (&one, HERE)];
    let batch = batch.into_iter().map(|(issued, address)| from(&issued.secret, address));
    let answers = admin.batch_introspect(batch.chain([question("junk", &[])]).collect()).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.active).count(), 5);
    assert_eq!(used(&admin, &one.token.token_id, 3).await.last_used_ip, HERE);
    assert_eq!(used(&admin, &two.token.token_id, 2).await.last_used_ip, ELSEWHERE);
    server.end().await;
}

async fn what_is_inactive_is_no_use(backend: Backend) {
    let server = start(backend).await;
    let admin = server.admin().await;
    let bound = IssueTokenRequest { allowed_cidrs: texts(&[HERE]), ..issue_request("ada", "bound", &[]) };
    let bound = admin.try_issue(bound).await.unwrap();
    let revoked = admin.issue("ada", "revoked", &[]).await;
    admin.revoke(&revoked.token.token_id).await.unwrap();
    let good = admin.issue("ada", "good", &[]).await;

    let wrong = forge::wrong_secret(&good.secret);
    let inactive = [
        from(&bound.secret, ELSEWHERE),
        from(&bound.secret, ""),
        from(&revoked.secret, HERE),
        from(&wrong, HERE),
        from("junk", HERE),
        from(&server.database.admin_token(), HERE),
    ];
    for request in inactive {
        assert!(!admin.try_introspect(request).await.unwrap().active);
    }
    assert!(server.actor(&wrong).await.who_am_i().await.is_err());
    use_from(&admin, &good.secret, HERE).await;
    used(&admin, &good.token.token_id, 1).await;
    for (label, uses) in [("bound", 0), ("revoked", 0), ("good", 1)] {
        assert_eq!(written(&server.database, label).await, uses, "{label}");
    }
    server.end().await;
}

async fn a_caller_counts_once_a_call(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    let before = service_named(&admin, "gateway").await;
    assert_eq!(before.last_used_time, None);

    // The first call recognizes it, the next ones know it already.
    for _ in 0..4 {
        assert!(gateway.introspect(&issued.secret).await.active);
    }
    gateway.batch_introspect(vec![question(&issued.secret, &[]); 10]).await.unwrap();
    assert_field_refused(
        gateway.try_introspect(from(&issued.secret, "nowhere")).await,
        "INVALID_CLIENT_IP",
        "client_ip",
    );
    gateway.who_am_i().await.unwrap();
    let refused = gateway.try_issue(issue_request("ada", "not its own", &[])).await;
    assert_refused(refused, Code::PermissionDenied, "NOT_PERMITTED");

    until("its calls are written", async || written(&database, "gateway").await >= 8).await;
    let after = service_named(&admin, "gateway").await;
    assert!(micros(after.last_used_time) >= micros(after.create_time));
    server.end().await;
    assert_eq!(written(&database, "gateway").await, 8);
    assert_eq!(written(&database, "laptop").await, 14);
}

async fn a_rotation_loses_no_use(backend: Backend) {
    let server = start(backend).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let gateway = server.service("gateway", &[ServiceRole::Introspector]).await;
    gateway.who_am_i().await.unwrap();
    until("its call is written", async || written(&database, "gateway").await == 1).await;
    let before = service_named(&admin, "gateway").await;

    let rotated = admin.rotate_service(&before.credential_id, Duration::from_hours(1)).await.unwrap();
    assert_eq!(rotated.credential.last_used_time, before.last_used_time);
    server.actor(&rotated.secret).await.who_am_i().await.unwrap();
    gateway.who_am_i().await.unwrap();
    until("both secrets' calls are written", async || written(&database, "gateway").await == 3).await;
    let after = service_named(&admin, "gateway").await;
    assert!(micros(after.last_used_time) > micros(before.last_used_time));

    let issued = admin.issue("ada", "laptop", &[]).await;
    use_from(&admin, &issued.secret, HERE).await;
    used(&admin, &issued.token.token_id, 1).await;
    // As the end of a rotation's overlap leaves it.
    let ended = "(SELECT id FROM credentials WHERE label = 'laptop')";
    database.execute(&format!("UPDATE secrets SET end_time = 1 WHERE credential = {ended}")).await;
    let token = admin.get_token(&issued.token.token_id).await.unwrap();
    assert_eq!((token.secrets.len(), token.use_count, token.last_used_ip.as_str()), (0, 1, HERE));
    assert!(token.last_used_time.is_some());
    server.end().await;
}

async fn none_is_lost_at_the_end(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| settings.introspection.use_interval = NEVER).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    for _ in 0..5 {
        use_from(&admin, &issued.secret, HERE).await;
    }
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap().use_count, 0, "it is not yet time");
    let revision = database.scalar("SELECT revision FROM head").await;
    server.end().await;
    assert_eq!(written(&database, "laptop").await, 5);
    assert_eq!(database.scalar("SELECT revision FROM head").await, revision, "no use is a change");
}

async fn what_was_deleted_meanwhile_is_passed_over(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| settings.introspection.use_interval = NEVER).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    let deleted = admin.issue("ada", "deleted", &[]).await;
    let kept = admin.issue("ben", "kept", &[]).await;
    for issued in [&deleted, &kept] {
        use_from(&admin, &issued.secret, HERE).await;
    }
    admin.delete_account("ada").await.unwrap();
    server.end().await;
    assert_eq!(written(&database, "kept").await, 1);
    assert_eq!(database.count("uses").await, 2, "the token's, and the administrator's own");
}

async fn a_killed_server_loses_the_interval_and_no_more(backend: Backend) {
    const BEFORE: u64 = 20;
    const AFTER: u64 = 30;

    let database = backend.database();
    let mut server = Process::start_with(&database, |command| {
        command.env("TOKEN_AUTHORITY__INTROSPECTION__USE_INTERVAL", "20ms");
    });
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    for _ in 0..BEFORE {
        use_from(&admin, &issued.secret, HERE).await;
    }
    until("an interval has passed", async || written(&database, "laptop").await == BEFORE).await;
    for _ in 0..AFTER {
        use_from(&admin, &issued.secret, ELSEWHERE).await;
    }
    server.kill();

    let server = Process::start(&database);
    let admin = server.admin().await;
    let count = written(&database, "laptop").await;
    assert!((BEFORE..=BEFORE + AFTER).contains(&count), "{count}");
    database.assert_whole().await;
    use_from(&admin, &issued.secret, HERE).await;
    assert!(server.terminate().success());
    assert_eq!(written(&database, "laptop").await, count + 1);
}

async fn a_database_held_by_a_lock_delays_no_introspection(backend: Backend) {
    const USES: i64 = 50;

    let server = TestServer::configured(backend, None, |settings| {
        settings.introspection.use_interval = Span(Duration::from_millis(20));
        settings.database.lock_timeout = Span(Duration::from_millis(100));
    })
    .await;
    let admin = server.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    use_from(&admin, &issued.secret, HERE).await;
    used(&admin, &issued.token.token_id, 1).await;

    let connection = server.database.connect().await;
    let holder = connection.begin().await.unwrap();
    let lock = match backend {
        // Whoever writes holds the one lock that there is.
        Backend::Sqlite => "UPDATE uses SET use_count = use_count",
        Backend::Postgres => "LOCK TABLE uses IN EXCLUSIVE MODE",
    };
    holder.execute_unprepared(lock).await.unwrap();
    for _ in 0..USES {
        use_from(&admin, &issued.secret, ELSEWHERE).await;
    }
    if backend == Backend::Postgres {
        until("the writing waits", async || backends(&server.database, "wait_event_type = 'Lock'") == 1).await;
    }
    let failures = async || server.told().await.count("token_authority_uses_write_failures_total");
    until("it is told that they cannot be written", async || failures().await > 0).await;
    assert_eq!(admin.get_token(&issued.token.token_id).await.unwrap().use_count, 1, "nothing could be written");
    holder.rollback().await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(used(&admin, &issued.token.token_id, 1 + USES).await.last_used_ip, ELSEWHERE);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_add_up_and_the_later_use_is_the_last() {
    let late = TestServer::configured(Backend::Postgres, None, |settings| {
        settings.introspection.use_interval = NEVER;
    })
    .await;
    let replica = late.database.replica();
    let mut settings = replica.settings(None);
    settings.introspection.use_interval = Span(Duration::from_millis(20));
    let soon = TestServer::on(replica, &settings).await;

    let admin = late.admin().await;
    let issued = admin.issue("ada", "laptop", &[]).await;
    for _ in 0..3 {
        use_from(&admin, &issued.secret, HERE).await;
    }
    let admin = soon.admin().await;
    for _ in 0..4 {
        use_from(&admin, &issued.secret, ELSEWHERE).await;
    }
    let first = used(&admin, &issued.token.token_id, 4).await;
    assert_eq!(first.last_used_ip, ELSEWHERE);
    // It writes what was earlier, and writes it later.
    late.end().await;
    let both = used(&admin, &issued.token.token_id, 7).await;
    assert_eq!((both.last_used_time, both.last_used_ip.as_str()), (first.last_used_time, ELSEWHERE));
    soon.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_write_of_the_same_secrets_and_a_deletion_do_not_stop_each_other() {
    const SECRETS: usize = 500;
    const ROUNDS: usize = 30;

    let server = TestServer::start(Backend::Postgres).await;
    let database = server.database.clone();
    let admin = server.admin().await;
    admin.issue("ada", "deleted", &[]).await;
    admin.issue("ben", "kept", &[]).await;
    for label in ["deleted", "kept"] {
        database.sql(&format!(
            "INSERT INTO secrets (id, credential, bcrypt_hash, create_time) \
             SELECT gen_random_uuid(), c.id, '$2x', 1 FROM credentials c, generate_series(2, {SECRETS}) \
             WHERE c.label = '{label}'"
        ));
    }
    let ids = database.sql("SELECT s.id FROM secrets s JOIN credentials c ON c.id = s.credential WHERE c.kind = 1");
    let uses: Vec<_> = ids
        .lines()
        .map(|id| SecretUses {
            secret: SecretId::from_uuid(id.parse().unwrap()),
            count: 1,
            last_used_time: Timestamp::from_micros(1).unwrap(),
            last_used_address: None,
        })
        .collect();
    assert_eq!(uses.len(), 2 * SECRETS);

    let config = database.settings(None).store_config().unwrap();
    let add = async |reversed: bool| {
        let store = Store::open(config.clone()).await.unwrap();
        let mut uses = uses.clone();
        if reversed {
            uses.reverse();
        }
        for _ in 0..ROUNDS {
            store.add_uses(&uses).await.unwrap();
        }
        store.close().await;
    };
    let delete = async {
        until("uses are written", async || written(&database, "deleted").await > 0).await;
        admin.delete_account("ada").await.unwrap();
    };
    tokio::join!(add(false), add(true), delete);
    assert_eq!(written(&database, "kept").await, (2 * ROUNDS * SECRETS) as u64);
    server.end().await;
    assert_eq!(database.count("uses u LEFT JOIN secrets s ON s.id = u.secret WHERE s.id IS NULL").await, 0);
}
