//! Every RPC by every kind of caller: one table, to be read beside the roles in
//! the contract.
//!
//! The requests are good ones, and what they destroy was made for that, so that
//! a cell tells what the caller may do and nothing else.

use std::{fmt::Write as _, time::Duration};

use prost::Message;
use token_authority::proto::v1::{
    self as proto, Account, IssueTokenRequest, PasswordCredentials, ServiceRole, Token, issue_token_request::Expiry,
    revoke_token_request::Target, sign_in_desktop_request::Who,
};

use crate::support::{
    Actor, Backend, TestServer,
    calls::{question, service_request, span, texts},
    changes::HOUR,
    contract::rpcs,
    forge, issue_request,
    legacy::LegacyToken,
    sign_in::{PASSWORD, by_account},
    wire::{Answer, Wire, framed},
};

const MANAGE: &str = "tokens:manage";

/// What a cell says for what came back; all else stands there in full.
const WORDS: [(&str, &str); 7] = [
    ("yes", "OK"),
    ("no", "PermissionDenied NOT_PERMITTED"),
    ("none", "Unauthenticated CREDENTIAL_REQUIRED"),
    ("bad", "Unauthenticated CREDENTIAL_INVALID"),
    ("too much", "PermissionDenied SCOPE_NOT_GRANTED"),
    ("no token", "NotFound TOKEN_NOT_FOUND"),
    ("no account", "NotFound ACCOUNT_NOT_FOUND"),
];

/// A kind of caller, and the credential that it calls with.
struct Caller {
    kind: &'static str,
    credential: Option<String>,
}

/// What the requests name: ada is the account of all callers that are holders,
/// ben another.
struct Targets {
    /// A token of ada's with more than any of her callers has.
    wider: String,
    /// A token of ada's with less, which is rotated over and over.
    less: String,
    /// A secret of that one, which has ended.
    ended_secret: String,
    /// Another, which is revoked over and over.
    doomed: String,
    /// The secret of a token of ben's, which is revoked over and over.
    doomed_secret: String,
    /// A session of ben's, which is ended over and over.
    doomed_session: String,
    /// A service credential that is rotated over and over.
    rotated: String,
    /// A service credential that is revoked over and over.
    revoked: String,
    /// Another number in each cell, for what can be done once.
    cell: usize,
}

on_both_databases!(every_rpc_by_every_kind_of_caller);

async fn every_rpc_by_every_kind_of_caller(backend: Backend) {
    let server = TestServer::configured(backend, None, |settings| {
        settings.self_service.manage_scope = Some(MANAGE.to_owned());
    })
    .await;
    let admin = server.admin().await;
    for account_id in ["ada", "ben"] {
        let permissions = texts(&["read", "write", MANAGE]);
        let [account_id, username] = [account_id, account_id].map(ToOwned::to_owned);
        admin.put_account(Account { account_id, username, permissions, ..Default::default() }).await;
    }
    admin.set_password("ada", PASSWORD).await.unwrap();
    let callers = callers(&server, &admin).await;
    let mut targets = targets(&admin).await;
    let wire = Wire::connect(server.server.grpc_address()).await;
    let last = server.database.scalar("SELECT max(event_time) FROM audit_events").await;
    let told = trail(&server, &last).await;

    let mut rows = Vec::new();
    for rpc in rpcs() {
        for (detail, _) in requests(&rpc.name, &targets) {
            let mut cells = Vec::new();
            for caller in &callers {
                targets.cell += 1;
                admin.put_account(Account { account_id: doomed_account(&targets), ..Default::default() }).await;
                let mut requests = requests(&rpc.name, &targets).into_iter();
                let (_, request) = requests.find(|(other, _)| *other == detail).unwrap();
                let authorization = caller.credential.as_ref().map(|credential| format!("Bearer {credential}"));
                let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
                let answer = wire.call(&rpc.path(), &headers, framed(&request)).await.unwrap();
                cells.push(outcome(&answer));
            }
            rows.push((format!("{}{detail}", rpc.name), cells));
        }
    }
    insta::assert_snapshot!("every_rpc_by_every_kind_of_caller", table(&callers, &rows));
    assert_eq!(trail(&server, &last).await, told, "nothing that was called changed or removed what the trail said");
    server.end().await;
}

/// What the audit trail says of the time until then, a line an event.
async fn trail(server: &TestServer, last: &str) -> String {
    let (id, lines) = match server.database.backend() {
        Backend::Sqlite => ("hex(id)", "group_concat(line, char(10))"),
        Backend::Postgres => ("id::text", "string_agg(line, chr(10))"),
    };
    let columns = ["actor", "actor_ip", "action", "target", "account_id", "request_id", "detail", "refusal"];
    let columns = columns.map(|column| format!("COALESCE({column}, '-')")).join(" || ' ' || ");
    let events = format!(
        "SELECT {id} || ' ' || event_time || ' ' || count || ' ' || {columns} AS line \
         FROM audit_events WHERE event_time <= {last} ORDER BY id"
    );
    server.database.scalar(&format!("SELECT {lines} FROM ({events}) AS events")).await
}

async fn callers(server: &TestServer, admin: &Actor) -> Vec<Caller> {
    let revoked = admin.create_service(service_request("revoked", &[ServiceRole::Admin])).await.unwrap();
    admin.revoke_service(&revoked.credential.credential_id).await.unwrap();
    let mut callers = vec![
        Caller { kind: "nobody", credential: None },
        Caller { kind: "garbage", credential: Some("garbage".to_owned()) },
        Caller { kind: "wrong secret", credential: Some(forge::wrong_secret(&server.database.admin_token())) },
        Caller { kind: "revoked", credential: Some(revoked.secret) },
    ];
    for (kind, role) in [
        ("introspector", ServiceRole::Introspector),
        ("issuer", ServiceRole::Issuer),
        ("login", ServiceRole::Login),
        ("trusted-login", ServiceRole::TrustedLogin),
        ("account-writer", ServiceRole::AccountWriter),
        ("auditor", ServiceRole::Auditor),
        ("admin", ServiceRole::Admin),
    ] {
        let service = admin.create_service(service_request(&format!("caller {kind}"), &[role])).await.unwrap();
        callers.push(Caller { kind, credential: Some(service.secret) });
    }
    let inherits = IssueTokenRequest { inherits_permissions: true, ..issue_request("ada", "inheriting", &[]) };
    for (kind, request) in [
        ("narrow", issue_request("ada", "narrow", &["read"])),
        ("managing", issue_request("ada", "managing", &["read", MANAGE])),
        ("inheriting", inherits),
    ] {
        callers.push(Caller { kind, credential: Some(admin.try_issue(request).await.unwrap().secret) });
    }
    let session = admin.sign_in_desktop(by_account("ada")).await.unwrap();
    callers.push(Caller { kind: "session", credential: Some(session.secret) });
    callers
}

async fn targets(admin: &Actor) -> Targets {
    let wide = &["read", "write", "delete"];
    let service = async |name| {
        let created = admin.create_service(service_request(name, &[ServiceRole::Login])).await.unwrap();
        created.credential.credential_id
    };
    let expiry = Some(Expiry::Ttl(span(HOUR)));
    let less = IssueTokenRequest { expiry, ..issue_request("ada", "less", &["read"]) };
    let less = admin.try_issue(less).await.unwrap().token;
    admin.rotate(&less.token_id, Duration::ZERO).await;
    Targets {
        wider: admin.issue("ada", "wider", wide).await.token.token_id,
        ended_secret: less.secrets[0].secret_id.clone(),
        less: less.token_id,
        doomed: admin.issue("ada", "doomed", wide).await.token.token_id,
        doomed_secret: admin.issue("ben", "doomed", wide).await.secret,
        doomed_session: admin.sign_in_desktop(by_account("ben")).await.unwrap().session.session_id,
        rotated: service("rotated").await,
        revoked: service("ended").await,
        cell: 0,
    }
}

fn doomed_account(targets: &Targets) -> String {
    format!("doomed-{}", targets.cell)
}

/// What an RPC is called with: one request, or several, each with what tells
/// them apart. A new RPC wants an arm here.
fn requests(rpc: &str, targets: &Targets) -> Vec<(&'static str, Vec<u8>)> {
    let [ada, ben] = ["ada", "ben"].map(ToOwned::to_owned);
    let [less, wider] = [&targets.less, &targets.wider].map(|id| || id.clone());
    let credentials = || PasswordCredentials { username: "ada".to_owned(), password: PASSWORD.to_owned() };
    match rpc {
        "IssueToken" => one(issue_request("ada", "issued", &["read"])),
        "GetToken" => one(proto::GetTokenRequest { token_id: wider() }),
        "ListTokens" => one(proto::ListTokensRequest { account_id: ada, ..Default::default() }),
        "UpdateToken" => {
            let request = |token_id| {
                let token = Some(Token { token_id, label: "other".to_owned(), ..Default::default() });
                let update_mask = Some(prost_types::FieldMask { paths: texts(&["label"]) });
                proto::UpdateTokenRequest { token, update_mask }.encode_to_vec()
            };
            vec![(" with less", request(less())), (" with more", request(wider()))]
        }
        "RotateToken" => {
            let request = |token_id| proto::RotateTokenRequest { token_id, ..Default::default() }.encode_to_vec();
            vec![(" with less", request(less())), (" with more", request(wider()))]
        }
        "EndTokenSecret" => {
            one(proto::EndTokenSecretRequest { token_id: less(), secret_id: targets.ended_secret.clone() })
        }
        "RevokeToken" => {
            let request = |target| proto::RevokeTokenRequest { target: Some(target), reason: 0 }.encode_to_vec();
            let by_id = request(Target::TokenId(targets.doomed.clone()));
            let by_secret = request(Target::Secret(targets.doomed_secret.clone()));
            vec![(" by id", by_id), (" by secret", by_secret)]
        }
        "RevokeAllTokens" => one(proto::RevokeAllTokensRequest { account_id: ben, ..Default::default() }),
        "ImportTokens" => {
            let mut token = LegacyToken::new(targets.cell).by_sha256("ada");
            token.scopes = texts(&["read"]);
            one(proto::ImportTokensRequest { tokens: vec![token], ..Default::default() })
        }
        "Introspect" => one(question("junk", &[])),
        "BatchIntrospect" => one(proto::BatchIntrospectRequest { requests: vec![question("junk", &[])] }),
        "ListDesktopSessions" => one(proto::ListDesktopSessionsRequest { account_id: ada, ..Default::default() }),
        "PutAccount" => {
            let account = Some(Account { account_id: ben, ..Default::default() });
            let update_mask = Some(prost_types::FieldMask { paths: texts(&["email"]) });
            one(proto::PutAccountRequest { account, update_mask })
        }
        "GetAccount" => vec![
            (" of its own", proto::GetAccountRequest { account_id: ada }.encode_to_vec()),
            (" of another", proto::GetAccountRequest { account_id: ben }.encode_to_vec()),
        ],
        "ListAccounts" => one(proto::ListAccountsRequest::default()),
        "DeleteAccount" => one(proto::DeleteAccountRequest { account_id: doomed_account(targets) }),
        "SetPassword" => one(proto::SetPasswordRequest { account_id: ben, password: PASSWORD.to_owned() }),
        "WhoAmI" => one(proto::WhoAmIRequest {}),
        "GetCatalog" => one(proto::GetCatalogRequest {}),
        "SignIn" => one(proto::SignInRequest { credentials: Some(credentials()), ..Default::default() }),
        "SignOut" => one(proto::SignOutRequest { id_token: "junk".to_owned() }),
        "SignInDesktop" => {
            let request = |who| proto::SignInDesktopRequest { who: Some(who), ..Default::default() }.encode_to_vec();
            let by_password = request(Who::Credentials(credentials()));
            vec![(" by password", by_password), (" by account", request(Who::AccountId(ada)))]
        }
        "SignOutDesktop" => one(proto::SignOutDesktopRequest { secret: "junk".to_owned() }),
        "EndSession" => one(proto::EndSessionRequest { session_id: targets.doomed_session.clone() }),
        "GetJwks" => one(proto::GetJwksRequest {}),
        "CreateServiceCredential" => one(service_request(&format!("new {}", targets.cell), &[ServiceRole::Login])),
        "ListServiceCredentials" => one(proto::ListServiceCredentialsRequest::default()),
        "RotateServiceCredential" => {
            let credential_id = targets.rotated.clone();
            one(proto::RotateServiceCredentialRequest { credential_id, ..Default::default() })
        }
        "RevokeServiceCredential" => {
            one(proto::RevokeServiceCredentialRequest { credential_id: targets.revoked.clone() })
        }
        "ListAuditEvents" => one(proto::ListAuditEventsRequest::default()),
        other => panic!("who may call {other}? Give it a request here, and review the table"),
    }
}

fn one(request: impl Message) -> Vec<(&'static str, Vec<u8>)> {
    vec![("", request.encode_to_vec())]
}

/// OK, or the refusal's code and reason, as a cell says it.
fn outcome(answer: &Answer) -> String {
    let outcome = if answer.header("grpc-status") == Some("0") {
        "OK".to_owned()
    } else {
        let refusal = answer.refusal();
        format!("{:?} {}", refusal.code, refusal.reason.unwrap_or_default())
    };
    let word = WORDS.into_iter().find(|(_, meaning)| *meaning == outcome).map(|(word, _)| word.to_owned());
    word.unwrap_or(outcome)
}

fn table(callers: &[Caller], rows: &[(String, Vec<String>)]) -> String {
    let mut text = String::new();
    for (word, meaning) in WORDS {
        writeln!(text, "{word:10} = {meaning}").unwrap();
    }
    let width_of = |column: usize| {
        let cells = rows.iter().map(|(_, cells)| cells[column].len());
        cells.chain([callers[column].kind.len()]).max().unwrap_or_default()
    };
    let header = callers.iter().map(|caller| caller.kind);
    let lines = std::iter::once(("", header.collect::<Vec<_>>()))
        .chain(rows.iter().map(|(name, cells)| (name.as_str(), cells.iter().map(String::as_str).collect())));
    for (name, cells) in lines {
        let mut line = format!("{name:26}");
        for (column, cell) in cells.into_iter().enumerate() {
            write!(line, " | {cell:width$}", width = width_of(column)).unwrap();
        }
        writeln!(text, "\n{}", line.trim_end()).unwrap();
        text.pop();
    }
    text
}
