//! Which new passwords are too easily guessed (S1, S4).
//!
//! Owns the shortest length, the list of common passwords and the words of an account. The longest length (S2) is
//! `types::Password`'s; there are no rules of composition (S3). Whoever sets a password calls it.
//!
//! `common_passwords.txt` is Django's list (`django/contrib/auth/common-passwords.txt.gz` of Django 5.2.19,
//! BSD-3-Clause; `licenses/django.txt`), sorted, without what is shorter than 8 characters, without entries whose
//! encoding was broken, and without "newpassword": with "securepass" (which the list does not hold) it is the stand-in
//! in the documented client examples, which have to run as they are printed.

use std::{collections::HashSet, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;

use super::{Error, Result};
use crate::types::{Invalid, Password};

static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Shorter words of an address or a name are in too many good passwords (S4).
const MIN_WORD_CODE_POINTS: usize = 4;

/// Why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum TooCommon {
    /// It is among the most common ones.
    #[error("the password is one of the most common")]
    Listed,
    /// It contains a word of the account's own e-mail address or name.
    #[error("the password contains a word of the account's e-mail address or name")]
    OwnWord,
}

/// Refuses a new password, which stood in `field`, if it is shorter than `min_length` code points (S1) or too common (S4).
pub(super) fn check(
    field: &'static str,
    password: &Password,
    email: &str,
    name: &str,
    min_length: usize,
) -> Result<()> {
    if password.code_points() < min_length {
        return Err(Error::field(field, Invalid::new(format!("at least {min_length} characters"))));
    }
    too_common(password.expose(), email, name)
        .map_err(|why| Error::PasswordTooCommon { field, description: why.to_string() })
}

/// Refuses a password that is common, or contains a word of the account's own e-mail address or name, whatever the case.
fn too_common(password: &str, email: &str, name: &str) -> Result<(), TooCommon> {
    let password = fold(password);
    if COMMON.contains(password.as_str()) {
        return Err(TooCommon::Listed);
    }
    // A domain's last label is public ("com"), unless it is all there is ("localhost").
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    let domain = domain.rsplit_once('.').map_or(domain, |(own, _public)| own);
    let has_own_word = [local, domain, name].into_iter().any(|text| {
        fold(text)
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word.chars().count() >= MIN_WORD_CODE_POINTS && password.contains(word))
    });
    if has_own_word { Err(TooCommon::OwnWord) } else { Ok(()) }
}

/// One spelling for what looks or reads alike: full-width letters, ligatures, upper case.
fn fold(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMAIL: &str = "alice.smith+news@mail.example.com";

    #[test]
    fn the_list_is_long_enough_sorted_and_folded() {
        // S4
        let lines: Vec<_> = include_str!("common_passwords.txt").lines().collect();
        assert!(lines.len() >= 3000);
        assert!(lines.is_sorted_by(|a, b| a < b));
        for line in lines {
            assert!(line.chars().count() >= 8 && fold(line) == line && line.trim() == line, "{line:?}");
        }
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        // S4
        for password in ["password1", "PASSWORD1", "qwertyuiop", "Iloveyou", "\u{ff50}assword1"] {
            assert_eq!(too_common(password, "u@b.example", ""), Err(TooCommon::Listed), "{password}");
        }
    }

    #[test]
    fn the_documented_examples_pass() {
        for password in ["securepass", "newpassword"] {
            assert_eq!(too_common(password, "user@example.com", "Alice"), Ok(()), "{password}");
        }
    }

    #[test]
    fn words_of_the_account_are_refused() {
        // S4
        for password in [
            "xxAlIcExx",
            "1smith1!",
            "news-2024",
            "my mail box",
            "sample example",
            "tr\u{fc}ffel-M\u{dc}LLER",
        ] {
            assert_eq!(
                too_common(password, EMAIL, "Bob von M\u{fc}ller"),
                Err(TooCommon::OwnWord),
                "{password}"
            );
        }
        // The word need not stand alone.
        assert_eq!(too_common("superuser1", "user@example.com", ""), Err(TooCommon::OwnWord));
        assert_eq!(too_common("on localhost", "root@localhost", ""), Err(TooCommon::OwnWord));
    }

    #[test]
    fn short_words_and_the_public_label_do_not_count() {
        // S4
        for (password, email, name) in [
            ("bob-von-com", EMAIL, "Bob von M\u{fc}ller"),
            ("informatics", "a@b.info", "Al Li"),
            ("whatever it is", "", ""),
            ("whatever it is", "@", "..."),
        ] {
            assert_eq!(too_common(password, email, name), Ok(()), "{password}");
        }
    }
}
