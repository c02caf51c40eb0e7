//! What do people and programs see?

use insta::assert_snapshot;
use prost_types::Timestamp;

use crate::proto::v1;

use super::*;

fn time(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn token() -> v1::Token {
    v1::Token {
        token_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        account_id: "acme".to_owned(),
        label: "ci".to_owned(),
        kind: v1::CredentialKind::Personal.into(),
        scopes: vec!["trading:read".to_owned(), "signals:read".to_owned()],
        state: v1::TokenState::Active.into(),
        hint: "dt_\u{2026}9fQ2".to_owned(),
        create_time: Some(time(1_893_456_000)),
        expire_time: Some(time(1_924_992_000)),
        created_by: "service:admin".to_owned(),
        use_count: 3,
        ..v1::Token::default()
    }
}

fn account() -> v1::Account {
    v1::Account {
        account_id: "acme".to_owned(),
        username: "alice".to_owned(),
        plan: "PRO".to_owned(),
        permissions: vec!["trading:read".to_owned()],
        limit_permissions: true,
        create_time: Some(time(1_893_456_000)),
        token_count: 2,
        token_limit: 10,
        etag: "7".to_owned(),
        ..v1::Account::default()
    }
}

fn credential() -> v1::ServiceCredential {
    v1::ServiceCredential {
        credential_id: "01890a5d-ac96-774b-bcce-b302099a8058".to_owned(),
        name: "gateway".to_owned(),
        roles: vec![v1::ServiceRole::Introspector.into(), v1::ServiceRole::TrustedLogin.into()],
        hint: "svc_\u{2026}aB3d".to_owned(),
        create_time: Some(time(1_893_456_000)),
        ..v1::ServiceCredential::default()
    }
}

#[test]
fn tokens_in_a_table() {
    let other = v1::Token {
        label: "a longer label".to_owned(),
        scopes: Vec::new(),
        inherits_permissions: true,
        state: v1::TokenState::Suspended.into(),
        expire_time: None,
        last_used_time: Some(time(1_893_456_001)),
        ..token()
    };
    let listed = TokensListed { tokens: vec![token().into(), other.into()] };
    assert_snapshot!(listed.table());
}

#[test]
fn a_token_with_all_its_fields() {
    let ended = v1::Token {
        allowed_cidrs: vec!["10.0.0.0/8".to_owned()],
        state: v1::TokenState::Revoked.into(),
        rotate_time: Some(time(1_893_456_001)),
        revoke_time: Some(time(1_893_456_002)),
        revocation_reason: v1::RevocationReason::CeasedOperation.into(),
        last_used_time: Some(time(1_893_456_001)),
        last_used_ip: "10.1.2.3".to_owned(),
        imported: true,
        secrets: vec![
            v1::TokenSecret {
                secret_id: "new".to_owned(),
                create_time: Some(time(1_893_456_001)),
                ..v1::TokenSecret::default()
            },
            v1::TokenSecret {
                secret_id: "old".to_owned(),
                create_time: Some(time(1_893_456_000)),
                end_time: Some(time(1_893_459_600)),
                last_used_time: Some(time(1_893_456_001)),
            },
        ],
        ..token()
    };
    let shown = TokenShown { token: ended.into() };
    assert_snapshot!("a_token_as_a_card", shown.table());
    assert_snapshot!("a_token_as_json", shown.json().as_str());
}

#[test]
fn a_new_secret_is_shown_once_with_what_it_belongs_to() {
    let record = TokenShown { token: token().into() };
    let minted = Minted::new(record, "dt_secret".to_owned());
    assert_snapshot!("a_new_secret_in_a_table", minted.table().as_str());
    assert_snapshot!("a_new_secret_as_json", minted.json().as_str());
    assert_eq!(minted.secret().as_str(), "dt_secret");
    assert_eq!(minted.table().matches("dt_secret").count(), 1);
    assert_eq!(minted.named(), "token 01890a5d-ac96-774b-bcce-b302099a8057");
}

#[test]
fn a_secrets_debug_is_redacted() {
    let secret = Secret(Zeroizing::new("dt_verysecret".to_owned()));
    assert_eq!(format!("{secret:?}"), "Secret([redacted])");
}

#[test]
fn accounts() {
    let shown = AccountShown { account: account().into() };
    assert_snapshot!("an_account_as_a_card", shown.table());
    assert_snapshot!("an_account_as_json", shown.json().as_str());
    let unbounded = v1::Account { token_limit_unbounded: true, suspended: true, ..account() };
    let listed = AccountsListed { accounts: vec![account().into(), unbounded.into()] };
    assert_snapshot!("accounts_in_a_table", listed.table());
}

#[test]
fn service_credentials() {
    let listed = ServiceCredentialsListed { credentials: vec![credential().into()] };
    assert_snapshot!("service_credentials_in_a_table", listed.table());
    let shown = ServiceCredentialShown { credential: credential().into() };
    assert_snapshot!("a_service_credential_as_a_card", shown.table());
    assert_snapshot!("a_service_credential_as_json", shown.json().as_str());
}

#[test]
fn who_is_calling() {
    let service = Identity::from(v1::WhoAmIResponse {
        credential_id: "01890a5d-ac96-774b-bcce-b302099a8058".to_owned(),
        label: "gateway".to_owned(),
        service_roles: vec![v1::ServiceRole::Introspector.into()],
        ..v1::WhoAmIResponse::default()
    });
    assert_snapshot!("a_service_is_calling", service.table());
    let holder = Identity::from(v1::WhoAmIResponse {
        account: Some(account()),
        credential_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        label: "ci".to_owned(),
        scopes: vec!["trading:read".to_owned()],
        expire_time: Some(time(1_924_992_000)),
        ..v1::WhoAmIResponse::default()
    });
    assert_snapshot!("a_holder_is_calling", holder.table());
}

#[test]
fn counts_are_numbers_and_nothing_is_an_empty_object() {
    assert_snapshot!(
        TokensRevoked { revoked_count: 3 }.json().replace('\n', ""),
        @r#"{  "revokedCount": 3}"#
    );
    assert_eq!(TokenRevoked { token: None }.json().as_str(), "{}");
}

#[test]
fn nothing_that_a_terminal_obeys_gets_through() {
    let hostile = v1::Token {
        label: "\u{1b}[2J\u{9b}31m\r\n\t\u{202e}evil\u{e0041}".to_owned(),
        scopes: vec!["a\0b".to_owned()],
        created_by: "\u{7f}".to_owned(),
        ..token()
    };
    let listed = TokensListed { tokens: vec![hostile.clone().into()] };
    let shown = TokenShown { token: hostile.clone().into() };
    for text in [listed.table(), shown.table(), listed.json().to_string(), shown.json().to_string()] {
        let invisible: Vec<char> =
            text.chars().filter(|character| *character != '\n' && is_invisible(*character)).collect();
        assert!(invisible.is_empty(), "{invisible:?} in {text:?}");
    }
    assert_eq!(listed.table().lines().count(), 2, "a label adds no lines");

    let parsed: serde_json::Value = serde_json::from_str(&shown.json()).expect("still the same document");
    assert_eq!(parsed["token"]["label"], hostile.label);
    assert_eq!(parsed["token"]["scopes"][0], "a\0b");
}
