//! Under which keys? The ring of master keys, and what is derived from each:
//! one key per purpose by HKDF-SHA-256 (RFC 5869).
//!
//! The ring's file holds lines `id:key`, the key being 32 bytes in base64. The
//! database names the current one, with a check value, never the key.

mod current;

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

pub use self::current::{Keys, KnownKey, KnownKeys, NoCurrentKey};
use super::{
    credential::Plaintext,
    digest::{CheckValue, Fingerprint},
    signing::{PublicKey, SigningKey},
};

const KEY_BYTES: usize = 32;

/// The name of a master key: 1 to 32 of lower-case letters, digits and `-`. It
/// stands in every record, and so without memory of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyId {
    // What follows the text is NUL.
    text: [u8; KEY_ID_BYTES],
}

const KEY_ID_BYTES: usize = 32;

impl KeyId {
    /// Checks the form.
    pub fn new(text: impl AsRef<str>) -> Option<Self> {
        let bytes = text.as_ref().as_bytes();
        let well_formed = (1..=KEY_ID_BYTES).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
        well_formed.then(|| {
            let mut text = [0; KEY_ID_BYTES];
            text[..bytes.len()].copy_from_slice(bytes);
            Self { text }
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let end = self.text.iter().position(|byte| *byte == 0).unwrap_or(KEY_ID_BYTES);
        std::str::from_utf8(&self.text[..end]).expect("it is ASCII")
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ring's text that cannot be read. It tells the line, never what is in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MalformedRing {
    /// A line of another form.
    #[error("line {0}: `id:key` is wanted, the id of lower-case letters, digits and '-', the key 32 bytes in base64")]
    Line(usize),
    /// The same id twice.
    #[error("line {0}: this id stands in the ring already")]
    Duplicate(usize),
    /// No key at all.
    #[error("there is no key in it")]
    Empty,
}

/// One master key and the keys derived from it.
pub struct MasterKey {
    id: KeyId,
    fingerprints: hmac::Key,
    page_tokens: LessSafeKey,
    signing_keys: LessSafeKey,
    answers: SigningKey,
    check: CheckValue,
}

impl MasterKey {
    fn derive(id: KeyId, master: &[u8; KEY_BYTES]) -> Self {
        // The salt is fixed: the master key is uniformly random already
        // (RFC 5869, section 3.1).
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"token-authority").extract(master);
        let fingerprints = Zeroizing::new(expand::<32>(&root, b"fingerprints v1"));
        Self {
            id,
            fingerprints: hmac::Key::new(hmac::HMAC_SHA256, &*fingerprints),
            page_tokens: sealing_key(&root, b"page tokens v1"),
            signing_keys: sealing_key(&root, b"signing keys v1"),
            answers: SigningKey::from_seed(&Zeroizing::new(expand(&root, b"signed answers v1"))),
            check: CheckValue::from_bytes(expand(&root, b"check value v1")),
        }
    }

    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What the database keeps to tell whether a ring holds the same key under
    /// this name; it allows no way back to the key.
    pub fn check_value(&self) -> &CheckValue {
        &self.check
    }

    /// The fingerprint of a credential under this key.
    pub fn fingerprint(&self, credential: &Plaintext) -> Fingerprint {
        let tag = hmac::sign(&self.fingerprints, credential.expose().as_bytes());
        Fingerprint::from_bytes(tag.as_ref().try_into().expect("HMAC-SHA-256 makes 32 bytes"))
    }

    /// What signs answers, and nothing else: every replica has it that has this key.
    pub fn answers(&self) -> &SigningKey {
        &self.answers
    }

    /// Seals a page token, bound to `context`.
    pub fn seal_page_token(&self, context: &[u8], content: &[u8]) -> Vec<u8> {
        seal(&self.page_tokens, context, content)
    }

    fn open_page_token(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.page_tokens, context, sealed)
    }

    /// Seals the private half of a signing key, bound to its name: it opens as no
    /// other's.
    pub fn seal_signing_key(&self, key: &SigningKey) -> SealedSigningKey {
        let sealed = seal(&self.signing_keys, key.public().id().as_str().as_bytes(), key.expose_seed());
        SealedSigningKey { under: self.id.clone(), sealed }
    }

    fn open_signing_key(&self, public: &PublicKey, sealed: &[u8]) -> Option<SigningKey> {
        let seed = Zeroizing::new(open(&self.signing_keys, public.id().as_str().as_bytes(), sealed)?);
        let key = SigningKey::from_seed(seed.as_slice().try_into().ok()?);
        (key.public() == public).then_some(key)
    }
}

/// The private half of a signing key, sealed under a master key.
#[derive(Clone, Debug)]
pub struct SealedSigningKey {
    /// The master key's name.
    pub under: KeyId,
    /// What opens under that alone.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Master keys, each under a name of its own.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Vec<Arc<MasterKey>>);

impl KeyRing {
    /// Reads the ring's text. Blank lines and lines beginning with `#` are
    /// passed over.
    pub fn parse(text: &str) -> Result<Self, MalformedRing> {
        let mut keys: Vec<Arc<MasterKey>> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, key) = line.split_once(':').ok_or(MalformedRing::Line(number))?;
            let id = KeyId::new(id).ok_or(MalformedRing::Line(number))?;
            let key = Zeroizing::new(BASE64_STANDARD.decode(key).map_err(|_| MalformedRing::Line(number))?);
            let key: &[u8; KEY_BYTES] = key.as_slice().try_into().map_err(|_| MalformedRing::Line(number))?;
            if keys.iter().any(|other| other.id == id) {
                return Err(MalformedRing::Duplicate(number));
            }
            keys.push(Arc::new(MasterKey::derive(id, key)));
        }
        if keys.is_empty() { Err(MalformedRing::Empty) } else { Ok(Self(keys)) }
    }

    /// The line that a ring's file holds for a key.
    pub fn line(id: &KeyId, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(key));
        Zeroizing::new(format!("{id}:{}\n", *encoded))
    }

    /// The key of that name.
    pub fn get(&self, id: &KeyId) -> Option<&MasterKey> {
        self.0.iter().find(|key| key.id == *id).map(AsRef::as_ref)
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &MasterKey> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The first key of the file, which a new database takes for its current
    /// one.
    pub fn first(&self) -> Option<&MasterKey> {
        self.iter().next()
    }

    /// Opens the private half of a signing key; none where the master key that
    /// sealed it is not at hand, or it was changed.
    pub fn open_signing_key(&self, public: &PublicKey, sealed: &SealedSigningKey) -> Option<SigningKey> {
        self.get(&sealed.under)?.open_signing_key(public, &sealed.sealed)
    }

    /// Opens a page token that any key at hand sealed under the same context.
    pub fn open_page_token(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.iter().find_map(|key| key.open_page_token(context, sealed))
    }
}

fn sealing_key(root: &hkdf::Prk, purpose: &[u8]) -> LessSafeKey {
    let key = Zeroizing::new(expand::<32>(root, purpose));
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &*key).expect("the key has the cipher's length"))
}

/// Seals, bound to `context`. Deterministic: AES-GCM-SIV (RFC 8452) leaks no more
/// than equality under a repeated nonce.
fn seal(key: &LessSafeKey, context: &[u8], content: &[u8]) -> Vec<u8> {
    // Reserved whole, so that no copy is left behind by growing.
    let mut sealed = Vec::with_capacity(content.len() + AES_256_GCM_SIV.tag_len());
    sealed.extend_from_slice(content);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(context), &mut sealed)
        .expect("what is sealed is far below the cipher's limit");
    sealed
}

fn open(key: &LessSafeKey, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut content = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let length = key.open_in_place(nonce, Aad::from(context), &mut content).ok()?.len();
    content.truncate(length);
    Some(content)
}

struct Bytes(usize);

impl hkdf::KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const LENGTH: usize>(root: &hkdf::Prk, purpose: &[u8]) -> [u8; LENGTH] {
    let mut key = [0; LENGTH];
    root.expand(&[purpose], Bytes(LENGTH))
        .and_then(|okm| okm.fill(&mut key))
        .expect("the length is far below the limit of HKDF");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> KeyRing {
        KeyRing::parse(text).expect("well-formed")
    }

    fn first(ring: &KeyRing) -> &MasterKey {
        ring.first().expect("a ring that was read holds a key")
    }

    fn line(id: &str, byte: u8) -> String {
        KeyRing::line(&KeyId::new(id).expect("well-formed"), &[byte; 32]).to_string()
    }

    #[test]
    fn a_ring_reads_what_it_wrote_and_refuses_the_rest() {
        let ring = ring(&format!("# ours\n\n{}{}", line("a", 1), line("b", 2)));
        assert_eq!(first(&ring).id().as_str(), "a");
        assert!(ring.get(&KeyId::new("b").expect("well-formed")).is_some());

        assert_eq!(KeyRing::parse("").err(), Some(MalformedRing::Empty));
        assert_eq!(KeyRing::parse("a").err(), Some(MalformedRing::Line(1)));
        assert_eq!(KeyRing::parse("a:AAAA").err(), Some(MalformedRing::Line(1)));
        assert_eq!(
            KeyRing::parse(&format!("{}{}", line("a", 1), line("a", 2))).err(),
            Some(MalformedRing::Duplicate(2))
        );
    }

    #[test]
    fn check_values_tell_keys_apart() {
        let (one, two) = (ring(&line("a", 1)), ring(&line("a", 2)));
        assert!(!first(&one).check_value().matches(first(&two).check_value()));
        assert!(first(&one).check_value().matches(first(&ring(&line("a", 1))).check_value()));
    }

    #[test]
    fn page_tokens_open_only_unchanged_and_in_their_own_context() {
        let one = ring(&line("a", 1));
        let sealed = first(&one).seal_page_token(b"context", b"content");
        assert_eq!(one.open_page_token(b"context", &sealed).as_deref(), Some(b"content".as_slice()));
        assert_eq!(one.open_page_token(b"another", &sealed), None);
        for position in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert_eq!(one.open_page_token(b"context", &flipped), None);
        }
        assert_eq!(one.open_page_token(b"context", b""), None);
        assert_eq!(ring(&line("a", 2)).open_page_token(b"context", &sealed), None);
        let both = ring(&format!("{}{}", line("b", 2), line("a", 1)));
        assert!(both.open_page_token(b"context", &sealed).is_some());
    }

    #[test]
    fn signing_keys_open_only_unchanged_as_their_own_and_under_the_key_that_sealed_them() {
        let both = ring(&format!("{}{}", line("a", 1), line("b", 2)));
        let [one, other] = [7, 8].map(|byte| SigningKey::from_seed(&[byte; 32]));
        let sealed = first(&both).seal_signing_key(&one);
        let opened = both.open_signing_key(one.public(), &sealed).expect("it opens");
        assert_eq!(opened.expose_seed(), one.expose_seed());
        assert!(!sealed.sealed.windows(8).any(|window| window == &one.expose_seed()[..8]));

        assert!(both.open_signing_key(other.public(), &sealed).is_none(), "it is another's");
        let elsewhere =
            |under: &str| SealedSigningKey { under: KeyId::new(under).expect("well-formed"), ..sealed.clone() };
        assert!(both.open_signing_key(one.public(), &elsewhere("b")).is_none());
        assert!(both.open_signing_key(one.public(), &elsewhere("c")).is_none());
        for position in 0..sealed.sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped.sealed[position / 8] ^= 1 << (position % 8);
            assert!(both.open_signing_key(one.public(), &flipped).is_none());
        }
        // Another purpose, another key.
        let page = first(&both).seal_page_token(one.public().id().as_str().as_bytes(), one.expose_seed());
        assert!(both.open_signing_key(one.public(), &SealedSigningKey { sealed: page, ..sealed }).is_none());
    }

    #[test]
    fn keys_are_not_printed() {
        let printed = format!("{:?}", ring(&line("a", 1)));
        assert_eq!(printed, r#"KeyRing([MasterKey { id: KeyId("a"), .. }])"#);
    }
}
