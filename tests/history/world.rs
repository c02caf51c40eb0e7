//! An account that one writer changes and everybody asks about, and its history.

use std::{
    fmt,
    sync::{Mutex, MutexGuard},
};

use super::{
    check::{Moment, Read, Version, check, told},
    model::{Account, Answer, Kind, Life, MAX_TOKENS, Question, Secret, Session, State},
    random::Random,
    ways::Way,
};

/// What changes an account or what it holds, in one call.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put(Account),
    /// A token with these scopes, or one that inherits.
    Issue(Option<&'static [&'static str]>),
    /// The token of that number.
    Revoke(usize),
    /// A new secret for the token of that number; the others end, or go on.
    Rotate(usize, Overlap),
    /// The secret of that number.
    EndSecret(usize),
    /// Other scopes for the token of that number, or what its account holds.
    Update(usize, Option<&'static [&'static str]>),
    /// Every token, and every session where they are included.
    RevokeAll {
        include_sessions: bool,
    },
    /// Another password, which ends every session.
    SetPassword(String),
    /// A session, by the password.
    SignIn(Session),
    /// The session of that number and kind, by its secret.
    SignOut(usize, Session),
    /// The session of that number, by its id.
    EndSession(usize),
    Delete,
    CreateService,
    /// Ends the secret before.
    RotateService,
    RevokeService,
    /// A replica starts with a higher version of the policy.
    Policy(u64),
}

/// How long the secrets before go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    None,
    /// Longer than any history.
    Long,
}

/// What a step is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) account: String,
    pub(crate) credential: Option<String>,
    pub(crate) secret: Option<KnownSecret>,
    pub(crate) password: Option<String>,
    pub(crate) service: Option<String>,
}

/// What an acknowledged step made.
#[derive(Debug)]
pub(crate) enum Made {
    Nothing,
    Credential { id: String, secret: KnownSecret },
    Secret(KnownSecret),
    Service { id: String, secret: String },
}

/// A credential's secret, as its maker was told.
#[derive(Clone, Debug)]
pub(crate) struct KnownSecret {
    pub(crate) id: String,
    pub(crate) plaintext: String,
}

/// A question, and the secrets to ask it with.
pub(crate) struct Inquiry {
    pub(crate) question: Question,
    pub(crate) token: String,
    /// None: the administrator asks.
    pub(crate) caller: Option<String>,
}

/// An account and its history.
pub(crate) struct World {
    pub(crate) account: String,
    inner: Mutex<Inner>,
}

struct Inner {
    versions: Vec<Version<State>>,
    reads: Vec<Read<State>>,
    secrets: Vec<KnownSecret>,
    callers: Vec<String>,
    service: Option<String>,
}

/// What cannot have happened, and when.
pub(crate) struct Found {
    pub(crate) history: String,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

impl Step {
    /// What it makes of a state.
    fn apply(&self, state: &mut State) {
        match self {
            Self::Put(account) => state.account = Some(account.clone()),
            Self::Issue(scopes) => state.add(Kind::Token, *scopes),
            Self::SignIn(session) => state.add(Kind::Session(*session), None),
            Self::Rotate(token, overlap) => {
                for secret in &mut state.secrets {
                    secret.is_live &= secret.credential != *token || *overlap == Overlap::Long;
                }
                state.secrets.push(Secret { credential: *token, is_live: true });
            }
            Self::EndSecret(secret) => state.secrets[*secret].is_live = false,
            Self::Update(token, scopes) => state.credentials[*token].scopes = *scopes,
            Self::Revoke(ended) | Self::SignOut(ended, _) | Self::EndSession(ended) => {
                state.credentials[*ended].life = Life::Revoked;
            }
            Self::RevokeAll { include_sessions } => state.revoke_all(|kind| kind == Kind::Token || *include_sessions),
            Self::SetPassword(password) => {
                state.password = Some(password.clone());
                state.revoke_all(|kind| kind != Kind::Token);
            }
            Self::Delete => state.erase(),
            Self::CreateService => state.callers.push(true),
            Self::RotateService => {
                state.callers.fill(false);
                state.callers.push(true);
            }
            Self::RevokeService => state.callers.fill(false),
            Self::Policy(version) => state.policy = *version,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(account) => write!(f, "put account {account}"),
            Self::Issue(None) => f.write_str("issue a token that inherits"),
            Self::Issue(Some(scopes)) => write!(f, "issue a token with {scopes:?}"),
            Self::Revoke(token) => write!(f, "revoke token {token}"),
            Self::Rotate(token, Overlap::None) => write!(f, "rotate token {token}, without overlap"),
            Self::Rotate(token, Overlap::Long) => write!(f, "rotate token {token}, with an overlap"),
            Self::EndSecret(secret) => write!(f, "end secret {secret}"),
            Self::Update(token, None) => write!(f, "have token {token} inherit"),
            Self::Update(token, Some(scopes)) => write!(f, "give token {token} {scopes:?}"),
            Self::RevokeAll { include_sessions: false } => f.write_str("revoke all tokens"),
            Self::RevokeAll { include_sessions: true } => f.write_str("revoke all tokens and sessions"),
            Self::SetPassword(password) => write!(f, "set the password {password:?}"),
            Self::SignIn(session) => write!(f, "sign in for a {session:?} session"),
            Self::SignOut(session, _) => write!(f, "sign session {session} out"),
            Self::EndSession(session) => write!(f, "end session {session}"),
            Self::Delete => f.write_str("delete the account"),
            Self::CreateService => f.write_str("create the service"),
            Self::RotateService => f.write_str("rotate the service's secret, without overlap"),
            Self::RevokeService => f.write_str("revoke the service"),
            Self::Policy(version) => write!(f, "start with version {version} of the policy"),
        }
    }
}

impl World {
    /// An account that is not there yet, under this version of the policy.
    pub(crate) fn new(account: String, policy: u64) -> Self {
        let nothing = Version {
            state: State { policy, ..State::default() },
            what: "nothing is there".to_owned(),
            via: "nobody".to_owned(),
            start: Moment::ZERO,
            end: Some(Moment::ZERO),
        };
        let inner = Inner {
            versions: vec![nothing],
            reads: Vec::new(),
            secrets: Vec::new(),
            callers: Vec::new(),
            service: None,
        };
        Self { account, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The state that the last step is to bring about, and how many steps there
    /// were.
    pub(crate) fn state(&self) -> (State, usize) {
        let inner = self.inner();
        (inner.last().state.clone(), inner.versions.len() - 1)
    }

    /// A step is about to be taken.
    pub(crate) fn begin(&self, step: &Step, via: &str, now: Moment) -> Subject {
        let mut inner = self.inner();
        let mut state = inner.last().state.clone();
        let (credential, secret) = match step {
            Step::Revoke(number)
            | Step::Rotate(number, _)
            | Step::Update(number, _)
            | Step::SignOut(number, _)
            | Step::EndSession(number) => (Some(*number), state.live_secrets(*number).first().copied()),
            Step::EndSecret(secret) => (Some(state.secrets[*secret].credential), Some(*secret)),
            Step::Put(_)
            | Step::Issue(_)
            | Step::RevokeAll { .. }
            | Step::SetPassword(_)
            | Step::SignIn(_)
            | Step::Delete
            | Step::CreateService
            | Step::RotateService
            | Step::RevokeService
            | Step::Policy(_) => (None, None),
        };
        let subject = Subject {
            account: self.account.clone(),
            credential: credential.map(|credential| state.credentials[credential].id.clone()),
            secret: secret.map(|secret| inner.secrets[secret].clone()),
            password: state.password.clone(),
            service: inner.service.clone(),
        };
        step.apply(&mut state);
        inner.versions.push(Version { state, what: step.to_string(), via: via.to_owned(), start: now, end: None });
        subject
    }

    /// The last step was acknowledged.
    pub(crate) fn end(&self, made: Made, now: Moment) {
        let mut inner = self.inner();
        match made {
            Made::Nothing => {}
            Made::Credential { id, secret } => {
                let made = inner.last_mut().state.credentials.last_mut().expect("the step has added it");
                made.id = id;
                inner.secrets.push(secret);
            }
            Made::Secret(secret) => inner.secrets.push(secret),
            Made::Service { id, secret } => {
                inner.callers.push(secret);
                inner.service = Some(id);
            }
        }
        inner.last_mut().end = Some(now);
    }

    /// Something to ask; none while there is no secret.
    pub(crate) fn inquiry(&self, random: &mut Random) -> Option<Inquiry> {
        let inner = self.inner();
        if inner.secrets.is_empty() {
            return None;
        }
        // The latest secrets are live the most often.
        let length = inner.secrets.len();
        let recent = length.min(MAX_TOKENS);
        let secret = if random.percent(60) { length - 1 - random.index(recent) } else { random.index(length) };
        let by_service = random.percent(30) && !inner.callers.is_empty();
        let caller = by_service.then(|| {
            // The latest is live the most often.
            let length = inner.callers.len();
            if random.percent(60) { length - 1 } else { random.index(length) }
        });
        Some(Inquiry {
            question: Question { secret, caller, way: Way::any(random) },
            token: inner.secrets[secret].plaintext.clone(),
            caller: caller.map(|caller| inner.callers[caller].clone()),
        })
    }

    pub(crate) fn answered(&self, question: Question, answer: Answer, via: &str, start: Moment, end: Moment) {
        self.inner().reads.push(Read { question, answer, via: via.to_owned(), start, end });
    }

    /// What cannot have happened, if anything.
    pub(crate) fn judge(&self) -> Option<Found> {
        let inner = self.inner();
        let Inner { versions, reads, secrets: _, callers: _, service: _ } = &*inner;
        let violation = check(versions, reads).err()?;
        let culprit = &reads[violation.reads[0]];
        let from = violation.reads.iter().map(|read| reads[*read].start).min().unwrap_or_default();
        let history = format!("account {}:\n{}", self.account, told(versions, reads, &violation));
        Some(Found { history, from: from.min(versions[violation.between.0].start), to: culprit.end })
    }
}

impl Inner {
    fn last(&self) -> &Version<State> {
        self.versions.last().expect("there is the first")
    }

    fn last_mut(&mut self) -> &mut Version<State> {
        self.versions.last_mut().expect("there is the first")
    }
}
