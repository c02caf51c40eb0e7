//! Service credentials: what internal services call this authority with.

use std::{collections::BTreeSet, time::Duration};

use smallvec::smallvec;

use super::{
    Authority, Error, Minted, PageRequest, Targets, live_secrets,
    rotate::{Rotated, Rotation},
};
use crate::{
    domain::{
        caller::Permit,
        credential::Kind,
        id::{CredentialId, SecretId},
        network::Networks,
        record::{Grant, Record, Revocation, RevocationReason, Secrets},
        role::{Role, Roles},
        scope::Scopes,
        text::Label,
        time::Timestamp,
    },
    random,
    store::{Change, Event, Snapshot, Subject, Transaction, Usage},
};

/// A service credential to be made.
#[derive(Clone, Debug)]
pub struct NewService {
    /// Its name, unique among those not revoked.
    pub name: Label,
    /// What it may do; at least one.
    pub roles: Roles,
    /// Where it may be used from.
    pub networks: Networks,
    /// How long it lives; none: until revoked.
    pub ttl: Option<Duration>,
}

/// A service credential, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its record.
    pub record: Record,
    /// Its live secrets, newest first, and when each was last used.
    pub secrets: Vec<(SecretId, Option<Usage>)>,
    /// When any of its secrets was last used, ended ones among them.
    pub last_used_time: Option<Timestamp>,
}

impl Authority {
    /// Mints a service credential.
    pub async fn create_service(&self, permit: Permit, new: NewService) -> Result<Minted<ServiceView>, Error> {
        let hashed = self.hash_new_secret().await?;
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let opened = authority.open(transaction, &permit, Targets::default()).await?;
                if opened.transaction.is_service_name_taken(new.name.as_str()).await? {
                    return Err(Error::NameTaken);
                }
                let expire_time = expire_time(new.ttl, opened.now)?;
                let id = CredentialId::at(opened.now, random::bytes());
                let forms = &authority.rules.forms;
                let (plaintext, secret) =
                    hashed.mint(forms, authority.keys.now().current()?, Kind::Service, id, opened.now);
                let mut record = service_record(id, new.name.as_str(), new.roles, new.networks, opened.now);
                record.expire_time = expire_time;
                record.created_by = opened.caller.name();
                record.hint = plaintext.hint();
                record.secrets = smallvec![secret];
                // Another's of the same name may have come in between.
                opened.transaction.insert_credential(&record, None).await.map_err(name_taken)?;
                let event = service_event(opened.event("service.create", id, None), &record);
                opened.transaction.commit(Change::new([Subject::Credential(id)], event)).await.map_err(name_taken)?;
                let secrets = vec![(record.secrets[0].id, None)];
                Ok(Minted { view: ServiceView { record, secrets, last_used_time: None }, plaintext })
            })
            .await
    }

    /// A page of all service credentials, newest first, and the token of the
    /// next page.
    pub async fn list_services(
        &self,
        permit: Permit,
        include_ended: bool,
        page: PageRequest,
    ) -> Result<(Vec<ServiceView>, String), Error> {
        let authority = self.clone();
        self.store
            .read(async move {
                let page = authority.page(&page, &permit, &include_ended.to_string())?;
                let before = page.cursor.as_deref().map(str::parse).transpose().map_err(|_| Error::InvalidPageToken)?;
                let snapshot = authority.store.snapshot().await?;
                let now = snapshot.now().await?;
                let mut records = snapshot.list_services(include_ended, before, page.limit(), now).await?;
                let next = authority.cut(&page, &mut records, |record| record.id.to_string())?;
                let views = views(&snapshot, now, records).await?;
                snapshot.end().await?;
                Ok((views, next))
            })
            .await
    }

    /// Gives a service credential a new secret; the old one works until the
    /// overlap ends.
    pub async fn rotate_service(&self, permit: Permit, rotation: Rotation) -> Result<Minted<ServiceView>, Error> {
        let hashed = self.hash_for_rotation(&rotation).await?;
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                let id = rotation.id;
                let targets = Targets { credentials: BTreeSet::from([id]), ..Targets::default() };
                let opened = authority.open(transaction, &permit, targets).await?;
                let record = opened.record(id).filter(|record| record.kind == Kind::Service);
                let record = record.ok_or(Error::ServiceNotFound)?;
                if record.revocation.is_some() || record.has_expired(opened.now) {
                    return Err(Error::Ended);
                }
                let Rotated { record, plaintext, detail } =
                    authority.rotate(&opened, record, &rotation, hashed).await?;
                let mut event = service_event(opened.event("service.rotate", id, None), &record);
                event.detail["rotation"] = detail;
                let view = view(&opened.transaction, opened.now, record).await?;
                opened.transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
                Ok(Minted { view, plaintext })
            })
            .await
    }

    /// Ends a service credential for good.
    pub async fn revoke_service(&self, permit: Permit, id: CredentialId) -> Result<ServiceView, Error> {
        let authority = self.clone();
        self.store
            .change(async move {
                let transaction = authority.store.begin().await?;
                authority.revoke_service_in(transaction, &permit, id, None, RevocationReason::Administrative).await
            })
            .await
    }

    pub(super) async fn revoke_service_in(
        &self,
        transaction: Transaction,
        permit: &Permit,
        id: CredentialId,
        presented: Option<SecretId>,
        reason: RevocationReason,
    ) -> Result<ServiceView, Error> {
        // All admins are held, so that no two end each other at once. One made
        // meanwhile only adds to them.
        let mut credentials: BTreeSet<_> = transaction.admins().await?.iter().map(|admin| admin.id).collect();
        credentials.insert(id);
        let opened = self.open(transaction, permit, Targets { credentials, ..Targets::default() }).await?;
        let record = opened.record(id).filter(|record| record.kind == Kind::Service);
        let record = record.cloned().ok_or(Error::ServiceNotFound)?;
        if record.revocation.is_some() || presented.is_some_and(|secret| !record.is_live(secret, opened.now)) {
            let view = view(&opened.transaction, opened.now, record).await?;
            opened.transaction.abandon().await?;
            return Ok(view);
        }
        let lasts = |record: &Record| {
            record.roles.contains(Role::Admin) && record.revocation.is_none() && record.expire_time.is_none()
        };
        if lasts(&record) && !opened.records.iter().any(|other| other.id != id && lasts(other)) {
            return Err(Error::LastAdmin);
        }
        let revocation = Revocation { time: opened.now, reason };
        opened.transaction.revoke_credential(id, revocation).await?;
        let event = service_event(opened.event("service.revoke", id, None), &record);
        let record = Record { revocation: Some(revocation), ..record };
        let view = view(&opened.transaction, opened.now, record).await?;
        opened.transaction.commit(Change::new([Subject::Credential(id)], event)).await?;
        Ok(view)
    }
}

fn expire_time(ttl: Option<Duration>, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let invalid = |problem| Error::InvalidExpiry { field: "ttl", problem };
    match ttl {
        None => Ok(None),
        Some(ttl) if ttl < Duration::from_micros(1) => Err(invalid("the expiry is not in the future")),
        Some(ttl) => now.checked_add(ttl).map(Some).map_err(|_| invalid("the expiry is too far ahead")),
    }
}

/// A service credential's record, without secrets yet.
pub(super) fn service_record(id: CredentialId, name: &str, roles: Roles, networks: Networks, now: Timestamp) -> Record {
    Record {
        id,
        kind: Kind::Service,
        account: None,
        label: name.into(),
        grant: Grant::Explicit(Scopes::NONE),
        roles,
        networks,
        hint: String::new(),
        generation: 0,
        created_by: String::new(),
        imported: false,
        create_time: now,
        expire_time: None,
        rotate_time: None,
        revocation: None,
        secrets: Secrets::new(),
    }
}

fn service_event(mut event: Event, record: &Record) -> Event {
    let roles: Vec<_> = record.roles.iter().map(Role::as_str).collect();
    event.detail = serde_json::json!({ "name": &*record.label, "roles": roles });
    event
}

fn name_taken(error: crate::store::Error) -> Error {
    match error {
        crate::store::Error::Duplicate(_) => Error::NameTaken,
        other => other.into(),
    }
}

async fn view(snapshot: &Snapshot, now: Timestamp, record: Record) -> Result<ServiceView, Error> {
    let mut views = views(snapshot, now, vec![record]).await?;
    views.pop().ok_or(Error::ServiceNotFound)
}

async fn views(snapshot: &Snapshot, now: Timestamp, records: Vec<Record>) -> Result<Vec<ServiceView>, Error> {
    let usage = snapshot.usage(&records).await?;
    let views = records.into_iter().map(|record| ServiceView {
        secrets: live_secrets(&record, &usage, now),
        last_used_time: Usage::of_all(record.secrets.iter().filter_map(|secret| usage.get(&secret.id)))
            .map(|usage| usage.last_used_time),
        record,
    });
    Ok(views.collect())
}
