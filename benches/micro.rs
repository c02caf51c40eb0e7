//! What do the steps of an introspection cost that depend on nothing but their
//! input? Parse, prove and judge: `cargo bench --bench micro`.

use std::{convert::Infallible, hint::black_box};

use criterion::Criterion;
use token_authority::domain::{
    account::{Account, Holder},
    credential::{Forms, Kind, Plaintext, Prefix, Secret},
    digest::{BcryptHash, SecretHash},
    id::{AccountKey, CredentialId, SecretId},
    judgement::{Evidence, Judgement, Kinds, Question, judge},
    keys::KeyRing,
    network::Networks,
    policy::{CategoryDocument, Document, Policy, ScopeDocument},
    record::{Grant, Record, SecretRecord},
    role::Roles,
    scope::{Scope, Scopes},
    time::Timestamp,
};
use uuid::Uuid;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    prove(&mut criterion);
    judgement(&mut criterion);
    criterion.final_summary();
}

fn parse(criterion: &mut Criterion) {
    let (forms, good) = (forms(), credential());
    let good = good.expose();
    let wrong_checksum = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    assert!(forms.parse(good).is_some() && forms.parse(&wrong_checksum).is_none());
    criterion.bench_function("parse", |bencher| bencher.iter(|| forms.parse(black_box(good))));
    criterion.bench_function("parse, wrong checksum", |bencher| {
        bencher.iter(|| forms.parse(black_box(&wrong_checksum)));
    });
}

fn prove(criterion: &mut Criterion) {
    let ring = KeyRing::parse("k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a ring of one key");
    let (key, credential) = (ring.first().expect("it has a key"), credential());
    let stored = key.fingerprint(&credential);
    criterion.bench_function("prove by fingerprint", |bencher| {
        bencher.iter(|| assert!(key.fingerprint(black_box(&credential)).matches(&stored)));
    });
}

fn judgement(criterion: &mut Criterion) {
    let (record, holder) = (record(), holder());
    let secret = record.secrets[0].id;
    let question =
        Question { accepted_kinds: Kinds::SUBJECTS, client_address: None, required_scopes: scopes(&["trading:read"]) };
    let without_catalogue = Policy::new(Document::default()).expect("an empty policy");
    for (name, policy) in [("judge", without_catalogue), ("judge, with a catalogue", catalogue())] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let evidence = Evidence::Proved { record: black_box(&record), secret, holder: Some(&holder) };
                let judgement = judge(evidence, &question, &policy, at(2_000));
                assert!(matches!(judgement, Judgement::Active { .. }));
                judgement
            });
        });
    }
}

fn forms() -> Forms {
    let prefix = |text| Prefix::new(text).expect("well-formed");
    Forms::new(prefix("dt"), prefix("ds"), prefix("svc")).expect("they differ")
}

fn credential() -> Plaintext {
    let mut byte = 0;
    let Ok(secret) = Secret::draw(|bytes| {
        bytes.fill_with(|| {
            byte += 1;
            byte
        });
        Ok::<_, Infallible>(())
    });
    let id = CredentialId::at(at(1_000), [7; 8]);
    forms().encode(Kind::Personal, id, &secret).expect("an opaque kind")
}

fn record() -> Record {
    Record {
        id: CredentialId::at(at(1_000), [7; 8]),
        kind: Kind::Personal,
        account: Some(AccountKey::from_uuid(Uuid::nil())),
        label: "TradingView webhook".into(),
        grant: Grant::Explicit(scopes(&["signals:read", "trading:read", "trading:write"])),
        roles: Roles::NONE,
        networks: Networks::ANY,
        hint: String::new(),
        generation: 0,
        created_by: String::new(),
        imported: false,
        create_time: at(1_000),
        expire_time: Some(at(3_000)),
        rotate_time: None,
        revocation: None,
        secrets: [SecretRecord {
            id: SecretId::from_uuid(Uuid::nil()),
            hash: SecretHash::Bcrypt(BcryptHash::from_stored("")),
            fingerprint: None,
            create_time: at(1_000),
            end_time: None,
        }]
        .into(),
    }
}

fn holder() -> Holder {
    let id = "ada".parse().expect("an account id");
    let account = Account::new(AccountKey::from_uuid(Uuid::nil()), id, at(1_000), Uuid::nil());
    Holder { account, live_over_cap: Vec::new() }
}

/// Those of the token and forty more, of which every second implies the one before.
fn catalogue() -> Policy {
    let scope = |name: String, implies: Vec<String>| ScopeDocument { name, description: String::new(), implies };
    let mut scopes: Vec<_> = (0..40)
        .map(|number| {
            let implied = (number % 2 == 1).then(|| format!("area-{}:read", number - 1));
            scope(format!("area-{number}:read"), implied.into_iter().collect())
        })
        .collect();
    let own = [("signals:read", None), ("trading:read", None), ("trading:write", Some("trading:read"))];
    scopes.extend(
        own.map(|(name, implied)| scope(name.to_owned(), implied.map(ToOwned::to_owned).into_iter().collect())),
    );
    let categories = vec![CategoryDocument { name: "All".to_owned(), scopes }];
    Policy::new(Document { version: 1, categories, ..Document::default() }).expect("a policy")
}

fn scopes(names: &[&str]) -> Scopes {
    names.iter().map(|name| name.parse::<Scope>().expect("well-formed")).collect()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}
