//! bcrypt, by which other systems hashed the passwords of accounts that were imported. Nothing is hashed anew by it.

use std::ops::RangeInclusive;

use argon2::password_hash::phc::{Output, Salt};
use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::NO_PAD},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// The logarithm of its rounds. 14 takes about a second; each more doubles it.
const COST: RangeInclusive<u32> = 4..=14;
/// It looks at no more of a password than this, in bytes.
const MAX_BYTES: usize = 72;
/// Its base64 has an alphabet of its own. Some implementations set the last bits of a salt, which mean nothing.
const CONFIG: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, CONFIG);
/// `$2b$12$`, 22 characters of salt and 31 of the hash.
const LENGTH: usize = 60;
const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 23;

/// Reads cost, salt and hash of `$2a$`, `$2b$` or `$2y$`, which are one and the same for what is text; `None` for anything that is
/// not on the allow-list (S6). `$2x$` is of an implementation that took some characters wrongly, and `$2$` has no end of the text.
pub(super) fn parse(text: &str) -> Option<(u32, Salt, Output)> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|version| text.strip_prefix(version))?;
    if text.len() != LENGTH {
        return None;
    }
    let (cost, encoded) = rest.split_once('$').filter(|(cost, _)| cost.len() == 2)?;
    let cost = cost.bytes().all(|byte| byte.is_ascii_digit()).then(|| cost.parse().ok()).flatten()?;
    let (salt, output) = encoded.split_at_checked(22)?;
    let (salt, output) = (BASE64.decode(salt).ok()?, BASE64.decode(output).ok()?);
    (COST.contains(&cost) && salt.len() == SALT_BYTES && output.len() == OUTPUT_BYTES)
        .then(|| Some((cost, Salt::new(&salt).ok()?, Output::new(&output).ok()?)))?
}

/// Whether it can have hashed this: where it ends a text by NUL, one within is not told from the end, and `a\0a` would pass for `a`.
pub(super) fn can_hold(password: &SecretString) -> bool {
    !password.expose_secret().contains('\0')
}

/// Hashes the first 72 bytes, with the NUL that ends the text if it still fits, as all implementations do.
pub(super) fn derive(password: &SecretString, cost: u32, salt: &Salt) -> Option<Output> {
    let salt = <[u8; SALT_BYTES]>::try_from(&**salt).ok()?;
    let password = password.expose_secret().as_bytes();
    let taken = password.len().min(MAX_BYTES);
    let mut text = Zeroizing::new([0; MAX_BYTES]);
    text.get_mut(..taken)?.copy_from_slice(password.get(..taken)?);
    let output = bcrypt::bcrypt(cost, salt, text.get(..(taken + 1).min(MAX_BYTES))?);
    Output::new(output.get(..OUTPUT_BYTES)?).ok()
}
