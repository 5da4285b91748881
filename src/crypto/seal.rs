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

/// The key that is not in the database.
pub struct MasterKey(SymmetricKey<V4>);

impl MasterKey {
    /// Takes 32 bytes that do not look like a placeholder (S59).
    pub fn new(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(CryptoError("the master key is a placeholder"));
        }
        SymmetricKey::from(bytes).map(Self).map_err(|_| CryptoError("the master key has 32 bytes"))
    }

    /// Seals a secret as a v4.local token. `purpose` says what it is and whose; it is authenticated, so that a sealed
    /// value moved to another row does not open.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String, CryptoError> {
        let text = Zeroizing::new(STANDARD.encode(secret));
        LocalToken::encrypt(&self.0, text.as_bytes(), None, Some(purpose.as_bytes()))
            .map_err(|_| CryptoError("sealing failed"))
    }

    /// Opens what [`seal`](Self::seal) made for the same purpose under the same key; `None` for anything else.
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let token = UntrustedToken::<Local, V4>::try_from(sealed).ok()?;
        let opened = LocalToken::decrypt(&self.0, &token, None, Some(purpose.as_bytes())).ok()?;
        STANDARD.decode(opened.payload()).ok().map(Zeroizing::new)
    }
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
    fn a_placeholder_is_no_master_key() {
        // S59
        assert!(MasterKey::new(&[0; 32]).is_err());
        assert!(MasterKey::new(&[0x42; 32]).is_err());
    }
}
