//! Revocation is immediate: an Introspect that starts after the reply knows of
//! it, whatever replica it asks, and so with all that ends and all that comes
//! back. Every time, with the answer from before still in memory, and among
//! calls that keep the confirmations busy.

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use prost::Message as _;
use token_authority::proto::v1::{
    Account, InactiveReason, IntrospectRequest, IntrospectResponse, RevocationReason, ServiceRole, Verdict,
};
use tonic::Code;

use crate::support::{
    Actor,
    calls::{question, service_request, texts},
    replicas::Replicas,
    rounds::rounds,
    wire::{Wire, framed},
};

/// With the other tests; see `rounds`.
const REVOCATIONS: usize = 300;
/// Of each kind.
const CHANGES: usize = 40;
/// Revoke side by side, so that more than a handful ask each replica, and its
/// confirmations are paced.
const REVOKERS: usize = 24;
/// Ask beside them, at each replica.
const ASKING: usize = 2;
/// So many tokens are issued, and asked about, before the first is revoked.
const LOT: usize = 10;

/// Calls beside the test.
struct Traffic {
    /// Stays active.
    steady: String,
    /// What is being revoked, by each revoker.
    watched: Vec<Mutex<Option<Arc<Watched>>>>,
    is_over: AtomicBool,
    after_the_reply: AtomicUsize,
}

/// A token that is going to be revoked.
struct Watched {
    secret: String,
    is_revoked: AtomicBool,
}

impl Traffic {
    async fn new(admin: &Actor) -> Self {
        let steady = admin.issue("steady", "steady", &[]).await.secret;
        Self {
            steady,
            watched: (0..REVOKERS).map(|_| Mutex::default()).collect(),
            is_over: AtomicBool::new(false),
            after_the_reply: AtomicUsize::new(0),
        }
    }

    fn watch(&self, revoker: usize, secret: &str) -> Arc<Watched> {
        let watched = Arc::new(Watched { secret: secret.to_owned(), is_revoked: AtomicBool::new(false) });
        *self.watched[revoker].lock().unwrap() = Some(watched.clone());
        watched
    }

    /// Runs a test with calls beside it.
    async fn beside(&self, replicas: &Replicas, test: impl Future<Output = ()>) {
        let askers = replicas.admins.iter().flat_map(|admin| (0..ASKING).map(move |number| self.ask(admin, number)));
        let test = async {
            test.await;
            self.is_over.store(true, Ordering::Relaxed);
        };
        tokio::join!(join_all(askers), test);
    }

    async fn ask(&self, admin: &Actor, mut revoker: usize) {
        while !self.is_over.load(Ordering::Relaxed) {
            assert!(admin.introspect(&self.steady).await.active, "a good token is turned away");
            revoker = (revoker + 1) % REVOKERS;
            let watched = self.watched[revoker].lock().unwrap().clone();
            if let Some(watched) = watched {
                let was_revoked = watched.is_revoked.load(Ordering::SeqCst);
                let answer = admin.introspect(&watched.secret).await;
                if was_revoked {
                    assert!(!answer.active, "a revoked token is let in");
                    self.after_the_reply.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Asks all of them at once.
async fn ask(actors: &[&Actor], question: &IntrospectRequest) -> Vec<IntrospectResponse> {
    let ask = |actor: &&Actor| {
        let actor = (*actor).clone();
        async move { actor.try_introspect(question.clone()).await.expect("there is an answer") }
    };
    join_all(actors.iter().map(ask)).await
}

/// The first answer has it loaded, the second comes from memory.
async fn remember(actors: &[&Actor], questions: &[IntrospectRequest]) {
    for _ in 0..2 {
        for answers in join_all(actors.iter().map(|actor| actor.batch_introspect(questions.to_vec()))).await {
            let answers = answers.expect("there are answers");
            assert!(answers.iter().all(|answer| answer.verdict() == Verdict::Allowed), "{answers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_is_seen_at_once_by_every_replica_every_time() {
    let rounds = rounds(REVOCATIONS);
    let replicas = Replicas::start(|_| {}).await;
    let traffic = Traffic::new(&replicas.admins[0]).await;
    let next = AtomicUsize::new(0);
    let revoke = async |revoker: usize| {
        loop {
            let first = next.fetch_add(LOT, Ordering::Relaxed);
            let lot = first..rounds.min(first + LOT);
            if lot.is_empty() {
                return;
            }
            let replica = first / LOT;
            let (here, elsewhere) = (&replicas.admins[replica % 3], replicas.others(replica % 3));
            let account = format!("account-{revoker}");
            let mut issued = Vec::with_capacity(LOT);
            for _ in lot.clone() {
                issued.push(here.issue(&account, "revoked", &[]).await);
            }
            let questions: Vec<_> = issued.iter().map(|issued| question(&issued.secret, &[])).collect();
            remember(&elsewhere, &questions).await;
            for (round, (issued, question)) in lot.zip(issued.iter().zip(&questions)) {
                let watched = traffic.watch(revoker, &issued.secret);
                if round.is_multiple_of(2) {
                    here.revoke(&issued.token.token_id).await.unwrap();
                } else {
                    here.revoke_secret(&issued.secret).await.unwrap();
                }
                watched.is_revoked.store(true, Ordering::SeqCst);
                for answer in ask(&elsewhere, question).await {
                    assert_eq!(answer.inactive_reason(), InactiveReason::Revoked, "round {round}: {answer:?}");
                }
            }
        }
    };
    traffic.beside(&replicas, async { drop(join_all((0..REVOKERS).map(revoke)).await) }).await;
    let beside = traffic.after_the_reply.load(Ordering::Relaxed);
    eprintln!("{rounds} revocations, each seen by two other replicas, and by {beside} calls beside them");
    replicas.end();
}

fn with_plans(command: &mut Command) {
    command
        .env("TOKEN_AUTHORITY__POLICY__VERSION", "1")
        .env("TOKEN_AUTHORITY__POLICY__DEFAULT_PLAN", "BIG")
        .env("TOKEN_AUTHORITY__POLICY__ACCOUNTS_ON_FIRST_USE", "true")
        .env("TOKEN_AUTHORITY__POLICY__PLANS", r#"[{ name = "SMALL", max_tokens = 1 }, { name = "BIG" }]"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_and_what_comes_back_is_seen_at_once_every_time() {
    let rounds = rounds(CHANGES);
    let replicas = Replicas::start(with_plans).await;
    let traffic = Traffic::new(&replicas.admins[0]).await;
    let test = async {
        tokio::join!(
            suspend_and_restore(&replicas, rounds),
            cap_and_raise(&replicas, rounds),
            narrow_and_widen(&replicas, rounds),
            revoke_all_and_issue_anew(&replicas, rounds),
            end_a_caller(&replicas, rounds),
        );
    };
    traffic.beside(&replicas, test).await;
    eprintln!("{rounds} changes of each kind, and as many back, each seen by two other replicas");
    replicas.end();
}

/// Changes an account and changes it back, at one replica after the other, and
/// asks the others right after each reply.
async fn there_and_back(
    replicas: &Replicas,
    rounds: usize,
    question: IntrospectRequest,
    [narrow, wide]: [Account; 2],
    paths: &[&str],
    shows: impl Fn(&IntrospectResponse) -> bool,
) {
    remember(&replicas.admins.each_ref(), std::slice::from_ref(&question)).await;
    for round in 0..rounds {
        let (here, elsewhere) = (&replicas.admins[round % 3], replicas.others(round % 3));
        here.update_account(narrow.clone(), paths).await.unwrap();
        for answer in ask(&elsewhere, &question).await {
            assert!(shows(&answer), "round {round}, {paths:?}: {answer:?}");
        }
        here.update_account(wide.clone(), paths).await.unwrap();
        for answer in ask(&elsewhere, &question).await {
            assert_eq!(answer.verdict(), Verdict::Allowed, "round {round}, {paths:?}: {answer:?}");
        }
    }
}

async fn suspend_and_restore(replicas: &Replicas, rounds: usize) {
    let issued = replicas.admins[0].issue("sam", "token", &[]).await;
    let wide = Account { account_id: "sam".to_owned(), ..Default::default() };
    let narrow = Account { suspended: true, ..wide.clone() };
    let question = question(&issued.secret, &[]);
    let shows = |answer: &IntrospectResponse| answer.inactive_reason() == InactiveReason::AccountSuspended;
    there_and_back(replicas, rounds, question, [narrow, wide], &["suspended"], shows).await;
}

async fn cap_and_raise(replicas: &Replicas, rounds: usize) {
    let admin = &replicas.admins[0];
    let mut both = [admin.issue("max", "one", &[]).await, admin.issue("max", "other", &[]).await];
    both.sort_by(|one, other| one.token.token_id.cmp(&other.token.token_id));
    let [_, surplus] = both;
    let wide = Account { account_id: "max".to_owned(), plan: "BIG".to_owned(), ..Default::default() };
    let narrow = Account { plan: "SMALL".to_owned(), ..wide.clone() };
    let question = question(&surplus.secret, &[]);
    let shows = |answer: &IntrospectResponse| answer.inactive_reason() == InactiveReason::OverPlanLimit;
    there_and_back(replicas, rounds, question, [narrow, wide], &["plan"], shows).await;
}

async fn narrow_and_widen(replicas: &Replicas, rounds: usize) {
    let admin = &replicas.admins[0];
    let narrow = Account {
        account_id: "nora".to_owned(),
        limit_permissions: true,
        permissions: texts(&["read"]),
        ..Default::default()
    };
    let wide = Account { permissions: texts(&["read", "write"]), ..narrow.clone() };
    admin.put_account(wide.clone()).await;
    let issued = admin.issue("nora", "token", &["read", "write"]).await;
    let question = question(&issued.secret, &["write"]);
    let shows = |answer: &IntrospectResponse| {
        (answer.verdict(), &answer.scopes, &answer.missing_scopes)
            == (Verdict::InsufficientScope, &texts(&["read"]), &texts(&["write"]))
    };
    there_and_back(replicas, rounds, question, [narrow, wide], &["permissions"], shows).await;
}

async fn revoke_all_and_issue_anew(replicas: &Replicas, rounds: usize) {
    for round in 0..rounds {
        let (here, elsewhere) = (&replicas.admins[round % 3], replicas.others(round % 3));
        let issued = here.issue("rita", "token", &[]).await;
        let question = question(&issued.secret, &[]);
        remember(&elsewhere, std::slice::from_ref(&question)).await;
        here.revoke_all("rita", RevocationReason::Compromised, false).await.unwrap();
        for answer in ask(&elsewhere, &question).await {
            assert_eq!(answer.inactive_reason(), InactiveReason::Revoked, "round {round}: {answer:?}");
        }
    }
}

/// Those who ask are as good as what they ask about.
async fn end_a_caller(replicas: &Replicas, rounds: usize) {
    const INTROSPECT: &str = "/token_authority.v1.TokenAuthorityService/Introspect";

    let wires = join_all(replicas.processes.iter().map(|process| Wire::connect(process.grpc))).await;
    let body = framed(&question("dt_x", &[]).encode_to_vec());
    let call = async |credential: &str, replica: usize| {
        let authorization = format!("Bearer {credential}");
        wires[replica % 3].call(INTROSPECT, &[("authorization", &authorization)], body.clone()).await.unwrap()
    };
    for round in 0..rounds {
        let here = &replicas.admins[round % 3];
        let request = service_request(&format!("service-{round}"), &[ServiceRole::Introspector]);
        let service = here.create_service(request).await.unwrap();
        let elsewhere = [round + 1, round + 2];
        for _ in 0..2 {
            for answer in join_all(elsewhere.map(|replica| call(&service.secret, replica))).await {
                assert_eq!(answer.header("grpc-status"), Some("0"), "round {round}: {answer:?}");
            }
        }
        here.revoke_service(&service.credential.credential_id).await.unwrap();
        for answer in join_all(elsewhere.map(|replica| call(&service.secret, replica))).await {
            assert_eq!(answer.refusal().code, Code::Unauthenticated, "round {round}: {answer:?}");
        }
    }
}
