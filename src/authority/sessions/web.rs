//! Signing in by a username and password, for a signed token.

use std::{collections::BTreeSet, time::Duration};

use smallvec::smallvec;

use crate::{
    authority::{Authority, CallerOrOpen, Error, Opened, PasswordAttempt, Targets},
    domain::{
        account::Account,
        caller::{Call, Entrance},
        credential::Kind,
        digest::{SecretHash, Sha256Digest},
        id::{AccountKey, CredentialId, SecretId},
        network::{ClientAddress, Networks},
        record::{Grant, Record, SecretRecord},
        role::Roles,
        signing::SigningKey,
        time::Timestamp,
        web_token::{Claims, Party, WebToken},
    },
    random,
    store::{Change, Event, Lock, Subject, Transaction},
};

/// What a token is called in records.
const LABEL: &str = "Web session";

/// What the settings say of the tokens of web sessions.
#[derive(Clone, Debug)]
pub struct WebTokens {
    /// Who signs them.
    pub issuer: Party,
    /// For whom they are.
    pub audience: Party,
    /// How long they live.
    pub lifetime: Duration,
}

/// A web session that was opened.
#[derive(Debug)]
pub struct SignedIn {
    /// Its token.
    pub token: WebToken,
    /// When it was opened.
    pub issue_time: Timestamp,
    /// When it ends.
    pub expire_time: Timestamp,
}

/// A transaction in which an account that is to be signed in to is locked.
struct Entered {
    transaction: Transaction,
    now: Timestamp,
    account: Option<Account>,
    // As it was judged again.
    by: CallerOrOpen,
}

impl Authority {
    /// Opens a web session for whomever a username and password belong to.
    pub async fn sign_in(&self, entrance: Entrance, attempt: PasswordAttempt) -> Result<SignedIn, Error> {
        // Where the current master key is lacking, nothing is told of passwords either.
        self.keys.now().current()?;
        let verified = self.verify_password(&attempt, &by(&entrance)).await?;
        let authority = self.clone();
        self.store
            .change(async move {
                let entered = authority.enter(&entrance, verified.account).await?;
                let Entered { transaction, now, account, by } = entered;
                let account = account.filter(|account| !account.suspended).ok_or(Error::BadCredentials)?;
                if !verified.confirm(&transaction, &account).await? {
                    return Err(Error::BadCredentials);
                }

                let key = authority.signing_key(&transaction).await?;
                let signed_in = authority.token(&account, &by, now, &key)?;
                let SignedIn { token, issue_time: _, expire_time } = &signed_in;
                let record = Record {
                    id: token.id,
                    kind: Kind::WebSession,
                    account: Some(account.key),
                    label: LABEL.into(),
                    grant: Grant::Inherits,
                    roles: Roles::NONE,
                    networks: Networks::ANY,
                    hint: token.hint(),
                    generation: account.generations.sessions,
                    created_by: by.name(),
                    imported: false,
                    create_time: now,
                    expire_time: Some(*expire_time),
                    rotate_time: None,
                    revocation: None,
                    secrets: smallvec![authority.secret_of(token, now)?],
                };
                transaction.insert_credential(&record, None).await?;
                let event = event(&by, token.id, &account, by.address(attempt.address));
                transaction.commit(Change::new([Subject::Credential(token.id)], event)).await?;
                Ok(signed_in)
            })
            .await
    }

    /// Begins, and locks the account; where a caller wants somebody signed in, it
    /// is judged again.
    async fn enter(&self, entrance: &Entrance, key: AccountKey) -> Result<Entered, Error> {
        let transaction = self.store.begin().await?;
        let accounts = BTreeSet::from([key]);
        match entrance {
            Entrance::Permitted(permit) => {
                let targets = Targets { accounts, ..Targets::default() };
                let opened = self.open(transaction, permit, targets).await?;
                let account = opened.account(key).cloned();
                let Opened { transaction, now, caller, .. } = opened;
                Ok(Entered { transaction, now, account, by: CallerOrOpen::Caller(caller) })
            }
            Entrance::Open(permit) => {
                // Whoever replaces the signing key holds it alone.
                transaction.lock_policy(Lock::Shared).await?;
                let account = transaction.lock_accounts(&accounts).await?.pop();
                let now = transaction.now().await?;
                Ok(Entered { transaction, now, account, by: CallerOrOpen::Open(permit.call().clone()) })
            }
        }
    }

    /// The key that signs until the transaction ends: it holds the policy.
    async fn signing_key(&self, transaction: &Transaction) -> Result<SigningKey, Error> {
        let current = transaction.current_signing_key().await?.ok_or(Error::NoSigningKey)?;
        let keys = self.keys.now();
        let opened = current.sealed.and_then(|sealed| keys.ring().open_signing_key(&current.public, &sealed));
        opened.ok_or(Error::NoSigningKey)
    }

    fn token(&self, account: &Account, by: &CallerOrOpen, now: Timestamp, key: &SigningKey) -> Result<SignedIn, Error> {
        let WebTokens { issuer, audience, lifetime } = &self.rules.web;
        // The token can say no more than a second.
        let end = now.checked_add(*lifetime).map_err(|_| Error::NoSigningKey)?;
        let expire_time = end.saturating_sub(Duration::from_micros(end.as_micros().unsigned_abs() % 1_000_000));
        let token = WebToken::sign(
            &Claims {
                issuer,
                audience,
                client: &by.name(),
                account: &account.id,
                username: account.username.as_ref(),
                id: CredentialId::at(now, random::bytes()),
                issue_time: now,
                expire_time,
            },
            key,
        );
        Ok(SignedIn { token, issue_time: now, expire_time })
    }

    /// What is kept of a token: nobody can guess what is signed, so that a digest
    /// is as good as bcrypt.
    fn secret_of(&self, token: &WebToken, now: Timestamp) -> Result<SecretRecord, Error> {
        let keys = self.keys.now();
        let key = keys.current()?;
        Ok(SecretRecord {
            id: SecretId::at(now, random::bytes()),
            hash: SecretHash::Sha256(Sha256Digest::of(token.plaintext.expose())),
            fingerprint: Some((key.id().clone(), key.fingerprint(&token.plaintext))),
            create_time: now,
            end_time: None,
        })
    }
}

fn by(entrance: &Entrance) -> CallerOrOpen {
    match entrance {
        Entrance::Permitted(permit) => CallerOrOpen::Caller(permit.caller().clone()),
        Entrance::Open(permit) => CallerOrOpen::Open(permit.call().clone()),
    }
}

fn event(by: &CallerOrOpen, id: CredentialId, account: &Account, from: Option<ClientAddress>) -> Event {
    let Call { address, request_id } = by.call();
    Event {
        actor_address: address.map(|address| address.to_string()),
        account_id: Some(account.id.to_string()),
        request_id: Some(request_id.to_string()),
        detail: serde_json::json!({ "client_ip": from.map(|from| from.to_string()) }),
        ..Event::new(by.name(), "session.sign-in", id.to_string())
    }
}
