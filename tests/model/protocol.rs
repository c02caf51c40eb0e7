//! The protocol, and what becomes of it where one of its rules is left out.

/// Which rules are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// All.
    Right,
    /// Who loaded something puts it into the cache, beside the rounds.
    TwoWriters,
    /// A round confirms those as well who came after it had asked.
    AskedBeforeTaken,
    /// A caller takes the answer of a load that was under way when it came.
    LoadJoined,
    /// Writers take their revision without head's lock.
    NumberBeforeLock,
    /// What was loaded is held whatever changed since.
    OldFillHeld,
    /// What was loaded is held before the round that reaches it.
    NewFillHeld,
    /// Two points of a history are the same where their revisions are.
    TagsIgnored,
    /// A reader does not look whether anything was published meanwhile.
    PublicationIgnored,
    /// The embedded database's head is known while a commit is under way.
    HeadNotDoubted,
}
