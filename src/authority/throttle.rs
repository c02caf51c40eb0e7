//! How often may a sign-in fail? So often for one username from one address, and
//! so often from one address; counted in the database, so that all replicas
//! agree.
//!
//! An attempt is charged before anything is looked into, and given back where it
//! was none: however many come at once, no more than may fail reach bcrypt.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{
    Error,
    guesses::Guess,
    passwords::{CallerOrOpen, PasswordAttempt},
    refusals::Refusals,
};
use crate::{
    domain::{
        account::{Account, AccountId, Username},
        attempts::{Bucket, BucketName, Throttling, window_end},
        network::ClientAddress,
        time::Timestamp,
    },
    store::{self, Counted, Event, Refusal, Store, Told, Transaction},
    telemetry::told_of,
};

/// So many charge at once, and so many settle what was charged, so that a flood of
/// guesses leaves the database to others; the rest wait for their turn.
const AT_ONCE: usize = 4;

/// What the audit trail is told, and its reason.
const FAILED: (&str, &str) = ("sign-in.fail", "BAD_CREDENTIALS");
const THROTTLED: (&str, &str) = ("sign-in.throttle", "TOO_MANY_ATTEMPTS");

/// Counts attempts.
#[derive(Clone, Debug)]
pub(super) struct Throttle {
    store: Store,
    refusals: Refusals,
    rules: Throttling,
    charging: Arc<Semaphore>,
    settling: Arc<Semaphore>,
    // What is told after its answer.
    telling: TaskTracker,
}

/// An attempt that was charged, to be given back where it was no failure.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    user: (BucketName, Counted),
    address: (BucketName, Counted),
    from: Option<ClientAddress>,
}

/// The buckets that an attempt is charged to.
struct Buckets {
    user: Bucket,
    address: Bucket,
    username: Option<Username>,
    from: Option<ClientAddress>,
}

impl Throttle {
    /// What the audit trail has no room for is counted among `refusals`.
    pub(super) fn new(store: Store, refusals: Refusals, rules: Throttling) -> Self {
        let turns = || Arc::new(Semaphore::new(AT_ONCE));
        Self { store, refusals, rules, charging: turns(), settling: turns(), telling: TaskTracker::new() }
    }

    /// Charges an attempt, unless too many have failed.
    pub(super) async fn charge(&self, attempt: &PasswordAttempt, caller: &CallerOrOpen) -> Result<Charge, Error> {
        let buckets = self.buckets(attempt, caller);
        let (throttle, caller) = (self.clone(), caller.clone());
        let turn = self.charging.clone().acquire_owned().await;
        self.store
            .change(async move {
                // As long as the transaction, whether or not the caller waits for it.
                let _turn = turn;
                loop {
                    if let Some(charge) = throttle.try_charge(&buckets, &caller).await? {
                        return Ok(charge);
                    }
                }
            })
            .await
    }

    /// None where others took the last places meanwhile.
    async fn try_charge(&self, buckets: &Buckets, caller: &CallerOrOpen) -> Result<Option<Charge>, Error> {
        let transaction = self.store.begin_counting().await?;
        let now = transaction.now().await?;
        let window = self.rules.window;
        let counted = transaction.attempts(&[buckets.user.name, buckets.address.name]).await?;
        let full: Vec<_> = [&buckets.user, &buckets.address]
            .into_iter()
            .filter_map(|bucket| Some((bucket, *counted.get(&bucket.name)?)))
            .filter(|(bucket, counted)| counted.goes_on(window, now) && counted.charged >= u64::from(bucket.max))
            .collect();
        if let Some(end) = full.iter().map(|(_, counted)| window_end(counted.window_start, window)).max() {
            self.tell_refusal(transaction, &full, buckets, caller).await?;
            return Err(Error::TooManyAttempts { retry_after: until(end, now) });
        }

        let mut ordered = [&buckets.user, &buckets.address];
        ordered.sort_unstable_by_key(|bucket| bucket.name);
        let [first, second] = ordered;
        let first_counted = transaction.charge_attempt(first.name, window, now).await?;
        let second_counted = transaction.charge_attempt(second.name, window, now).await?;
        if first_counted.charged > u64::from(first.max) || second_counted.charged > u64::from(second.max) {
            transaction.abandon().await?;
            return Ok(None);
        }
        transaction.commit_told(Vec::new()).await?;
        let [user, address] = if first.name == buckets.user.name {
            [first_counted, second_counted]
        } else {
            [second_counted, first_counted]
        };
        Ok(Some(Charge {
            user: (buckets.user.name, user),
            address: (buckets.address.name, address),
            from: buckets.from,
        }))
    }

    /// Gives back what was charged. Where that cannot be done, the attempt counts
    /// until the window ends.
    pub(super) async fn refund(&self, charge: Charge) {
        let store = self.store.clone();
        let turn = self.settling.clone().acquire_owned().await;
        let refunded = self.store.change(async move {
            let _turn = turn;
            let transaction = store.begin_counting().await?;
            for (bucket, counted) in charge.ordered() {
                transaction.refund_attempt(bucket, counted.window_start).await?;
            }
            transaction.commit_told(Vec::new()).await
        });
        if let Err::<_, store::Error>(error) = refunded.await {
            tracing::warn!(error = told_of(&error), "an attempt to sign in was not given back");
        }
    }

    /// Tells the audit trail of a failure, where it is an account's first from
    /// there in a window, or the first from there for names that are nobody's.
    /// Nobody waits for it, and the same is done for every name: how long this
    /// answer takes, or the next, says nothing of whether there is such an account.
    pub(super) fn tell_failure(&self, charge: Charge, account: Option<&Account>, caller: &CallerOrOpen) {
        if charge.user.1.failure_told {
            return;
        }
        let event = event(FAILED, account, charge.from, caller);
        let account = account.map(|account| account.id.clone());
        let (throttle, store) = (self.clone(), self.store.clone());
        let telling = async move {
            let turn = throttle.settling.clone().acquire_owned().await;
            let work = store.change(async move {
                let _turn = turn;
                throttle.try_tell_failure(&charge, account, event).await
            });
            if let Err(error) = work.await {
                tracing::warn!(error = told_of(&error), "the audit trail was not told of a failure");
            }
        };
        self.telling.spawn(telling.in_current_span());
    }

    async fn try_tell_failure(
        &self,
        charge: &Charge,
        account: Option<AccountId>,
        event: Event,
    ) -> Result<(), store::Error> {
        let transaction = self.store.begin_counting().await?;
        let mut is_first = true;
        for (bucket, counted) in charge.ordered() {
            if bucket == charge.user.0 || account.is_none() {
                is_first &= transaction.tell_of_attempts(bucket, counted.window_start, Told::Failure).await?;
            }
        }
        if !is_first {
            return transaction.commit_told(Vec::new()).await;
        }
        if !self.refusals.take_row_for_guess(account.as_ref()) {
            transaction.commit_told(Vec::new()).await?;
            self.refusals.note_guess(guess(FAILED, account));
            return Ok(());
        }
        let from = network(charge.from);
        tracing::warn!(account = event.account_id, from, "a sign-in failed, the first of a window");
        transaction.commit_told(vec![event]).await
    }

    /// Returns once all that failed is told. No call is taken any more.
    pub(super) async fn told(&self) {
        self.telling.close();
        self.telling.wait().await;
    }

    /// Tells the audit trail of buckets that are full, each once a window.
    async fn tell_refusal(
        &self,
        transaction: Transaction,
        full: &[(&Bucket, Counted)],
        buckets: &Buckets,
        caller: &CallerOrOpen,
    ) -> Result<(), Error> {
        let mut untold: Vec<_> = full.iter().filter(|(_, counted)| !counted.refusal_told).collect();
        if untold.is_empty() {
            return Ok(transaction.abandon().await?);
        }
        untold.sort_unstable_by_key(|(bucket, _)| bucket.name);
        let (mut events, mut without_row) = (Vec::new(), Vec::new());
        for (bucket, counted) in untold {
            if !transaction.tell_of_attempts(bucket.name, counted.window_start, Told::Refusal).await? {
                continue;
            }
            let is_of_user = bucket.name == buckets.user.name;
            let account = match &buckets.username {
                Some(username) if is_of_user => transaction.account_by_username(username).await?,
                Some(_) | None => None,
            };
            let account = account.map(|(account, _)| account);
            let account_id = account.as_ref().map(|account| account.id.clone());
            if !self.refusals.take_row_for_guess(account_id.as_ref()) {
                without_row.push(guess(THROTTLED, account_id));
                continue;
            }
            let counts = if is_of_user { "username and address" } else { "address" };
            let mut event = event(THROTTLED, account.as_ref(), buckets.from, caller);
            event.detail["counts"] = counts.into();
            event.detail["max"] = bucket.max.into();
            tracing::warn!(
                account = event.account_id,
                from = network(buckets.from),
                counts,
                max = bucket.max,
                "too many sign-ins failed: more are refused"
            );
            events.push(event);
        }
        transaction.commit_told(events).await?;
        for guess in without_row {
            self.refusals.note_guess(guess);
        }
        Ok(())
    }

    fn buckets(&self, attempt: &PasswordAttempt, caller: &CallerOrOpen) -> Buckets {
        let from = caller.address(attempt.address);
        let Throttling { max_per_user_and_address, max_per_address, window: _ } = self.rules;
        Buckets {
            user: Bucket { name: BucketName::of_user(&attempt.username, from), max: max_per_user_and_address },
            address: Bucket { name: BucketName::of_address(from), max: max_per_address },
            username: Username::new(&attempt.username).ok(),
            from,
        }
    }
}

impl Charge {
    /// Its buckets, in the order in which they are locked.
    fn ordered(&self) -> [(BucketName, Counted); 2] {
        let mut buckets = [self.user, self.address];
        buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
        buckets
    }
}

fn guess((action, reason): (&'static str, &'static str), account_id: Option<AccountId>) -> Guess {
    Guess { action, reason, account_id }
}

/// What the trail is told. Not what was typed for a username: it may be a
/// password.
fn event(
    (action, reason): (&'static str, &str),
    account: Option<&Account>,
    from: Option<ClientAddress>,
    caller: &CallerOrOpen,
) -> Event {
    let call = caller.call();
    let account_id = account.map(|account| account.id.to_string());
    Event {
        actor: caller.name(),
        actor_address: call.address.map(|address| address.to_string()),
        action: action.into(),
        target: account_id.clone().unwrap_or_else(|| network(from)),
        account_id,
        request_id: Some(call.request_id.to_string()),
        detail: serde_json::json!({ "from": network(from) }),
        refusal: Some(Refusal { reason: reason.to_owned(), count: 1 }),
    }
}

fn network(from: Option<ClientAddress>) -> String {
    from.map(|from| from.counted_with().to_string()).unwrap_or_default()
}

/// How long it is until then, and never nothing.
fn until(end: Timestamp, now: Timestamp) -> Duration {
    let micros = u64::try_from(end.as_micros() - now.as_micros()).unwrap_or_default();
    Duration::from_micros(micros.max(1))
}
