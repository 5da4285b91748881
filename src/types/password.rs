//! Passwords, as people type them.

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

use super::Invalid;

/// The most code points of a password, and the most bytes (S2).
const MAX_CODE_POINTS: usize = 128;
const MAX_BYTES: usize = 1024;

/// A password, in NFC (S3) and short enough to hash (S2). It prints as `[REDACTED]`.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// Takes a password of any length that may be hashed; what a *new* password must be is `domain`'s to say. Longer
    /// ones are refused, never truncated.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let too_long = || Invalid::new(format!("at most {MAX_CODE_POINTS} characters and {MAX_BYTES} bytes"));
        if text.len() > MAX_BYTES {
            return Err(too_long());
        }
        let normalized: String = text.nfc().collect();
        let password = Self(normalized.into());
        if password.code_points() > MAX_CODE_POINTS || password.expose().len() > MAX_BYTES {
            return Err(too_long());
        }
        Ok(password)
    }

    /// How long it is, in code points: the unit of the length rules (S1).
    pub fn code_points(&self) -> usize {
        self.expose().chars().count()
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The password itself, still wrapped.
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

/// A password's hash as a PHC string. It prints as `[REDACTED]`: with it, guesses can be tried offline.
#[derive(Debug, Clone)]
pub struct PasswordHash(SecretString);

impl PasswordHash {
    /// Wraps a PHC string.
    pub fn new(phc: String) -> Self {
        Self(phc.into())
    }

    /// The PHC string.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_decomposed_are_one_password() {
        // S3
        assert_eq!(
            Password::parse("caf\u{e9}").unwrap().expose(),
            Password::parse("cafe\u{301}").unwrap().expose()
        );
        assert_eq!(Password::parse(" a\0b ").unwrap().expose(), " a\0b ");
    }

    #[test]
    fn the_longest_is_128_code_points() {
        // S2
        assert!(Password::parse(&"x".repeat(128)).is_ok());
        assert!(Password::parse(&"x".repeat(129)).is_err());
        assert!(Password::parse(&"😀".repeat(128)).is_ok());
        assert!(Password::parse(&"x".repeat(1024 * 1024)).is_err());
    }

    #[test]
    fn it_is_never_printed() {
        // S57
        assert!(!format!("{:?}", Password::parse("hunter2-hunter2").unwrap()).contains("hunter2"));
    }
}
