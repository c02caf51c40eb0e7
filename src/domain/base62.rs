//! How are numbers written in a credential? Base62, digits `0-9A-Za-z`, at a
//! fixed width: one way to write each number, and no other.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes `value` in `WIDTH` digits, zeros in front.
pub(super) fn encode<const WIDTH: usize>(mut value: u128) -> [u8; WIDTH] {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 62).unwrap_or_default()];
        value /= 62;
    }
    debug_assert_eq!(value, 0, "the width fits the number");
    digits
}

/// So many digits fit into 64 bits, whose arithmetic is a processor's own.
const CHUNK: usize = 10;

/// Reads digits; none where one is foreign or the number is over 128 bits.
pub(super) fn decode(digits: &[u8]) -> Option<u128> {
    digits.chunks(CHUNK).try_fold(0_u128, |value, chunk| {
        let (mut scale, mut low) = (1_u64, 0_u64);
        for digit in chunk {
            scale *= 62;
            low = low * 62 + u64::from(value_of(*digit)?);
        }
        value.checked_mul(scale.into())?.checked_add(low.into())
    })
}

/// The digit for a random byte, or none where it must be thrown away so that
/// every digit is as likely as the next.
pub(super) fn unbiased_digit(random: u8) -> Option<u8> {
    const FAIR: u8 = 62 * 4;
    (random < FAIR).then(|| DIGITS[usize::from(random % 62)])
}

pub(super) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'Z' => Some(digit - b'A' + 10),
        b'a'..=b'z' => Some(digit - b'a' + 36),
        _ => None,
    }
}
