//! Who guesses passwords, and whose? The audit trail has a row for each account and
//! network, so far as there is room in an interval; what is beyond is counted by
//! account, so that a flood of guesses fills no disk, and hides no account until very
//! many are guessed at.

use std::collections::HashMap;

use crate::{
    domain::account::AccountId,
    store::{Event, Refusal},
};

/// So many rows an interval of guesses at one account's password.
const EACH: usize = 8;
/// So many of all accounts together; and of so many are those counted apart that had no
/// row.
const MAX_OF_ACCOUNTS: usize = 256;
/// So many of names that are nobody's, and of networks as such.
const MAX_OF_NOBODY: usize = 64;

/// What a guess was, as the trail tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) action: &'static str,
    pub(super) reason: &'static str,
    /// Whose password; nobody's, or one of too many.
    pub(super) account_id: Option<AccountId>,
}

/// Those of an interval.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    // Rows that were taken.
    of_nobody: usize,
    of_accounts: usize,
    by_account: HashMap<AccountId, usize>,
    // What there was no row for.
    counted: HashMap<Option<AccountId>, HashMap<(&'static str, &'static str), u64>>,
}

impl Guesses {
    pub(super) fn take_row(&mut self, account: Option<&AccountId>) -> bool {
        let own = account.and_then(|account| self.by_account.get(account)).copied().unwrap_or_default();
        match account {
            None if self.of_nobody < MAX_OF_NOBODY => self.of_nobody += 1,
            Some(account) if own < EACH && self.of_accounts < MAX_OF_ACCOUNTS => {
                self.by_account.insert(account.clone(), own + 1);
                self.of_accounts += 1;
            }
            _ => return false,
        }
        true
    }

    pub(super) fn note(&mut self, guess: Guess, count: u64) {
        let Guess { action, reason, account_id } = guess;
        let is_told_apart = self.counted.contains_key(&account_id) || self.counted.len() < MAX_OF_ACCOUNTS;
        let counted = self.counted.entry(account_id.filter(|_| is_told_apart)).or_default();
        *counted.entry((action, reason)).or_default() += count;
    }

    /// What there was no row for, and how often.
    pub(super) fn counted(self) -> Vec<(Guess, u64)> {
        let of_account = |(account_id, counts): (Option<AccountId>, HashMap<_, _>)| {
            let told =
                move |((action, reason), count)| (Guess { action, reason, account_id: account_id.clone() }, count);
            counts.into_iter().map(told)
        };
        self.counted.into_iter().flat_map(of_account).collect()
    }
}

impl Guess {
    /// As the trail is told of so many.
    pub(super) fn told(self, count: u64) -> Event {
        let Self { action, reason, account_id } = self;
        let account_id = account_id.map(|account| account.to_string());
        Event {
            account_id: account_id.clone(),
            refusal: Some(Refusal { reason: reason.to_owned(), count }),
            ..Event::new("several", action, account_id.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: usize) -> AccountId {
        format!("account-{number}").parse().expect("an id")
    }

    fn guess(action: &'static str, account_id: Option<AccountId>) -> Guess {
        Guess { action, reason: "BAD_CREDENTIALS", account_id }
    }

    #[test]
    fn a_flood_takes_so_many_rows_and_loses_none() {
        let mut guesses = Guesses::default();
        let mut rows = 0;
        for number in 0..10_000 {
            for account in [None, Some(account(number))] {
                if guesses.take_row(account.as_ref()) {
                    rows += 1;
                } else {
                    let action = if number % 2 == 0 { "sign-in.fail" } else { "sign-in.throttle" };
                    guesses.note(guess(action, account), 1);
                }
            }
        }
        assert_eq!(rows, MAX_OF_ACCOUNTS + MAX_OF_NOBODY);
        let counted = guesses.counted();
        assert!(counted.len() <= 2 * MAX_OF_ACCOUNTS);
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 20_000 - rows as u64);
    }

    #[test]
    fn who_guesses_at_one_hides_no_other() {
        let mut guesses = Guesses::default();
        let [loud, quiet] = [account(1), account(2)];
        for _ in 0..10_000 {
            if !guesses.take_row(Some(&loud)) {
                guesses.note(guess("sign-in.fail", Some(loud.clone())), 1);
            }
            guesses.take_row(None);
        }
        assert!(guesses.take_row(Some(&quiet)));
        assert_eq!(guesses.counted(), [(guess("sign-in.fail", Some(loud)), 10_000 - EACH as u64)]);
    }
}
