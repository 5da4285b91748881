//! The other format of access tokens: JWTs signed with `EdDSA` (RFC 9068, RFC 8037), for gateways that know nothing else. They
//! say what PASETO tokens say, are signed by the same keys under the same ids, and are checked as strictly; what both
//! formats share is in [`super::tokens`].
//!
//! A JWT's header lets its sender choose how it is verified, which is where JWTs go wrong. Here it chooses nothing: it must
//! be the header that [`sign`] writes, down to the last field, and only which key of our own ring is looked up is read in it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_compact::{PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize};

use super::{
    CryptoError, KeyRing, SigningKey,
    tokens::{Claims, Parties, Said, Verified, begin},
};
use crate::types::{Scopes, Time};

/// What every JWT begins with: a JSON object's `{"` in base64.
pub(super) const PREFIX: &str = "eyJ";
/// The one algorithm (RFC 8037). It is compared, never obeyed: `none` and keyed hashes are unknown here (S24).
const ALG: &str = "EdDSA";
/// What tells an access token from JWTs of another use, such as ID tokens (RFC 9068, 2.1). That section allows
/// `application/at+jwt` as well, but whoever issues only this spelling need accept no other.
const TYP: &str = "at+jwt";

/// The header, whole: a field that is not among these (`crit`, `jwk`, `jku`, `x5u`, …) is refused, and so is one that stands
/// twice.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// The payload. All claims are required (S25), times are whole seconds after 1970, and serde refuses a claim that stands twice.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: String,
    sid: String,
    /// RFC 9068, 2.2 requires it, and verifiers that go by that RFC look for it. No clients are registered here: all
    /// applications in front of this service are one client, of which the audience is the name. Nothing depends on it.
    client_id: String,
    /// Separated by spaces (RFC 8693, 4.2). Empty when there are none, rather than absent, which some read as no bounds.
    scope: String,
}

/// Signs a token that is issued `now`.
pub fn sign(key: &SigningKey, parties: &Parties, claims: &Claims, now: Time) -> Result<String, CryptoError> {
    let begin = begin(now).seconds();
    let payload = Payload {
        iss: parties.issuer.clone(),
        sub: claims.user_id.to_string(),
        aud: parties.audience.clone(),
        exp: claims.expire_time.seconds(),
        iat: begin,
        nbf: begin,
        jti: claims.token_id.0.to_string(),
        sid: claims.session_id.to_string(),
        client_id: parties.audience.clone(),
        scope: claims.scopes.to_list(),
    };
    let header = Header { alg: ALG, typ: TYP, kid: &key.kid };
    let failed = |_| CryptoError("a token's claims could not be written");
    let header = serde_json::to_vec(&header).map_err(failed)?;
    let payload = serde_json::to_vec(&payload).map_err(failed)?;
    signed(key.secret.as_bytes(), &header, &payload)
}

/// The compact form (RFC 7515, 7.1) of a header and a payload. The secret is seed and public half.
fn signed(secret: &[u8], header: &[u8], payload: &[u8]) -> Result<String, CryptoError> {
    let secret = SecretKey::from_slice(secret).map_err(|_| CryptoError("a token could not be signed"))?;
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(secret.sign(&input, None));
    Ok(format!("{input}.{signature}"))
}

/// Checks a token that begins with [`PREFIX`] and is no longer than any may be, all but whether it has expired. `None` means
/// that it is not ours, and never says why (S29).
pub(super) fn verify(ring: &KeyRing, parties: &Parties, token: &str, now: Time) -> Option<Verified> {
    let jws = Jws::parse(token)?;
    let header: Header<'_> = serde_json::from_slice(&jws.header).ok()?;
    if header.alg != ALG || header.typ != TYP {
        return None;
    }
    let key = ring.verifier(header.kid, now)?;
    let payload: Payload = serde_json::from_slice(jws.payload(key.ed25519())?).ok()?;
    let time = |seconds| chrono::DateTime::from_timestamp(seconds, 0).map(Time::from);
    time(payload.iat)?;
    let said = Said {
        iss: &payload.iss,
        sub: &payload.sub,
        aud: &payload.aud,
        exp: time(payload.exp)?,
        nbf: time(payload.nbf)?,
        jti: &payload.jti,
        sid: &payload.sid,
        scopes: Scopes::parse_list(&payload.scope).ok()?,
    };
    said.check(key, parties, now)
}

/// The compact form taken apart: exactly three parts, each in base64url as it is written without padding and in no other way.
struct Jws<'a> {
    /// What is signed: header and payload as they stand in the token.
    input: &'a str,
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Signature,
}

impl<'a> Jws<'a> {
    fn parse(token: &'a str) -> Option<Self> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        // A dot is none of the alphabet, so a part too many does not decode.
        let decode = |part| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            input,
            header: decode(header)?,
            payload: decode(payload)?,
            signature: Signature::from_slice(&decode(signature)?).ok()?,
        })
    }

    /// The payload, if the signature holds. The library refuses a signature of which another spelling is the canonical one,
    /// and public halves of small order.
    fn payload(&self, public: &[u8]) -> Option<&[u8]> {
        PublicKey::from_slice(public).ok()?.verify(self.input, &self.signature).ok()?;
        Some(&self.payload)
    }
}

#[cfg(test)]
mod tests;
