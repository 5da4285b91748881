//! The token signing keys, in memory.

use std::sync::Arc;

use pasetors::{
    keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate},
    paserk::{FormatAsPaserk, Id},
    version4::V4,
};
use secrecy::zeroize::Zeroizing;

use super::{CryptoError, MasterKey};
use crate::types::Time;

/// One key pair.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// PASERK `k4.pid.…`: the id of the public half.
    pub kid: Arc<str>,
    /// The half that verifies.
    pub public: AsymmetricPublicKey<V4>,
    /// The half that signs.
    pub(super) secret: AsymmetricSecretKey<V4>,
    /// When it begins to sign.
    pub not_before_time: Time,
    /// When the last token signed by it has expired.
    pub not_after_time: Option<Time>,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, so that whoever verifies tokens knows it; it does not sign yet.
    Next,
    /// The one that signs.
    Signing,
    /// It signs no more, but tokens that it has signed may be valid.
    Retiring,
    /// Its tokens have expired, or are refused; it is about to be removed.
    Ended,
}

impl KeyState {
    /// Of keys, oldest first, that begin to sign at the first time and end at the second. The newest that has begun and not
    /// ended signs.
    pub fn of_all(keys: &[(Time, Option<Time>)], now: Time) -> Vec<Self> {
        let ended = |end: Option<Time>| end.is_some_and(|end| end <= now);
        let signer = keys.iter().rposition(|(begin, end)| *begin <= now && !ended(*end));
        let state = |(at, (begin, end)): (usize, &(Time, Option<Time>))| match () {
            () if ended(*end) => Self::Ended,
            () if now < *begin => Self::Next,
            () if signer == Some(at) => Self::Signing,
            () => Self::Retiring,
        };
        keys.iter().enumerate().map(state).collect()
    }

    /// As people, scripts and metrics see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Retiring => "retiring",
            Self::Ended => "ended",
        }
    }
}

impl SigningKey {
    /// A new key pair.
    pub fn generate(not_before_time: Time) -> Result<Self, CryptoError> {
        let pair =
            AsymmetricKeyPair::<V4>::generate().map_err(|_| CryptoError("no key pair could be made"))?;
        let kid = kid(&pair.public)?.into();
        Ok(Self { kid, public: pair.public, secret: pair.secret, not_before_time, not_after_time: None })
    }

    /// Reads a key pair back. `None` when the master key does not open it.
    pub fn open(
        master: &MasterKey,
        kid: &str,
        sealed: &str,
        not_before_time: Time,
        not_after_time: Option<Time>,
    ) -> Option<Self> {
        let bytes = master.open(&purpose(kid), sealed)?;
        let secret = AsymmetricSecretKey::<V4>::from(&bytes).ok()?;
        let public = AsymmetricPublicKey::<V4>::try_from(&secret).ok()?;
        // The kid is computed, not believed: it must be this key's.
        let own = self::kid(&public).ok().filter(|own| own == kid)?;
        Some(Self { kid: own.into(), public, secret, not_before_time, not_after_time })
    }

    /// The secret half under the master key.
    pub fn seal(&self, master: &MasterKey) -> Result<String, CryptoError> {
        master.seal(&purpose(&self.kid), &Zeroizing::new(self.secret.as_bytes().to_vec()))
    }

    /// The public half as PASERK `k4.public.…`.
    pub fn paserk(&self) -> String {
        let mut text = String::new();
        self.public.fmt(&mut text).map_or_else(|_| String::new(), |()| text)
    }

    /// The public half as RFC 8032 writes it, in 32 bytes.
    pub fn ed25519(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn verifies_at(&self, now: Time) -> bool {
        self.not_after_time.is_none_or(|end| now < end)
    }
}

/// What the secret half of a key is sealed for.
pub fn purpose(kid: &str) -> String {
    format!("signing-key:{kid}")
}

fn kid(public: &AsymmetricPublicKey<V4>) -> Result<String, CryptoError> {
    let mut text = String::new();
    Id::from(public).fmt(&mut text).map_err(|_| CryptoError("no key id could be made"))?;
    Ok(text)
}

/// All keys that matter, oldest first. An unknown key id is looked up nowhere else (S26).
#[derive(Debug)]
pub struct KeyRing(Vec<SigningKey>);

impl KeyRing {
    /// Of these keys, oldest first.
    pub fn new(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }

    /// The key that signs now: the newest that has begun and not ended.
    pub fn signer(&self, now: Time) -> Option<&SigningKey> {
        self.0.iter().rev().find(|key| key.not_before_time <= now && key.verifies_at(now))
    }

    /// The key with this id, if tokens signed by it are still accepted.
    pub fn verifier(&self, kid: &str, now: Time) -> Option<&SigningKey> {
        self.0.iter().find(|key| *key.kid == *kid && key.verifies_at(now))
    }

    /// The key with this id, whatever has become of it.
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| *key.kid == *kid)
    }

    /// The newest key: the one that signs, or that will.
    pub fn newest(&self) -> Option<&SigningKey> {
        self.0.last()
    }

    /// The keys whose tokens are accepted, or will be.
    pub fn published(&self, now: Time) -> impl Iterator<Item = &SigningKey> {
        self.0.iter().filter(move |key| key.verifies_at(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn a_key_survives_sealing_and_nothing_else_opens_it() {
        let master = MasterKey::new(&crate::types::random::bytes()).unwrap();
        let other = MasterKey::new(&crate::types::random::bytes()).unwrap();
        let key = SigningKey::generate(Time::from_micros(NOW)).unwrap();
        let sealed = key.seal(&master).unwrap();
        let opened = SigningKey::open(&master, &key.kid, &sealed, key.not_before_time, None).unwrap();
        assert_eq!(opened.kid, key.kid);
        assert_eq!(opened.paserk(), key.paserk());
        assert!(key.kid.starts_with("k4.pid.") && key.paserk().starts_with("k4.public."));
        assert!(SigningKey::open(&other, &key.kid, &sealed, key.not_before_time, None).is_none());
        assert!(SigningKey::open(&master, "k4.pid.another", &sealed, key.not_before_time, None).is_none());
    }

    #[test]
    fn the_newest_that_has_begun_signs() {
        // S30
        let now = Time::from_micros(NOW);
        let second = Duration::from_secs(1);
        let mut old = SigningKey::generate(now - second).unwrap();
        let next = SigningKey::generate(now + second).unwrap();
        let ids = [old.kid.clone(), next.kid.clone()];
        old.not_after_time = Some(now + second * 2);
        let ring = KeyRing::new(vec![old, next]);
        assert_eq!(ring.signer(now).unwrap().kid, ids[0]);
        assert_eq!(ring.signer(now + second).unwrap().kid, ids[1]);
        assert!(ring.verifier(&ids[0], now + second).is_some());
        assert!(ring.verifier(&ids[0], now + second * 2).is_none());
        assert_eq!(ring.published(now).count(), 2);
        let keys = [(now - second, Some(now + second * 2)), (now + second, None)];
        let states = |now| KeyState::of_all(&keys, now);
        assert_eq!(states(now), [KeyState::Signing, KeyState::Next]);
        assert_eq!(states(now + second), [KeyState::Retiring, KeyState::Signing]);
        assert_eq!(states(now + second * 2), [KeyState::Ended, KeyState::Signing]);
        assert!(ring.verifier("k4.pid.unknown", now).is_none());
    }
}
