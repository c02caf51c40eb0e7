//! Which parameters does a request have? As OAuth 2.0 has them (RFC 6749,
//! sections 3.1 and 3.2): none twice; one without a value counts as none; those
//! that are not known are passed over.

use zeroize::Zeroizing;

use super::trouble::Trouble;

/// The values of these parameters, from a form or a query.
pub(super) fn parameters<const N: usize>(
    text: &[u8],
    names: [&str; N],
) -> Result<[Option<Zeroizing<String>>; N], Trouble> {
    let mut found: [Option<Zeroizing<String>>; N] = [const { None }; N];
    for (name, value) in form_urlencoded::parse(text) {
        let Some(place) = names.iter().position(|known| *known == name) else {
            continue;
        };
        if found[place].replace(Zeroizing::new(value.into_owned())).is_some() {
            return Err(Trouble::malformed(format!("{}: stands there twice", names[place])));
        }
    }
    Ok(found.map(|value| value.filter(|value| !value.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<[Option<String>; 2]> {
        let found = parameters(text.as_bytes(), ["token", "client_ip"]).ok()?;
        Some(found.map(|value| value.map(|value| value.to_string())))
    }

    #[test]
    fn known_ones_are_read_and_others_passed_over() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("token=a%2Bb+c&x=1&x=2&client_ip="), Some([some("a+b c"), None]));
        assert_eq!(read("token=a&client_ip=%3A%3A1"), Some([some("a"), some("::1")]));
        assert_eq!(read("%74oken=a"), Some([some("a"), None]));
        assert_eq!(read(""), Some([None, None]));
        assert_eq!(read("Token=a&tokens=b&token"), Some([None, None]));
    }

    #[test]
    fn none_stands_there_twice() {
        for twice in ["token=a&token=b", "token=&token=b", "token=a&token", "token=a&%74oken=a"] {
            assert_eq!(read(twice), None, "{twice}");
        }
    }
}
