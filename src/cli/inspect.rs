//! `token inspect`: was a credential copied whole?
//!
//! Offline: form and checksum say whether a string can be a credential at all,
//! not whether it was ever issued, still less whether it is live. Nor is the
//! signature of a session's token looked at: the keys for it are the server's.

use clap::Args;
use serde::Serialize;

use crate::domain::{
    credential::{Forms, Prefix, Presented},
    web_token::WebToken,
};

use super::{
    Error, Exit,
    console::Console,
    input::SecretFile,
    view::{Card, View},
};

/// How many digits follow the prefix.
const BODY: usize = 60;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A file with the credential; without it standard input, or a prompt
    #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    secret_file: SecretFile,
}

/// Exits with 1 where the credential is malformed, so that scripts can tell.
pub(super) fn run(args: &InspectArgs, console: Console) -> Result<Exit, Error> {
    let inspection = inspect(&args.secret_file.read()?);
    console.show(&inspection)?;
    let is_whole = inspection.well_formed && inspection.checksum != Checksum::Invalid;
    Ok(if is_whole { Exit::Done } else { Exit::Failure })
}

/// What can be told of a credential without a server. Its secret is no part of
/// that.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    well_formed: bool,
    checksum: Checksum,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Checksum {
    Valid,
    Invalid,
    /// It has none, or there is no telling where it would be.
    Unchecked,
}

impl View for Inspection {
    fn table(&self) -> String {
        let form = if self.well_formed {
            "well-formed"
        } else {
            "not that of a credential: a prefix, an underscore, 60 letters and digits; or a session's signed token"
        };
        let checksum = match self.checksum {
            Checksum::Valid => "valid",
            Checksum::Invalid => "wrong: something was mistyped or lost",
            Checksum::Unchecked if self.well_formed => "none: its signature is not looked at here",
            Checksum::Unchecked => "",
        };
        Card::new()
            .field("Form", form)
            .field("Checksum", checksum)
            .maybe("Prefix", self.prefix.as_ref())
            .maybe("Id", self.credential_id.as_ref())
            .maybe("Hint", self.hint.as_ref())
            .render()
    }
}

fn inspect(presented: &str) -> Inspection {
    if let Some(token) = WebToken::recognize(presented) {
        return Inspection {
            well_formed: true,
            checksum: Checksum::Unchecked,
            prefix: None,
            credential_id: Some(token.id.to_string()),
            hint: Some(token.hint()),
        };
    }
    let prefix = prefix_of(presented);
    let parsed = prefix.clone().and_then(|prefix| parse(prefix, presented));
    let checksum = match (&parsed, &prefix) {
        (Some(_), _) => Checksum::Valid,
        (None, Some(_)) => Checksum::Invalid,
        (None, None) => Checksum::Unchecked,
    };
    Inspection {
        well_formed: prefix.is_some(),
        checksum,
        prefix: prefix.map(|prefix| prefix.as_str().to_owned()),
        credential_id: parsed.as_ref().map(|parsed| parsed.id.to_string()),
        hint: parsed.map(|parsed| parsed.plaintext.hint()),
    }
}

/// The prefix of what has the outline of a credential.
fn prefix_of(presented: &str) -> Option<Prefix> {
    let (prefix, body) = presented.split_once('_')?;
    let outline = body.len() == BODY && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Prefix::new(prefix).ok().filter(|_| outline)
}

/// Asks the domain. Prefixes are a setting of the server, unknown here: any is
/// taken, as if it were that of access tokens.
fn parse(prefix: Prefix, presented: &str) -> Option<Presented> {
    let others = ["a", "b", "c"]
        .into_iter()
        .filter(|other| *other != prefix.as_str())
        .filter_map(|other| Prefix::new(other).ok())
        .collect::<Vec<_>>();
    let [desktop, service, ..] = others.as_slice() else {
        return None;
    };
    let forms = Forms::new(prefix, desktop.clone(), service.clone()).ok()?;
    forms.parse(presented)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use insta::assert_snapshot;

    use crate::domain::credential::{Kind, Secret};

    use super::*;

    fn credential(prefix: &str) -> String {
        let [own, desktop, service] = [prefix, "y", "z"].map(|text| Prefix::new(text).expect("well-formed"));
        let forms = Forms::new(own, desktop, service).expect("they differ");
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let secret = Secret::draw(|bytes| {
            bytes.fill(7);
            Ok::<_, Infallible>(())
        });
        let secret = secret.expect("infallible");
        let plaintext = forms.encode(Kind::Personal, id.parse().expect("canonical"), &secret);
        plaintext.expect("opaque").expose().to_owned()
    }

    #[test]
    fn a_whole_credential_is_told_by_its_id() {
        for prefix in ["dt", "upk", "a", "b", "svc"] {
            let inspection = inspect(&credential(prefix));
            assert_eq!(inspection.checksum, Checksum::Valid, "{prefix}");
            assert_eq!(inspection.prefix.as_deref(), Some(prefix));
        }
        assert_snapshot!(inspect(&credential("dt")).table());
    }

    #[test]
    fn a_changed_credential_has_a_wrong_checksum() {
        let mut changed = credential("dt");
        let last = changed.pop().expect("not empty");
        changed.push(if last == '0' { '1' } else { '0' });
        assert_snapshot!(inspect(&changed).table());
        assert_snapshot!(inspect(&changed).json().as_str());
    }

    #[test]
    fn a_signed_token_is_told_by_its_id() {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let header = format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{}"}}"#, "k".repeat(43));
        let payload = r#"{"jti":"01890a5d-ac96-774b-bcce-b302099a8057","sub":"ada"}"#;
        let token = format!("{}.{}.{}", part(&header), part(payload), "A".repeat(86));
        assert_snapshot!(inspect(&token).table());
        assert!(!inspect(&token[1..]).well_formed);
    }

    #[test]
    fn anything_else_is_malformed_and_not_repeated() {
        for text in ["", "dt_", "password", "dt_ \u{1b}[31m", "DT_x", &credential("dt")[1..60]] {
            let inspection = inspect(text);
            assert!(!inspection.well_formed, "{text}");
            assert_eq!(inspection.checksum, Checksum::Unchecked);
            assert_eq!(inspection.prefix, None);
        }
    }

    #[test]
    fn the_secret_is_no_part_of_what_is_shown() {
        let credential = credential("dt");
        let inspection = inspect(&credential);
        let shown = format!("{}{}", inspection.table(), *inspection.json());
        assert!(!shown.contains(&credential[25..57]), "{shown}");
    }
}
