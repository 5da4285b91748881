//! Access tokens whose signature was verified, so that it is verified once.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::Domain;
use crate::{
    crypto::{
        sha256,
        tokens::{self, MAX_LEN, Verified},
    },
    types::{Digest, Time},
};

/// The tokens that this replica has seen, by their digest: of two spellings of one token each is verified by itself (S28).
pub(super) struct VerifiedTokens(Cache<Digest, Arc<Verified>>);

impl VerifiedTokens {
    pub(super) fn new(max: usize) -> Self {
        Self(Cache::new(max))
    }
}

impl Domain {
    /// What a token of ours says, whether or not it has expired. `None` when it is none (S29).
    pub(super) fn verify_token(&self, token: &str, now: Time) -> Option<Arc<Verified>> {
        if token.len() > MAX_LEN {
            return None;
        }
        let digest = sha256(token);
        let known = self.verified_tokens.0.get(&digest);
        if let Some(known) = known {
            // Its key may have been retired since (S26, S30).
            return self.keys().verifier(&known.kid, now).is_some().then_some(known);
        }
        let verified = Arc::new(tokens::verify(&self.keys(), &self.settings.parties, token, now)?);
        self.verified_tokens.0.insert(digest, Arc::clone(&verified));
        Some(verified)
    }
}
