//! The shape of an API key's secret: `ak_`, 43 base62 characters (256 bits) and 6 base62 characters of CRC32 over what
//! precedes them (S31). The checksum tells a mistyped or invented key without a query (S36), and lets scanners of leaked
//! secrets be sure of a find.

use secrecy::SecretString;

use super::sha256;
use crate::types::{Digest, random};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What every secret begins with.
pub const PREFIX: &str = "ak_";
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const LEN: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;

/// A new secret.
pub fn generate() -> SecretString {
    let mut secret = String::with_capacity(LEN);
    secret.push_str(PREFIX);
    while secret.len() < PREFIX.len() + RANDOM_CHARS {
        // Six bits of each byte; the two values beyond the alphabet are thrown away, so that all are equally likely.
        let fitting =
            random::bytes::<64>().into_iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        let missing = PREFIX.len() + RANDOM_CHARS - secret.len();
        secret.extend(fitting.take(missing).map(|char| char::from(*char)));
    }
    let checksum = checksum(&secret);
    secret.extend(checksum.map(char::from));
    secret.into()
}

/// What is stored of a secret (S32); `None` where the text cannot be one.
pub fn digest(text: &str) -> Option<Digest> {
    let well_formed = text.len() == LEN
        && text.starts_with(PREFIX)
        && text.is_char_boundary(LEN - CHECKSUM_CHARS)
        && text.as_bytes()[LEN - CHECKSUM_CHARS..] == checksum(&text[..LEN - CHECKSUM_CHARS]);
    well_formed.then(|| sha256(text))
}

/// The first seven and the last four characters, to recognise a secret by.
pub fn hint(secret: &str) -> String {
    format!("{}…{}", &secret[..7], &secret[secret.len() - 4..])
}

/// CRC32 in base62, most significant first.
fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [ALPHABET[0]; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_has_the_documented_shape() {
        // S31
        let secret = generate();
        let secret = secret.expose_secret();
        assert_eq!(secret.len(), 52);
        assert!(secret[3..].bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(digest(secret).is_some());
        assert_eq!(hint(secret).chars().count(), 12);
        assert_ne!(generate().expose_secret(), secret);
    }

    #[test]
    fn any_changed_character_is_noticed() {
        // S36
        let secret = generate();
        let secret = secret.expose_secret();
        for at in 0..secret.len() {
            let other = if &secret[at..=at] == "x" { "y" } else { "x" };
            let mut changed = secret.to_owned();
            changed.replace_range(at..=at, other);
            assert!(digest(&changed).is_none(), "{at}");
        }
        assert!(digest("").is_none());
        assert!(digest(&"é".repeat(26)).is_none());
        assert!(digest(&format!("{secret}0")).is_none());
    }

    #[test]
    fn the_checksum_is_fixed() {
        // A change here would refuse every key that is in use. 0xcbf43926 is the CRC32 of "123456789".
        assert_eq!(&checksum("123456789"), b"3jZRME");
    }
}
