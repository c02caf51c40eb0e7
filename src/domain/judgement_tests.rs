//! Judgement by property: an independent restatement of each rule, and of
//! their order.

use proptest::prelude::*;
use smallvec::smallvec;
use uuid::Uuid;

use super::*;
use crate::domain::{
    account::{Account, Generations},
    digest::{BcryptHash, SecretHash},
    id::{AccountKey, CredentialId},
    network::{Network, Networks},
    policy::{CategoryDocument, Document, PlanDocument, ScopeDocument},
    record::{Revocation, RevocationReason, SecretRecord},
    role::Roles,
};

const NOW: i64 = 1_800_000_000_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn scopes(names: &[&str]) -> Scopes {
    names.iter().map(|name| name.parse::<Scope>().expect("well-formed")).collect()
}

fn id(number: u128) -> CredentialId {
    CredentialId::from_uuid(Uuid::from_u128(number))
}

const SECRET: SecretId = SecretId::from_uuid(Uuid::from_u128(7));

fn record() -> Record {
    Record {
        id: id(100),
        kind: Kind::Personal,
        account: Some(AccountKey::from_uuid(Uuid::from_u128(1))),
        label: "token".into(),
        grant: Grant::Explicit(scopes(&["a"])),
        roles: Roles::NONE,
        networks: Networks::ANY,
        hint: String::new(),
        generation: 0,
        created_by: String::new(),
        imported: false,
        create_time: at(NOW - 1_000),
        expire_time: None,
        rotate_time: None,
        revocation: None,
        secrets: smallvec![SecretRecord {
            id: SECRET,
            hash: SecretHash::Bcrypt(BcryptHash::from_stored("")),
            fingerprint: None,
            create_time: at(NOW - 1_000),
            end_time: None,
        }],
    }
}

fn holder() -> Holder {
    Holder {
        account: Account {
            key: AccountKey::from_uuid(Uuid::from_u128(1)),
            id: "account".parse().expect("well-formed"),
            username: None,
            email: String::new(),
            plan: Some("PRO".parse().expect("a word")),
            roles: Vec::new(),
            permissions: scopes(&["b"]),
            limit_permissions: false,
            suspended: false,
            generations: Generations { tokens: 0, sessions: 0 },
            create_time: at(0),
            update_time: at(0),
            etag: Uuid::nil(),
        },
        live_over_cap: Vec::new(),
    }
}

// a implies b implies c; d stands alone. PRO has room for two tokens.
fn policy() -> Policy {
    let scope = |name: &str, implies: &[&str]| ScopeDocument {
        name: name.to_owned(),
        description: String::new(),
        implies: implies.iter().map(ToString::to_string).collect(),
    };
    Policy::new(Document {
        plans: vec![PlanDocument { name: "PRO".to_owned(), max_tokens: Some(2) }],
        categories: vec![CategoryDocument {
            name: "All".to_owned(),
            scopes: vec![scope("a", &["b"]), scope("b", &["c"]), scope("c", &[]), scope("d", &[])],
        }],
        ..Document::default()
    })
    .expect("valid")
}

fn question() -> Question {
    Question { accepted_kinds: Kinds::SUBJECTS, client_address: None, required_scopes: Scopes::NONE }
}

fn judged(record: &Record, holder: &Holder, question: &Question) -> Judgement {
    judge(Evidence::Proved { record, secret: SECRET, holder: Some(holder) }, question, &policy(), at(NOW))
}

fn reason(record: &Record, holder: &Holder, question: &Question) -> Option<InactiveReason> {
    match judged(record, holder, question) {
        Judgement::Inactive(reason) => Some(reason),
        Judgement::Active { .. } => None,
    }
}

/// A rule and the change to the facts that breaks it, in the order of reasons.
type Obstacle = (InactiveReason, fn(&mut Record, &mut Holder, &mut Question));
const OBSTACLES: [Obstacle; 6] = [
    (InactiveReason::KindNotAccepted, |_, _, question| question.accepted_kinds = Kinds::NONE.with(Kind::WebSession)),
    (InactiveReason::Revoked, |record, _, _| {
        record.revocation = Some(Revocation { time: at(NOW + 1), reason: RevocationReason::Unspecified });
    }),
    (InactiveReason::Expired, |record, _, _| record.expire_time = Some(at(NOW))),
    (InactiveReason::AccountSuspended, |_, holder, _| holder.account.suspended = true),
    (InactiveReason::OverPlanLimit, |_, holder, _| {
        holder.live_over_cap = vec![(id(1), None), (id(2), None), (id(100), None)];
    }),
    (InactiveReason::AddressNotAllowed, |record, _, _| {
        record.networks = ["10.0.0.0/8".parse::<Network>().expect("well-formed")].into_iter().collect();
    }),
];

proptest! {
    #[test]
    fn the_first_obstacle_gives_the_reason(broken in proptest::collection::vec(any::<bool>(), OBSTACLES.len())) {
        let (mut record, mut holder, mut question) = (record(), holder(), question());
        for ((_, break_it), broken) in OBSTACLES.iter().zip(&broken) {
            if *broken {
                break_it(&mut record, &mut holder, &mut question);
            }
        }
        let expected = OBSTACLES.iter().zip(&broken).find(|(_, broken)| **broken).map(|((reason, _), _)| *reason);
        prop_assert_eq!(reason(&record, &holder, &question), expected);
    }

    #[test]
    fn expiry_is_exact_to_the_microsecond(offset in -2_i64..=2) {
        let mut record = record();
        record.expire_time = Some(at(NOW + offset));
        let expected = (offset <= 0).then_some(InactiveReason::Expired);
        prop_assert_eq!(reason(&record, &holder(), &question()), expected);
    }

    #[test]
    fn an_ended_secret_is_revoked_to_the_microsecond(offset in -2_i64..=2) {
        let mut record = record();
        record.secrets[0].end_time = Some(at(NOW + offset));
        let expected = (offset <= 0).then_some(InactiveReason::Revoked);
        prop_assert_eq!(reason(&record, &holder(), &question()), expected);
    }

    #[test]
    fn a_token_of_an_older_generation_is_revoked(generation in 0_i64..4, raised in 0_i64..4) {
        let (mut record, mut holder) = (record(), holder());
        record.generation = generation;
        holder.account.generations.tokens = raised;
        let expected = (generation < raised).then_some(InactiveReason::Revoked);
        prop_assert_eq!(reason(&record, &holder, &question()), expected);
    }

    #[test]
    fn the_first_tokens_by_id_up_to_the_cap_go_on(ended in proptest::collection::vec(any::<bool>(), 6)) {
        let mut holder = holder();
        holder.live_over_cap = ended.iter().zip(1..).map(|(ended, number)| (id(number), ended.then(|| at(NOW)))).collect();
        let mut room = 2;
        for (ended, number) in ended.iter().zip(1..) {
            if *ended {
                continue;
            }
            let mut record = record();
            record.id = id(number);
            let expected = (room == 0).then_some(InactiveReason::OverPlanLimit);
            prop_assert_eq!(reason(&record, &holder, &question()), expected);
            room = (room - 1_i32).max(0);
        }
    }

    #[test]
    fn what_is_lacking_is_required_minus_held(required in proptest::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..=5),
                                              granted in proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4),
                                              permitted in proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4),
                                              inherits: bool, limited: bool) {
        let (mut record, mut holder, mut question) = (record(), holder(), question());
        record.grant = if inherits { Grant::Inherits } else { Grant::Explicit(scopes(&granted)) };
        holder.account.permissions = scopes(&permitted);
        holder.account.limit_permissions = limited;
        question.required_scopes = scopes(&required);

        let holds = |names: &[&str], scope: &str| match scope {
            "b" => names.contains(&"b") || names.contains(&"a"),
            "c" => names.contains(&"c") || names.contains(&"b") || names.contains(&"a"),
            other => names.contains(&other),
        };
        let held = |scope: &str| if inherits {
            holds(&permitted, scope)
        } else {
            holds(&granted, scope) && (!limited || holds(&permitted, scope))
        };
        let expected: Vec<&str> = required.iter().copied().filter(|scope| !held(scope)).collect();
        let Judgement::Active { missing, .. } = judged(&record, &holder, &question) else {
            panic!("nothing is in the way");
        };
        prop_assert_eq!(missing.iter().map(Scope::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn form_knowledge_and_secret_come_first() {
    for (evidence, expected) in [
        (Evidence::Malformed, InactiveReason::Malformed),
        (Evidence::Unknown, InactiveReason::Unknown),
        (Evidence::WrongSecret, InactiveReason::WrongSecret),
    ] {
        assert_eq!(judge(evidence, &question(), &policy(), at(NOW)), Judgement::Inactive(expected));
    }
}

#[test]
fn a_secret_that_is_gone_is_wrong() {
    let mut record = record();
    record.secrets.clear();
    assert_eq!(reason(&record, &holder(), &question()), Some(InactiveReason::WrongSecret));
}

#[test]
fn a_service_credential_is_no_subject() {
    let mut record = record();
    record.kind = Kind::Service;
    record.account = None;
    let evidence = Evidence::Proved { record: &record, secret: SECRET, holder: None };
    let verdict = judge(evidence, &question(), &policy(), at(NOW));
    assert_eq!(verdict, Judgement::Inactive(InactiveReason::KindNotAccepted));
}

#[test]
fn a_token_without_its_account_is_unknown() {
    let record = record();
    let evidence = Evidence::Proved { record: &record, secret: SECRET, holder: None };
    assert_eq!(judge(evidence, &question(), &policy(), at(NOW)), Judgement::Inactive(InactiveReason::Unknown));
}

#[test]
fn an_unknown_plan_allows_nothing() {
    let mut holder = holder();
    holder.account.plan = Some("GONE".parse().expect("a word"));
    assert_eq!(reason(&record(), &holder, &question()), Some(InactiveReason::OverPlanLimit));
}

#[test]
fn an_uncounted_import_is_never_over_the_limit() {
    let (mut record, mut holder) = (record(), holder());
    record.imported = true;
    holder.live_over_cap = vec![(id(1), None), (id(2), None), (id(3), None)];
    assert_eq!(reason(&record, &holder, &question()), None);
}

#[test]
fn mapped_addresses_are_judged_as_what_they_are() {
    let mut record = record();
    record.networks = ["10.0.0.0/8".parse::<Network>().expect("well-formed")].into_iter().collect();
    let from = |address: &str| Question { client_address: Some(address.parse().expect("well-formed")), ..question() };
    assert_eq!(reason(&record, &holder(), &from("::ffff:10.1.2.3")), None);
    assert_eq!(reason(&record, &holder(), &from("11.0.0.1")), Some(InactiveReason::AddressNotAllowed));
    assert_eq!(reason(&record, &holder(), &question()), Some(InactiveReason::AddressNotAllowed));
}
