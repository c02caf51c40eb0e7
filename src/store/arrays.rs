//! Arrays as one parameter, for SQLite, which knows no arrays: a JSON text. So one
//! statement is prepared whatever the length; and where the database was analyzed,
//! it is not prepared again for each value, as SQLite does for values that it can
//! look at.

use std::fmt::Write as _;

use sea_orm::Value;

/// The bytes in an array that [`hex_array`] made, the next parameter.
pub(super) const EACH_OF_HEX: &str = "(SELECT unhex(value) FROM json_each(?))";
/// The texts in an array that [`text_array`] made, the next parameter.
pub(super) const EACH_OF_TEXTS: &str = "(SELECT value FROM json_each(?))";

/// An array of byte strings.
pub(super) fn hex_array(items: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Value {
    let mut json = String::from("[");
    for item in items {
        json.push_str(if json.len() > 1 { ",\"" } else { "\"" });
        for byte in item.as_ref() {
            let _ = write!(json, "{byte:02x}");
        }
        json.push('"');
    }
    json.push(']');
    json.into()
}

/// An array of texts.
pub(super) fn text_array(items: Vec<String>) -> Value {
    serde_json::Value::from(items).to_string().into()
}
