//! Access tokens whose signature was verified, so that it is verified once.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::{
    Domain,
    stats::{CacheStats, CacheTally},
};
use crate::{
    crypto::{
        sha256,
        tokens::{self, MAX_LEN, Verified},
    },
    types::{Digest, Time},
};

/// The tokens that this replica has seen, by their digest: of two spellings of one token each is verified by itself (S28).
pub(super) struct VerifiedTokens {
    known: Cache<Digest, Arc<Verified>>,
    requests: CacheTally,
}

impl VerifiedTokens {
    pub(super) fn new(max: usize) -> Self {
        Self { known: Cache::new(max), requests: CacheTally::default() }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.requests.read(self.known.len())
    }
}

impl Domain {
    /// What a token of ours says, whether or not it has expired. `None` when it is none (S29).
    pub(super) fn verify_token(&self, token: &str, now: Time) -> Option<Arc<Verified>> {
        if token.len() > MAX_LEN {
            return None;
        }
        let digest = sha256(token);
        let VerifiedTokens { known: cache, requests } = &self.verified_tokens;
        if let Some(known) = cache.get(&digest) {
            requests.hit();
            // Its key may have been retired since (S26, S30).
            return self.keys().verifier(&known.kid, now).is_some().then_some(known);
        }
        requests.miss();
        let verified = Arc::new(tokens::verify(&self.keys(), &self.settings.parties, token, now)?);
        cache.insert(digest, Arc::clone(&verified));
        Some(verified)
    }
}
