use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const JTI: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn signed() -> WebToken {
    let party = |text: &str| Party::new(text).expect("well-formed");
    let time = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).expect("in range");
    let claims = Claims {
        issuer: &party("https://authority.example"),
        audience: &party("utmstack"),
        client: "anybody",
        account: &"ada".parse().expect("well-formed"),
        username: Some(&Username::new("Ada").expect("well-formed")),
        id: JTI.parse().expect("canonical"),
        issue_time: time(4_000_000_000),
        expire_time: time(4_000_000_900),
    };
    WebToken::sign(&claims, &key())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these parts.
fn of(header: &[u8], payload: &[u8], signature: &[u8]) -> String {
    format!("{}.{}.{}", encode(header), encode(payload), encode(signature))
}

fn header() -> Value {
    json!({ "typ": TYPE, "alg": ALGORITHM, "kid": "k".repeat(43) })
}

fn with_payload(payload: &[u8]) -> String {
    of(header().to_string().as_bytes(), payload, &[0; SIGNATURE_BYTES])
}

fn with_header(header: &[u8]) -> String {
    of(header, json!({ "jti": JTI }).to_string().as_bytes(), &[0; SIGNATURE_BYTES])
}

fn is_one(text: &str) -> bool {
    WebToken::recognize(text).is_some()
}

#[test]
fn what_is_signed_verifies_and_is_recognized() {
    let token = signed();
    let text = token.plaintext.expose();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["utmstack"]);
    validation.set_issuer(&["https://authority.example"]);
    let verified = decode::<Value>(text, &DecodingKey::from_ed_der(key().public().as_bytes()), &validation);
    let verified = verified.expect("it verifies");
    let claims = json!({
        "iss": "https://authority.example", "aud": "utmstack", "sub": "ada", "client_id": "anybody", "jti": JTI,
        "iat": 4_000_000_000_i64, "exp": 4_000_000_900_i64, "preferred_username": "Ada",
    });
    assert_eq!(verified.claims, claims);
    let kid = key().public().id().to_string();
    assert_eq!((verified.header.typ.as_deref(), verified.header.kid), (Some("at+jwt"), Some(kid)));

    let recognized = WebToken::recognize(text).expect("it has the form");
    assert_eq!(recognized.id.to_string(), JTI);
    assert_eq!(recognized.plaintext.expose(), text);
    assert!(token.hint().starts_with("eyJ…") && text.ends_with(&token.hint()["eyJ…".len()..]));
    let printed = format!("{recognized:?}");
    assert!(!text.split('.').any(|part| printed.contains(part)), "{printed}");
}

#[test]
fn the_longest_of_ours_is_recognized() {
    let longest = "\u{e000}".repeat(85);
    let party = Party::new("p".repeat(255)).expect("well-formed");
    let claims = Claims {
        issuer: &party,
        audience: &party,
        client: "service:01890a5d-ac96-774b-bcce-b302099a8057",
        account: &"a".repeat(128).parse().expect("well-formed"),
        username: Some(&Username::from_stored(longest.clone(), longest)),
        id: JTI.parse().expect("canonical"),
        issue_time: Timestamp::MAX,
        expire_time: Timestamp::MAX,
    };
    let token = WebToken::sign(&claims, &key());
    assert!(is_one(token.plaintext.expose()) && token.plaintext.expose().len() < MAX_BYTES / 2);
}

#[test]
fn headers_say_what_ours_say_and_no_more() {
    assert!(is_one(&with_header(header().to_string().as_bytes())));
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("eddsa")),
        ("alg", json!(["EdDSA"])),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT")),
        ("typ", Value::Null),
        ("kid", json!("")),
        ("kid", json!("k".repeat(44))),
        ("kid", json!(format!("{}/", "k".repeat(42)))),
        ("kid", json!(1)),
        ("jwk", json!({ "kty": "OKP" })),
        ("jku", json!("https://attacker.example")),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
    ] {
        let mut header = header();
        header[name] = value;
        assert!(!is_one(&with_header(header.to_string().as_bytes())), "{header}");
    }
    for name in ["typ", "alg", "kid"] {
        let mut header = header();
        header.as_object_mut().expect("an object").remove(name);
        assert!(!is_one(&with_header(header.to_string().as_bytes())), "{header}");
    }
    let twice = header().to_string().replacen('{', r#"{"alg":"none","#, 1);
    let list = json!([TYPE, ALGORITHM, "k".repeat(43)]).to_string();
    for bad in [twice.as_bytes(), list.as_bytes(), b"", b"{", b"[]", b"null", b"\"x\"", b"\xff", b"{\0}"] {
        assert!(!is_one(&with_header(bad)), "{bad:?}");
    }
}

#[test]
fn payloads_name_one_session() {
    let nested = format!(r#"{{"jti":"{JTI}","deep":{}1{}}}"#, "[".repeat(20), "]".repeat(20));
    assert!(is_one(&with_payload(nested.as_bytes())));
    let deep = format!(r#"{{"jti":"{JTI}","deep":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(is_one(&with_payload(deep.as_bytes())), "what is not read takes no stack");
    let twice = format!(r#"{{"jti":"{JTI}","jti":"{JTI}"}}"#);
    let escaped = format!(r#"{{"jti":"\u0030{}"}}"#, &JTI[1..]);
    let not_utf8 = [br#"{"a":""#.as_slice(), b"\xff", br#"","jti":""#, JTI.as_bytes(), br#""}"#].concat();
    let upper = format!(r#"{{"jti":"{}"}}"#, JTI.to_uppercase());
    let version_4 = r#"{"jti":"936da01f-9abd-4d9d-80c7-02af85c822a8"}"#;
    let trailing = format!(r#"{{"jti":"{JTI}"}}{{}}"#);
    let nul = format!("{{\"jti\":\"{JTI}\"}}\0");
    for bad in [
        twice.as_bytes(),
        escaped.as_bytes(),
        not_utf8.as_slice(),
        upper.as_bytes(),
        version_4.as_bytes(),
        trailing.as_bytes(),
        nul.as_bytes(),
        br#"{"sub":"ada"}"#,
        br#"{"jti":7}"#,
        br#"{"jti":null}"#,
        format!(r#"["{JTI}"]"#).as_bytes(),
        b"",
        b"null",
    ] {
        assert!(!is_one(&with_payload(bad)), "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn the_outer_form_is_strict() {
    let token = signed();
    let text = token.plaintext.expose();
    let (unsigned, signature) = text.rsplit_once('.').expect("three parts");
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        unsigned.to_owned(),
        format!("{unsigned}."),
        format!("{text}."),
        format!("{text}.{signature}"),
        format!("{text}="),
        format!("{text}=="),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{text}\0"),
        format!("Bearer {text}"),
        text.replace('.', ".."),
        text.replace('.', ","),
        format!("{unsigned}.{}", &signature[1..]),
        format!("{unsigned}.{}", encode([0; 63])),
        format!("{unsigned}.{}", encode([0; 65])),
        "a".repeat(MAX_BYTES + 1),
        ".".repeat(MAX_BYTES),
        with_payload(format!(r#"{{"jti":"{JTI}","long":"{}"}}"#, "a".repeat(MAX_BYTES)).as_bytes()),
    ] {
        assert!(!is_one(&bad), "{bad:?}");
    }
    // The last character of 64 bytes in base64url stands for 2 bits alone: others
    // would be another text of the same bytes.
    let last = signature.chars().last().expect("it has one");
    let others = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).filter(|other| *other != last);
    let texts = others.map(|other| format!("{}{other}", &text[..text.len() - 1]));
    assert_eq!(texts.filter(|text| is_one(text)).count(), 3);
}

#[test]
fn parties_can_be_seen() {
    assert!(Party::new("https://authority.example").is_ok() && Party::new("p".repeat(255)).is_ok());
    for bad in ["", "a\nb", "a\0", "\u{202e}", &"p".repeat(256)] {
        assert_eq!(Party::new(bad), Err(MalformedParty), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn junk_never_panics(text in "\\PC*", header in "\\PC{0,40}", payload in "\\PC{0,40}", signature: Vec<u8>) {
        let _ = WebToken::recognize(&text);
        let _ = WebToken::recognize(&of(header.as_bytes(), payload.as_bytes(), &signature));
        let _ = WebToken::recognize(&with_payload(payload.as_bytes()));
        prop_assert!(!is_one(&with_header(header.as_bytes())));
    }

    #[test]
    fn whatever_is_recognized_is_kept_as_it_was_presented(position in 0..400_usize, other: char) {
        let token = signed();
        let mut changed: Vec<char> = token.plaintext.expose().chars().collect();
        let position = position % changed.len();
        changed[position] = other;
        let changed: String = changed.into_iter().collect();
        if let Some(recognized) = WebToken::recognize(&changed) {
            prop_assert_eq!(recognized.plaintext.expose(), changed);
        }
    }
}
