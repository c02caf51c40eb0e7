//! What Introspect has to answer, as the contract says it: a model of one
//! account, its tokens and sessions and their secrets, and the service
//! credentials that ask about them.

use std::{collections::BTreeSet, fmt};

use token_authority::proto::v1::{InactiveReason, IntrospectResponse};

use super::{check::Register, ways::Way};

/// The plans, and how many tokens each allows; the last one's room depends on
/// the policy's version.
const SHIFTING: &str = "SHIFTING";
pub(crate) const PLANS: [(&str, usize); 3] = [("SMALL", 1), ("MEDIUM", 3), ("LARGE", MAX_TOKENS)];
/// No account is given more live tokens.
pub(crate) const MAX_TOKENS: usize = 6;

/// All that there is to know of an account.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// None: there is no such account.
    pub(crate) account: Option<Account>,
    pub(crate) credentials: Vec<Credential>,
    /// All secrets that the credentials were given.
    pub(crate) secrets: Vec<Secret>,
    /// None: the account has none.
    pub(crate) password: Option<String>,
    /// Whether a secret of the account's own service is live.
    pub(crate) callers: Vec<bool>,
    /// The policy's version.
    pub(crate) policy: u64,
}

/// What PutAccount writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) plan: &'static str,
    pub(crate) permissions: Vec<&'static str>,
    pub(crate) limited: bool,
    pub(crate) suspended: bool,
    /// New with every write, told as a role: so an answer tells which write it
    /// knows of.
    pub(crate) mark: String,
}

/// A token or a session of the account.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// None: what the account holds.
    pub(crate) scopes: Option<&'static [&'static str]>,
    pub(crate) life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Session(Session),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// A signed token, for who signed in.
    Web,
    Desktop,
}

/// A secret of the credential of that number.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) credential: usize,
    /// No rotation has ended it: an overlap lasts longer than a history.
    pub(crate) is_live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Live,
    Revoked,
    /// Its account was erased.
    Gone,
}

/// A secret, and who asks about it: the administrator, or a secret of the
/// account's service; and at which door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) secret: usize,
    pub(crate) caller: Option<usize>,
    pub(crate) way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Active {
        scopes: BTreeSet<String>,
        plan: String,
        roles: Vec<String>,
    },
    /// Why, where the door tells.
    Inactive(Option<InactiveReason>),
    /// The caller's credential is not good.
    CallerRefused,
}

impl Account {
    /// The account of a policy's version, which nothing else changes.
    pub(crate) fn shifting() -> Self {
        Self { plan: SHIFTING, permissions: vec!["shift"], limited: false, suspended: false, mark: "r0".to_owned() }
    }

    fn scopes_of(&self, credential: &Credential, policy: u64) -> BTreeSet<String> {
        let permissions = expand(&self.permissions, policy);
        match credential.scopes {
            None => permissions,
            Some(scopes) if self.limited => expand(scopes, policy).intersection(&permissions).cloned().collect(),
            Some(scopes) => expand(scopes, policy),
        }
    }

    pub(crate) fn room(&self, policy: u64) -> usize {
        if self.plan == SHIFTING {
            return shifting_room(policy);
        }
        PLANS.iter().find(|(name, _)| *name == self.plan).expect("it is one of them").1
    }
}

/// How many tokens the shifting plan allows: 1 or 2.
fn shifting_room(policy: u64) -> usize {
    if policy.is_multiple_of(2) { 1 } else { 2 }
}

/// The scopes that these include.
fn expand(scopes: &[&str], policy: u64) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = scopes.iter().map(ToString::to_string).collect();
    if all.contains("write") {
        all.insert("read".to_owned());
    }
    if all.contains("shift") {
        all.insert(step(policy));
    }
    all
}

fn step(policy: u64) -> String {
    format!("step-{policy}")
}

/// The policy's plans and categories, as settings have them.
pub(crate) fn policy(version: u64) -> [(&'static str, String); 3] {
    let plan = |(name, room): &(&str, usize)| format!(r#"{{ name = "{name}", max_tokens = {room} }}"#);
    let plans: Vec<_> = PLANS.iter().chain([&(SHIFTING, shifting_room(version))]).map(plan).collect();
    let step = step(version);
    let scopes = format!(
        r#"{{ name = "read" }}, {{ name = "write", implies = ["read"] }}, {{ name = "shift", implies = ["{step}"] }}, {{ name = "{step}" }}"#
    );
    [
        ("VERSION", version.to_string()),
        ("PLANS", format!("[{}]", plans.join(", "))),
        ("CATEGORIES", format!(r#"[{{ name = "All", scopes = [{scopes}] }}]"#)),
    ]
}

impl State {
    fn is_live(&self, credential: &Credential) -> bool {
        credential.life == Life::Live && self.account.is_some()
    }

    /// The numbers of the live tokens, which count against the plan.
    pub(crate) fn live_tokens(&self) -> Vec<usize> {
        self.live(|kind| kind == Kind::Token)
    }

    /// The numbers of the live sessions.
    pub(crate) fn live_sessions(&self) -> Vec<usize> {
        self.live(|kind| kind != Kind::Token)
    }

    fn live(&self, is_of: impl Fn(Kind) -> bool) -> Vec<usize> {
        let is_meant = |credential: &Credential| is_of(credential.kind) && self.is_live(credential);
        (0..self.credentials.len()).filter(|number| is_meant(&self.credentials[*number])).collect()
    }

    /// The numbers of a credential's live secrets, the oldest first.
    pub(crate) fn live_secrets(&self, credential: usize) -> Vec<usize> {
        let is_live = |secret: &Secret| secret.credential == credential && secret.is_live;
        (0..self.secrets.len()).filter(|number| is_live(&self.secrets[*number])).collect()
    }

    /// A new credential, and its secret.
    pub(crate) fn add(&mut self, kind: Kind, scopes: Option<&'static [&'static str]>) {
        self.secrets.push(Secret { credential: self.credentials.len(), is_live: true });
        // Until its id is known: it will be the highest.
        self.credentials.push(Credential { id: "~".to_owned(), kind, scopes, life: Life::Live });
    }

    /// Revokes all that live of these kinds.
    pub(crate) fn revoke_all(&mut self, is_of: impl Fn(Kind) -> bool) {
        for number in self.live(is_of) {
            self.credentials[number].life = Life::Revoked;
        }
    }

    /// Erases the account with all that it has.
    pub(crate) fn erase(&mut self) {
        for credential in &mut self.credentials {
            credential.life = Life::Gone;
        }
        (self.account, self.password) = (None, None);
    }
}

impl Register for State {
    type Question = Question;
    type Answer = Answer;

    fn answer(&self, question: &Question) -> Answer {
        if question.caller.is_some_and(|caller| self.callers.get(caller) != Some(&true)) {
            return Answer::CallerRefused;
        }
        let inactive = |reason| Answer::Inactive((question.way != Way::OAuth).then_some(reason));
        let (Some(secret), Some(account)) = (self.secrets.get(question.secret), &self.account) else {
            return inactive(InactiveReason::Unknown);
        };
        let credential = &self.credentials[secret.credential];
        match credential.life {
            Life::Gone => return inactive(InactiveReason::Unknown),
            Life::Live if secret.is_live => {}
            Life::Live | Life::Revoked if credential.kind == Kind::Token => {
                return inactive(InactiveReason::Revoked);
            }
            Life::Live | Life::Revoked => return inactive(InactiveReason::SignedOut),
        }
        if account.suspended {
            return inactive(InactiveReason::AccountSuspended);
        }
        let older = self.live_tokens().into_iter().filter(|other| self.credentials[*other].id < credential.id).count();
        if credential.kind == Kind::Token && older >= account.room(self.policy) {
            return inactive(InactiveReason::OverPlanLimit);
        }
        Answer::Active {
            scopes: account.scopes_of(credential, self.policy),
            plan: account.plan.to_owned(),
            roles: vec![account.mark.clone()],
        }
    }
}

impl From<IntrospectResponse> for Answer {
    fn from(response: IntrospectResponse) -> Self {
        if !response.active {
            return Self::Inactive(Some(response.inactive_reason()));
        }
        Self::Active { scopes: response.scopes.into_iter().collect(), plan: response.plan, roles: response.roles }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, permissions, limited, suspended, mark } = self;
        let standing = if *suspended { "suspended" } else { "in good standing" };
        let limited = if *limited { ", limited to them" } else { "" };
        write!(f, "{mark}: {standing}, plan {plan}, holds {permissions:?}{limited}")
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of secret {}", self.way.name(), self.secret)?;
        self.caller.map_or(Ok(()), |caller| write!(f, " as service secret {caller}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active { scopes, plan, roles } => write!(f, "active, {scopes:?}, plan {plan}, {}", roles.join(" ")),
            Self::Inactive(Some(reason)) => write!(f, "inactive: {}", reason.as_str_name()),
            Self::Inactive(None) => f.write_str("inactive"),
            Self::CallerRefused => f.write_str("the caller is refused"),
        }
    }
}
