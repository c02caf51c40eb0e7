//! Credentials that were never handed out, though their form is right.

use std::convert::Infallible;

use token_authority::domain::{
    credential::{Forms, Kind, Prefix, Secret},
    id::CredentialId,
    time::Timestamp,
};

/// The prefixes by default.
pub(crate) fn forms() -> Forms {
    let prefix = |text| Prefix::new(text).expect("well-formed");
    Forms::new(prefix("dt"), prefix("ds"), prefix("svc")).expect("they differ")
}

/// The 32 digits of a secret that nobody was given.
pub(crate) fn secret() -> Secret {
    let mut byte = 0;
    let Ok(secret) = Secret::draw(|bytes| {
        bytes.fill_with(|| {
            byte += 1;
            byte
        });
        Ok::<_, Infallible>(())
    });
    secret
}

/// A credential of a record that there is, with a secret that is not its own.
pub(crate) fn wrong_secret(credential: &str) -> String {
    let presented = forms().parse(credential).expect("a credential in its canonical form");
    let forged = forms().encode(presented.kind, presented.id, &secret()).expect("an opaque kind");
    forged.expose().to_owned()
}

/// A credential of a record that there is not.
pub(crate) fn unknown(kind: Kind) -> String {
    let id = CredentialId::at(Timestamp::from_micros(1_000_000).expect("in range"), [7; 8]);
    forms().encode(kind, id, &secret()).expect("an opaque kind").expose().to_owned()
}

/// The same body and a right checksum under another prefix.
pub(crate) fn as_kind(credential: &str, kind: Kind) -> String {
    let presented = forms().parse(credential).expect("a credential in its canonical form");
    let forged = forms().encode(kind, presented.id, &presented.unverified_secret).expect("an opaque kind");
    forged.expose().to_owned()
}
