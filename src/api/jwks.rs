//! `GET /.well-known/jwks.json`: the keys that access tokens are signed with, for what verifies JWTs itself (RFC 7517, RFC
//! 8037). They are those of `ListVerificationKeys`, in the form that gateways read, and are there whichever format
//! `tokens.format` names, so that a gateway knows the keys before the first JWT comes.

use std::sync::Arc;

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{pb::ErrorReason, status::Problem};
use crate::domain::{Domain, VerificationKey};

/// Where it is, below `server.public_url`.
pub(super) const PATH: &str = "/.well-known/jwks.json";

/// A new key is published for at least an access token's lifetime and a minute before it signs (S30), and the shortest
/// lifetime is a second: whoever asks again after a minute knows it in time.
const CACHEABLE: &str = "public, max-age=60";

/// Routes for GET and HEAD of the key set.
pub fn routes(domain: &Arc<Domain>) -> Router {
    let domain = domain.clone();
    let answer = async move || {
        let keys: Vec<_> = domain.verification_keys().iter().map(jwk).collect();
        let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, CACHEABLE)];
        (headers, json!({"keys": keys}).to_string())
    };
    Router::new()
        .route(PATH, get(answer))
        .method_not_allowed_fallback(async || Problem::from(ErrorReason::MethodNotAllowed))
}

/// The public half of a key (RFC 8037, 2), and what it is for.
fn jwk(key: &VerificationKey) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": URL_SAFE_NO_PAD.encode(&key.ed25519),
        "kid": key.kid,
        "use": "sig",
        "alg": "EdDSA",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Time;

    #[test]
    fn the_key_of_rfc_8037_looks_as_it_does_there() {
        let example: Value = serde_json::from_str(include_str!("../../tests/data/rfc8037.json")).unwrap();
        let hex = example["public_key_hex"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let key = VerificationKey {
            kid: "k4.pid.x".to_owned(),
            public_key: String::new(),
            ed25519: (0..hex.len()).step_by(2).map(byte).collect(),
            not_before_time: Time::from_micros(0),
            not_after_time: None,
        };
        let mut jwk = jwk(&key).as_object().unwrap().clone();
        for (name, value) in [("kid", "k4.pid.x"), ("use", "sig"), ("alg", "EdDSA")] {
            assert_eq!(jwk.remove(name).unwrap(), value);
        }
        assert_eq!(Value::from(jwk), example["public_jwk"]);
    }
}
