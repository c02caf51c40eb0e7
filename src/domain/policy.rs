//! Which plans and scopes are there? The policy: written in a settings file,
//! kept in the database, so that replicas cannot disagree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    account::Word,
    scope::{Scope, Scopes},
};

/// The policy as it is written, in the settings file and in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Raised with every edit: a server applies a higher version than the
    /// database's, and refuses to start when the same version differs.
    pub version: u64,
    /// The plan of accounts that name none; where absent they are refused
    /// (unless there are no plans at all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_plan: Option<String>,
    /// Whether IssueToken makes an account that it does not know. Absent: where
    /// there are neither plans nor a catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts_on_first_use: Option<bool>,
    /// Whether imported tokens count against a plan's cap.
    pub count_imported: bool,
    /// What a caller over its cap is told.
    pub limit: LimitDocument,
    /// The plans; none means no caps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<PlanDocument>,
    /// The scope catalogue; none means any well-formed scope.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<CategoryDocument>,
}

/// What a caller over its cap is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitDocument {
    /// The error metadata's `code`.
    pub code: String,
    /// The message; `{limit}` and `{plan}` are filled in.
    pub message: String,
}

impl Default for LimitDocument {
    fn default() -> Self {
        Self {
            code: "TOKEN_LIMIT_REACHED".to_owned(),
            message: "Maximum {limit} tokens allowed on your plan.".to_owned(),
        }
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanDocument {
    /// Its name.
    pub name: String,
    /// How many tokens neither revoked nor expired it allows; absent: any
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// A group of scopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryDocument {
    /// Its name.
    pub name: String,
    /// Its scopes.
    pub scopes: Vec<ScopeDocument>,
}

/// A scope of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeDocument {
    /// Its name.
    pub name: String,
    /// What it is for, in the users' words.
    #[serde(default)]
    pub description: String,
    /// Scopes that this one includes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implies: Vec<String>,
}

/// A document that contradicts itself.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPolicy {
    /// A plan's name is not a word, or stands twice.
    #[error("policy.plans: {0:?} is not a name of one word, or stands there twice")]
    Plan(String),
    /// The default plan is none of the plans.
    #[error("policy.default_plan: there is no plan {0:?}")]
    DefaultPlan(String),
    /// A scope is malformed, or stands twice.
    #[error("policy.categories: {0:?} is not a scope, or stands there twice")]
    Scope(String),
    /// A scope implies one that is not in the catalogue.
    #[error("policy.categories: {0:?} implies {1:?}, which is not in the catalogue")]
    Implied(String, String),
}

/// How many tokens an account may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Any number.
    Unbounded,
    /// So many.
    AtMost(u32),
    /// Its plan is not in the policy (any more): nothing that it holds is good.
    UnknownPlan,
}

/// A checked policy, ready to judge by.
#[derive(Clone, Debug)]
pub struct Policy {
    document: Document,
    plans: BTreeMap<String, Option<u32>>,
    // Each scope of the catalogue with all that it implies, itself included.
    implied: BTreeMap<Scope, Scopes>,
}

impl Policy {
    /// Checks a document.
    pub fn new(document: Document) -> Result<Self, InvalidPolicy> {
        let mut plans = BTreeMap::new();
        for plan in &document.plans {
            let known = plans.insert(plan.name.clone(), plan.max_tokens).is_some();
            if known || plan.name.parse::<Word>().is_err() {
                return Err(InvalidPolicy::Plan(plan.name.clone()));
            }
        }
        if let Some(name) = document.default_plan.as_ref().filter(|name| !plans.contains_key(*name)) {
            return Err(InvalidPolicy::DefaultPlan(name.clone()));
        }
        let implied = close_over_implications(&document.categories)?;
        Ok(Self { document, plans, implied })
    }

    /// As it was written.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The plan that an account is on; none where there are no plans.
    pub fn plan_of<'a>(&'a self, plan: Option<&'a Word>) -> Option<&'a str> {
        plan.map(Word::as_str).or(self.document.default_plan.as_deref())
    }

    /// How many tokens an account on that plan may have.
    pub fn room(&self, plan: Option<&Word>) -> Room {
        if self.plans.is_empty() {
            return Room::Unbounded;
        }
        match self.plan_of(plan).and_then(|name| self.plans.get(name)) {
            Some(Some(max_tokens)) => Room::AtMost(*max_tokens),
            Some(None) => Room::Unbounded,
            None => Room::UnknownPlan,
        }
    }

    /// Whether any plan has a cap.
    pub fn has_caps(&self) -> bool {
        self.plans.values().any(Option::is_some)
    }

    /// Whether IssueToken makes an account that it does not know.
    pub fn makes_accounts(&self) -> bool {
        self.document.accounts_on_first_use.unwrap_or(self.plans.is_empty() && self.implied.is_empty())
    }

    /// Whether imported tokens count against the cap.
    pub fn counts_imported(&self) -> bool {
        self.document.count_imported
    }

    /// Whether a token may be given this scope.
    pub fn knows(&self, scope: &Scope) -> bool {
        self.implied.is_empty() || self.implied.contains_key(scope)
    }

    /// The scopes with all that they imply.
    pub fn expand(&self, scopes: &Scopes) -> Scopes {
        let implied = || scopes.iter().filter_map(|scope| self.implied.get(scope)).flat_map(Scopes::iter);
        if implied().all(|scope| scopes.contains(scope.as_str())) {
            return scopes.clone();
        }
        scopes.iter().chain(implied()).cloned().collect()
    }

    /// What a caller over its cap is told.
    pub fn limit_message(&self, limit: u32, plan: &str) -> String {
        self.document.limit.message.replace("{limit}", &limit.to_string()).replace("{plan}", plan)
    }
}

fn close_over_implications(categories: &[CategoryDocument]) -> Result<BTreeMap<Scope, Scopes>, InvalidPolicy> {
    let mut direct: BTreeMap<Scope, Vec<Scope>> = BTreeMap::new();
    for scope in categories.iter().flat_map(|category| &category.scopes) {
        let malformed = |_| InvalidPolicy::Scope(scope.name.clone());
        let name: Scope = scope.name.parse().map_err(malformed)?;
        let implies = scope.implies.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(malformed)?;
        if direct.insert(name, implies).is_some() {
            return Err(InvalidPolicy::Scope(scope.name.clone()));
        }
    }
    direct.keys().map(|scope| Ok((scope.clone(), reachable(scope, &direct)?.into_iter().collect()))).collect()
}

fn reachable(from: &Scope, direct: &BTreeMap<Scope, Vec<Scope>>) -> Result<BTreeSet<Scope>, InvalidPolicy> {
    let mut reached = BTreeSet::from([from.clone()]);
    let mut open = VecDeque::from([from]);
    while let Some(scope) = open.pop_front() {
        for implied in &direct[scope] {
            if !direct.contains_key(implied) {
                return Err(InvalidPolicy::Implied(scope.to_string(), implied.to_string()));
            }
            if reached.insert(implied.clone()) {
                open.push_back(implied);
            }
        }
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(scopes: &[(&str, &[&str])]) -> Document {
        let scopes = scopes
            .iter()
            .map(|(name, implies)| ScopeDocument {
                name: (*name).to_owned(),
                description: String::new(),
                implies: implies.iter().map(ToString::to_string).collect(),
            })
            .collect();
        Document { categories: vec![CategoryDocument { name: "All".to_owned(), scopes }], ..Document::default() }
    }

    fn scopes(names: &[&str]) -> Scopes {
        names.iter().map(|name| name.parse::<Scope>().expect("well-formed")).collect()
    }

    #[test]
    fn implications_reach_all_the_way_and_may_go_in_circles() {
        let policy = Policy::new(catalogue(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &[])])).expect("valid");
        assert_eq!(policy.expand(&scopes(&["a"])), scopes(&["a", "b", "c"]));
        assert_eq!(policy.expand(&scopes(&["d", "unknown"])), scopes(&["d", "unknown"]));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(
            Policy::new(catalogue(&[("a", &["b"])])).err(),
            Some(InvalidPolicy::Implied("a".into(), "b".into()))
        );
        assert_eq!(Policy::new(catalogue(&[("a", &[]), ("a", &[])])).err(), Some(InvalidPolicy::Scope("a".into())));
        let document = Document { default_plan: Some("PRO".into()), ..Document::default() };
        assert_eq!(Policy::new(document).err(), Some(InvalidPolicy::DefaultPlan("PRO".into())));
    }

    #[test]
    fn an_unknown_plan_has_no_room_and_no_plans_have_no_bound() {
        let plan = |name: &str, max_tokens| PlanDocument { name: name.into(), max_tokens };
        let policy = Policy::new(Document {
            plans: vec![plan("FREE", Some(0)), plan("BIG", None)],
            default_plan: Some("FREE".into()),
            ..Document::default()
        })
        .expect("valid");
        let word = |text: &str| text.parse::<Word>().expect("a word");
        assert_eq!(policy.room(None), Room::AtMost(0));
        assert_eq!(policy.room(Some(&word("BIG"))), Room::Unbounded);
        assert_eq!(policy.room(Some(&word("GONE"))), Room::UnknownPlan);

        let none = Policy::new(Document::default()).expect("valid");
        assert_eq!(none.room(Some(&word("ANY"))), Room::Unbounded);
        assert!(none.makes_accounts());
        assert!(!policy.makes_accounts());
    }
}
