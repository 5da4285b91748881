//! Sealing: what must be kept but not be readable in the database (S58).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use pasetors::{
    keys::SymmetricKey,
    token::{Local, UntrustedToken},
    version4::{LocalToken, V4},
};
use secrecy::zeroize::Zeroizing;

use super::CryptoError;

/// The key that is not in the database; and those before it, under which something may still be sealed.
pub struct MasterKey {
    current: SymmetricKey<V4>,
    previous: Vec<SymmetricKey<V4>>,
}

/// Under which key something is sealed.
#[derive(Debug, PartialEq, Eq)]
pub enum SealedUnder {
    /// The one that seals now.
    Current,
    /// One before it; here it is sealed anew.
    Previous(String),
    /// None that is known.
    Unknown,
}

impl MasterKey {
    /// Takes 32 bytes that do not look like a placeholder (S59).
    pub fn new(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        Ok(Self { current: symmetric(bytes)?, previous: Vec::new() })
    }

    /// Also opens what this earlier key has sealed.
    pub fn and_previous(mut self, bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        self.previous.push(symmetric(bytes)?);
        Ok(self)
    }

    /// Whether something may be sealed under another key than the one that seals now.
    pub fn has_previous(&self) -> bool {
        !self.previous.is_empty()
    }

    /// Seals a secret as a v4.local token. `purpose` says what it is and whose; it is authenticated, so that a sealed
    /// value moved to another row does not open.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String, CryptoError> {
        let text = Zeroizing::new(STANDARD.encode(secret));
        LocalToken::encrypt(&self.current, text.as_bytes(), None, Some(purpose.as_bytes()))
            .map_err(|_| CryptoError("sealing failed"))
    }

    /// Opens what [`seal`](Self::seal) made for the same purpose under this key or one before it; `None` for anything else.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        [&self.current].into_iter().chain(&self.previous).find_map(|key| open(key, purpose, sealed))
    }

    /// Seals anew what one of the keys before has sealed.
    pub fn reseal(&self, purpose: &str, sealed: &str) -> Result<SealedUnder, CryptoError> {
        if open(&self.current, purpose, sealed).is_some() {
            return Ok(SealedUnder::Current);
        }
        match self.open(purpose, sealed) {
            Some(secret) => self.seal(purpose, &secret).map(SealedUnder::Previous),
            None => Ok(SealedUnder::Unknown),
        }
    }
}

fn symmetric(bytes: &[u8; 32]) -> Result<SymmetricKey<V4>, CryptoError> {
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(CryptoError("the master key is a placeholder"));
    }
    SymmetricKey::from(bytes).map_err(|_| CryptoError("the master key has 32 bytes"))
}

fn open(key: &SymmetricKey<V4>, purpose: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
    let token = UntrustedToken::<Local, V4>::try_from(sealed).ok()?;
    let opened = LocalToken::decrypt(key, &token, None, Some(purpose.as_bytes())).ok()?;
    STANDARD.decode(opened.payload()).ok().map(Zeroizing::new)
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_purpose_and_key() {
        // S58
        let key = MasterKey::new(&std::array::from_fn(|i| u8::try_from(i).unwrap())).unwrap();
        let other = MasterKey::new(&std::array::from_fn(|i| u8::try_from(i + 1).unwrap())).unwrap();
        let sealed = key.seal("a", b"\0secret\xff").unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"\0secret\xff");
        assert!(key.open("b", &sealed).is_none());
        assert!(other.open("a", &sealed).is_none());
        assert!(key.open("a", &sealed[..sealed.len() - 1]).is_none());
        assert!(key.open("a", "").is_none());
    }

    #[test]
    fn a_key_before_opens_and_is_replaced() {
        let bytes = |first: u8| std::array::from_fn(|i| first + u8::try_from(i).unwrap());
        let old = MasterKey::new(&bytes(0)).unwrap();
        let new = MasterKey::new(&bytes(1)).unwrap().and_previous(&bytes(0)).unwrap();
        let sealed = old.seal("a", b"secret").unwrap();
        assert_eq!(new.open("a", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(new.reseal("b", &sealed).unwrap(), SealedUnder::Unknown);
        let SealedUnder::Previous(again) = new.reseal("a", &sealed).unwrap() else { panic!() };
        assert_eq!(new.reseal("a", &again).unwrap(), SealedUnder::Current);
        let alone = MasterKey::new(&bytes(1)).unwrap();
        assert_eq!(alone.open("a", &again).unwrap().as_slice(), b"secret");
        assert!(alone.open("a", &sealed).is_none());
        assert!(alone.and_previous(&[0; 32]).is_err()); // S59
    }

    #[test]
    fn a_placeholder_is_no_master_key() {
        // S59
        assert!(MasterKey::new(&[0; 32]).is_err());
        assert!(MasterKey::new(&[0x42; 32]).is_err());
    }
}
