//! What does a credential look like? `dt_` + id (22) + secret (32) + checksum
//! (6): one canonical form, so that whatever parses encodes to the same bytes,
//! and everything else is malformed before any look-up or hash.
//!
//! The checksum (CRC-32) proves form, not authenticity: it lets scanners and
//! this service throw junk away for nothing.

use std::{fmt, sync::Arc};

use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{
    base62,
    id::CredentialId,
    legacy::{InvalidLegacyForm, Legacy, LegacyForm, LegacyForms, Located},
    web_token::WebToken,
};

const ID_DIGITS: usize = 22;
const SECRET_DIGITS: usize = 32;
const CHECKSUM_DIGITS: usize = 6;
const BODY: usize = ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;
const HINT_DIGITS: usize = 4;

/// The kind of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An access token that a person or integration holds.
    Personal,
    /// What an internal service calls this authority with.
    Service,
    /// An opaque session that the desktop sign-in hands out.
    DesktopSession,
    /// A signed session token (JWT) from a password sign-in.
    WebSession,
}

/// What stands before the underscore: 1 to 16 of lower-case letters and digits,
/// a letter first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// A prefix of another form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a prefix is 1 to 16 of lower-case letters and digits, a letter first")]
pub struct MalformedPrefix;

impl Prefix {
    /// Checks the form.
    pub fn new(text: impl Into<String>) -> Result<Self, MalformedPrefix> {
        let text = text.into();
        let well_formed = text.len() <= 16
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if well_formed { Ok(Self(text)) } else { Err(MalformedPrefix) }
    }

    /// The text, without the underscore.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The random part of a credential: 32 base62 digits, 190 bits.
///
/// This alone is hashed with bcrypt, so that bcrypt's limit of 72 bytes and its
/// trouble with NUL cannot arise.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_DIGITS]);

impl Secret {
    /// Draws a secret from a source of random bytes.
    pub fn draw<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self([0; SECRET_DIGITS]);
        let mut drawn = 0;
        let mut random = Zeroizing::new([0; SECRET_DIGITS]);
        while drawn < SECRET_DIGITS {
            fill(&mut *random)?;
            for digit in random.iter().filter_map(|byte| base62::unbiased_digit(*byte)) {
                if drawn < SECRET_DIGITS {
                    secret.0[drawn] = digit;
                    drawn += 1;
                }
            }
        }
        Ok(secret)
    }

    /// The digits, for hashing alone.
    pub fn expose(&self) -> &[u8; SECRET_DIGITS] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A whole credential in its canonical text form: what its holder is shown
/// once, and what it presents.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Plaintext(String);

impl Plaintext {
    /// The text. Every place where a credential can leave this process is one
    /// that calls this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A text that is signed, or claims to be.
    pub(super) fn signed(text: String) -> Self {
        Self(text)
    }

    /// A text of another form than ours.
    pub(super) fn of_another_system(text: String) -> Self {
        Self(text)
    }

    /// Enough to recognise the credential by: `dt_…9fQ2`.
    pub fn hint(&self) -> String {
        let (prefix, body) = self.0.split_once('_').unwrap_or_default();
        let tail = &body[body.len().saturating_sub(HINT_DIGITS)..];
        format!("{prefix}_…{tail}")
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(…)")
    }
}

/// A credential taken apart. That it has the right form says nothing of
/// whether it was ever issued.
#[derive(Clone, Debug)]
pub struct Presented {
    /// What its prefix says it is.
    pub kind: Kind,
    /// Which record it claims to be.
    pub id: CredentialId,
    /// The secret to be proved.
    pub unverified_secret: Secret,
    /// The credential as it was presented.
    pub plaintext: Plaintext,
}

/// Whatever was presented, and which record it claims to be.
#[derive(Clone, Debug)]
pub enum Form {
    /// An opaque credential.
    Opaque(Presented),
    /// A signed token.
    Signed(WebToken),
    /// Another system's token, which says nothing of its record: it was searched
    /// for.
    Legacy(Located),
}

impl Form {
    /// What it says it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Opaque(presented) => presented.kind,
            Self::Signed(_) => Kind::WebSession,
            Self::Legacy(_) => Kind::Personal,
        }
    }

    /// Which record it claims to be.
    pub fn id(&self) -> CredentialId {
        match self {
            Self::Opaque(presented) => presented.id,
            Self::Signed(token) => token.id,
            Self::Legacy(located) => located.id,
        }
    }

    /// The whole of it.
    pub fn plaintext(&self) -> &Plaintext {
        match self {
            Self::Opaque(presented) => &presented.plaintext,
            Self::Signed(token) => &token.plaintext,
            Self::Legacy(located) => located.legacy.plaintext(),
        }
    }

    /// The part that bcrypt hashed of credentials of our own; other systems
    /// hashed the whole, and nothing of a signed token is.
    pub fn unverified_secret(&self) -> Option<&Secret> {
        match self {
            Self::Opaque(presented) => Some(&presented.unverified_secret),
            Self::Signed(_) | Self::Legacy(_) => None,
        }
    }

    /// What another system issued, if it did.
    pub fn legacy(&self) -> Option<&Legacy> {
        match self {
            Self::Opaque(_) | Self::Signed(_) => None,
            Self::Legacy(located) => Some(&located.legacy),
        }
    }
}

/// The prefixes in use.
#[derive(Clone, Debug)]
pub struct Forms {
    personal: Prefix,
    desktop: Prefix,
    service: Prefix,
    legacy: Arc<LegacyForms>,
}

/// Two kinds with one prefix.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the prefixes of tokens, desktop sessions and service credentials must differ")]
pub struct AmbiguousPrefixes;

impl Forms {
    /// The prefixes of the three opaque kinds, which must differ.
    pub fn new(personal: Prefix, desktop: Prefix, service: Prefix) -> Result<Self, AmbiguousPrefixes> {
        if personal == desktop || personal == service || desktop == service {
            return Err(AmbiguousPrefixes);
        }
        Ok(Self { personal, desktop, service, legacy: Arc::default() })
    }

    /// These, and the forms of other systems' tokens.
    pub fn with_legacy(self, forms: Vec<LegacyForm>) -> Result<Self, InvalidLegacyForm> {
        let legacy = LegacyForms::new(forms, &[&self.personal, &self.desktop, &self.service])?;
        Ok(Self { legacy: Arc::new(legacy), ..self })
    }

    /// The forms of other systems' tokens.
    pub fn legacy(&self) -> &LegacyForms {
        &self.legacy
    }

    /// The prefix of access tokens.
    pub fn personal(&self) -> &Prefix {
        &self.personal
    }

    /// Takes whatever was presented apart; none where it does not say itself
    /// which record it claims to be.
    pub fn recognize(&self, presented: &str) -> Option<Form> {
        match self.parse(presented) {
            Some(presented) => Some(Form::Opaque(presented)),
            None => WebToken::recognize(presented).map(Form::Signed),
        }
    }

    /// Takes a presented opaque credential apart; none where it is not of the
    /// canonical form.
    pub fn parse(&self, presented: &str) -> Option<Presented> {
        let longest = 16 + 1 + BODY;
        if presented.len() > longest {
            return None;
        }
        let (prefix, body) = presented.split_once('_')?;
        let kind = self.kind_of(prefix)?;
        let body = body.as_bytes();
        if body.len() != BODY || !body.iter().copied().all(base62::is_digit) {
            return None;
        }

        let (signed, checksum) = presented.as_bytes().split_at(presented.len() - CHECKSUM_DIGITS);
        if checksum != checksum_of(signed) {
            return None;
        }

        let (id, rest) = body.split_at(ID_DIGITS);
        let id = Uuid::from_u128(base62::decode(id)?);
        if id.get_version_num() != 7 || id.get_variant() != uuid::Variant::RFC4122 {
            return None;
        }
        Some(Presented {
            kind,
            id: CredentialId::from_uuid(id),
            unverified_secret: Secret(rest[..SECRET_DIGITS].try_into().ok()?),
            plaintext: Plaintext(presented.to_owned()),
        })
    }

    /// Writes a credential; none for web sessions, which are signed instead.
    pub fn encode(&self, kind: Kind, id: CredentialId, secret: &Secret) -> Option<Plaintext> {
        let prefix = self.prefix_of(kind)?;
        // Reserved whole, so that no copy is left behind by growing.
        let mut text = String::with_capacity(prefix.0.len() + 1 + BODY);
        text.push_str(&prefix.0);
        text.push('_');
        push_ascii(&mut text, &base62::encode::<ID_DIGITS>(id.uuid().as_u128()));
        push_ascii(&mut text, &secret.0);
        let checksum = checksum_of(text.as_bytes());
        push_ascii(&mut text, &checksum);
        Some(Plaintext(text))
    }

    fn prefix_of(&self, kind: Kind) -> Option<&Prefix> {
        match kind {
            Kind::Personal => Some(&self.personal),
            Kind::Service => Some(&self.service),
            Kind::DesktopSession => Some(&self.desktop),
            Kind::WebSession => None,
        }
    }

    fn kind_of(&self, prefix: &str) -> Option<Kind> {
        [Kind::Personal, Kind::Service, Kind::DesktopSession]
            .into_iter()
            .find(|kind| self.prefix_of(*kind).is_some_and(|own| own.0 == prefix))
    }
}

fn checksum_of(signed: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    base62::encode(u128::from(crc32fast::hash(signed)))
}

fn push_ascii(text: &mut String, digits: &[u8]) {
    text.extend(digits.iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn forms() -> Forms {
        let prefix = |text| Prefix::new(text).expect("well-formed");
        Forms::new(prefix("dt"), prefix("ds"), prefix("svc")).expect("they differ")
    }

    fn secret(seed: u64) -> Secret {
        let mut state = seed;
        Secret::draw(|bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = state.to_be_bytes()[0];
            }
            Ok::<_, Infallible>(())
        })
        .expect("infallible")
    }

    prop_compose! {
        fn credential()(kind in prop_oneof![Just(Kind::Personal), Just(Kind::Service), Just(Kind::DesktopSession)],
                        micros in 0..253_402_300_799_999_999_i64, random: [u8; 8], seed: u64) -> (Kind, CredentialId, Plaintext) {
            let time = super::super::time::Timestamp::from_micros(micros).expect("in range");
            let id = CredentialId::at(time, random);
            (kind, id, forms().encode(kind, id, &secret(seed)).expect("opaque"))
        }
    }

    proptest! {
        #[test]
        fn what_is_minted_parses_to_the_same((kind, id, plaintext) in credential()) {
            let presented = forms().parse(plaintext.expose()).expect("canonical");
            prop_assert_eq!(presented.kind, kind);
            prop_assert_eq!(presented.id, id);
            let again = forms().encode(kind, id, &presented.unverified_secret).expect("opaque");
            prop_assert_eq!(again.expose(), plaintext.expose());
        }

        #[test]
        fn whatever_parses_encodes_to_the_same_bytes(text in "(dt|ds|svc)_[0-9A-Za-z]{60}") {
            // Random text seldom has the right checksum: give it one.
            let body = &text[..text.len() - CHECKSUM_DIGITS];
            let mut fixed = body.to_owned();
            push_ascii(&mut fixed, &checksum_of(body.as_bytes()));
            for candidate in [text.as_str(), fixed.as_str()] {
                if let Some(presented) = forms().parse(candidate) {
                    let again = forms().encode(presented.kind, presented.id, &presented.unverified_secret).expect("opaque");
                    prop_assert_eq!(again.expose(), candidate);
                }
            }
        }

        #[test]
        fn every_changed_character_is_refused((_, _, plaintext) in credential(), other: char) {
            let characters: Vec<char> = plaintext.expose().chars().collect();
            for position in 0..characters.len() {
                if characters[position] == other {
                    continue;
                }
                let mut changed = characters.clone();
                changed[position] = other;
                prop_assert!(forms().parse(&changed.into_iter().collect::<String>()).is_none(), "at {}", position);
            }
        }

        #[test]
        fn truncated_extended_and_padded_forms_are_refused((_, _, plaintext) in credential(), extra in "[ \\t\\n\\x00a-z]{1,3}") {
            let text = plaintext.expose();
            for end in 0..text.len() {
                prop_assert!(forms().parse(&text[..end]).is_none());
            }
            let (after, before) = (format!("{text}{extra}"), format!("{extra}{text}"));
            prop_assert!(forms().parse(&after).is_none());
            prop_assert!(forms().parse(&before).is_none());
        }

        #[test]
        fn junk_never_panics(text in "\\PC*") {
            let _ = forms().parse(&text);
        }
    }

    #[test]
    fn every_digit_changed_to_every_other_digit_is_refused() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("canonical");
        let plaintext = forms().encode(Kind::Personal, id, &secret(7)).expect("opaque");
        let text = plaintext.expose().as_bytes();
        for position in 0..text.len() {
            for other in 0x20..0x7f_u8 {
                if other == text[position] {
                    continue;
                }
                let mut changed = text.to_vec();
                changed[position] = other;
                let changed = String::from_utf8(changed).expect("ASCII");
                assert!(forms().parse(&changed).is_none(), "{changed}");
            }
        }
    }

    #[test]
    fn an_id_over_128_bits_is_refused_even_with_a_checksum() {
        let mut text = format!("dt_{}{}", "z".repeat(ID_DIGITS), "0".repeat(SECRET_DIGITS));
        let checksum = checksum_of(text.as_bytes());
        push_ascii(&mut text, &checksum);
        assert!(forms().parse(&text).is_none());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("canonical");
        let plaintext = forms().encode(Kind::Personal, id, &secret(7)).expect("opaque");
        let presented = forms().parse(plaintext.expose()).expect("canonical");
        let printed = format!("{presented:?} {plaintext:?} {:?}", secret(7));
        let secret = String::from_utf8(presented.unverified_secret.expose().to_vec()).expect("ASCII");
        assert!(!printed.contains(&secret));
        assert_eq!(plaintext.hint().chars().count(), "dt_…9fQ2".chars().count());
        assert!(plaintext.expose().ends_with(&plaintext.hint()["dt_…".len()..]));
    }

    #[test]
    fn prefixes_are_checked() {
        for bad in ["", "DT", "d_t", "1t", "abcdefghijklmnopq", "dé"] {
            assert_eq!(Prefix::new(bad), Err(MalformedPrefix), "{bad}");
        }
        let dt = Prefix::new("dt").expect("well-formed");
        let svc = Prefix::new("svc").expect("well-formed");
        assert_eq!(Forms::new(dt.clone(), dt, svc).err(), Some(AmbiguousPrefixes));
    }
}
