//! Access tokens: what they say, what is checked of one whatever its format, and the format PASETO v4.public, with no other
//! version or purpose (S24). The other format is [`jwt`]'s.

use std::{sync::Arc, time::Duration};

use pasetors::{
    keys::AsymmetricPublicKey,
    token::{Public, UntrustedToken},
    version4::{PublicToken, V4},
};
use serde::{Deserialize, Serialize};

use super::{CryptoError, KeyRing, SigningKey, jwt};
use crate::types::{Scopes, SessionId, Time, TokenId, UserId};

/// The longest token that is looked at (S27), in bytes.
pub const MAX_LEN: usize = 4096;
/// What every PASETO token begins with.
pub const HEADER: &str = "v4.public.";
/// How far `iat` and `nbf` lie before the moment of issue: verifiers allow no leeway, and clocks differ.
const BACKDATE: Duration = Duration::from_secs(10);
/// How far ahead of ours another replica's clock may be.
const LEEWAY: Duration = Duration::from_mins(1);

/// Who issues tokens, and for whom.
#[derive(Debug, Clone)]
pub struct Parties {
    /// `iss`: this service's public URL.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`.
    pub user_id: UserId,
    /// `sid`.
    pub session_id: SessionId,
    /// `jti`.
    pub token_id: TokenId,
    /// `scopes`; in a JWT `scope`.
    pub scopes: Arc<Scopes>,
    /// `exp`; whole seconds.
    pub expire_time: Time,
}

/// A token that was signed by a key of ours. It holds, or held until it expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// The id of the key that signed it.
    pub kid: Arc<str>,
}

/// The payload. All claims are required (S25); serde refuses a claim that stands twice, which pasetors would accept.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: String,
    exp: String,
    iat: String,
    nbf: String,
    jti: String,
    sid: String,
    scopes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer<'a> {
    kid: &'a str,
}

/// Signs a token that is issued `now`.
pub fn sign(key: &SigningKey, parties: &Parties, claims: &Claims, now: Time) -> Result<String, CryptoError> {
    let begin = begin(now).to_string();
    let payload = Payload {
        iss: parties.issuer.clone(),
        sub: claims.user_id.to_string(),
        aud: parties.audience.clone(),
        exp: claims.expire_time.to_string(),
        iat: begin.clone(),
        nbf: begin,
        jti: claims.token_id.0.to_string(),
        sid: claims.session_id.to_string(),
        scopes: claims.scopes.iter().map(str::to_owned).collect(),
    };
    let failed = |_| CryptoError("a token's claims could not be written");
    let payload = serde_json::to_vec(&payload).map_err(failed)?;
    let footer = serde_json::to_vec(&Footer { kid: &key.kid }).map_err(failed)?;
    PublicToken::sign(&key.secret, &payload, Some(&footer), None)
        .map_err(|_| CryptoError("a token could not be signed"))
}

/// Checks a token of either format, all but whether it has expired. `None` means that it is not ours, and never says why (S29).
pub fn verify(ring: &KeyRing, parties: &Parties, token: &str, now: Time) -> Option<Verified> {
    if token.len() > MAX_LEN {
        return None;
    }
    if token.starts_with(jwt::PREFIX) {
        return jwt::verify(ring, parties, token, now);
    }
    // pasetors takes `token.` for `token`. Ours have four parts, none of them empty.
    let well_formed = token.starts_with(HEADER)
        && token.split('.').count() == 4
        && token.split('.').all(|part| !part.is_empty());
    if !well_formed {
        return None;
    }
    let untrusted = UntrustedToken::<Public, V4>::try_from(token).ok()?;
    let footer: Footer<'_> = serde_json::from_slice(untrusted.untrusted_footer()).ok()?;
    let key = ring.verifier(footer.kid, now)?;
    let payload: Payload = serde_json::from_str(&signed_payload(&key.public, &untrusted, &[])?).ok()?;
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok().map(|t| Time::from(t.to_utc()));
    time(&payload.iat)?;
    let said = Said {
        iss: &payload.iss,
        sub: &payload.sub,
        aud: &payload.aud,
        exp: time(&payload.exp)?,
        nbf: time(&payload.nbf)?,
        jti: &payload.jti,
        sid: &payload.sid,
        scopes: Scopes::parse(&payload.scopes).ok()?,
    };
    said.check(key, parties, now)
}

/// What a token says whose signature holds, in either format.
pub(super) struct Said<'a> {
    pub iss: &'a str,
    pub sub: &'a str,
    pub aud: &'a str,
    pub exp: Time,
    pub nbf: Time,
    pub jti: &'a str,
    pub sid: &'a str,
    pub scopes: Scopes,
}

impl Said<'_> {
    /// Whether it is said by us and for us, and has begun (S25). The key is the one that signed it.
    pub(super) fn check(self, key: &SigningKey, parties: &Parties, now: Time) -> Option<Verified> {
        if self.iss != parties.issuer || self.aud != parties.audience || self.nbf > now + LEEWAY {
            return None;
        }
        let claims = Claims {
            user_id: self.sub.parse().ok()?,
            session_id: self.sid.parse().ok()?,
            token_id: TokenId(self.jti.parse().ok()?),
            scopes: Arc::new(self.scopes),
            expire_time: self.exp,
        };
        Some(Verified { claims, kid: Arc::clone(&key.kid) })
    }
}

/// The payload of a token whose signature holds.
fn signed_payload(
    public: &AsymmetricPublicKey<V4>,
    token: &UntrustedToken<Public, V4>,
    implicit_assertion: &[u8],
) -> Option<String> {
    let trusted = PublicToken::verify(public, token, None, Some(implicit_assertion)).ok()?;
    Some(trusted.payload().to_owned())
}

/// `iat` and `nbf` of a token that is issued `now`.
pub(super) fn begin(now: Time) -> Time {
    whole_seconds(now - BACKDATE)
}

/// Without the fraction, as PASETO's registered claims are usually written, and those of a JWT.
pub fn whole_seconds(time: Time) -> Time {
    Time::from_micros(time.seconds() * 1_000_000)
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn now() -> Time {
        Time::from_micros(1_800_000_000_000_000)
    }

    pub fn parties() -> Parties {
        Parties { issuer: "https://auth.example.com".into(), audience: "countersign".into() }
    }

    pub fn claims() -> Claims {
        Claims {
            user_id: UserId::generate(now()),
            session_id: SessionId::generate(now()),
            token_id: TokenId::generate(now()),
            scopes: Arc::new(Scopes::parse(["a", "b"]).unwrap()),
            expire_time: now() + Duration::from_mins(15),
        }
    }

    pub fn ring() -> KeyRing {
        KeyRing::new(vec![SigningKey::generate(now()).unwrap()])
    }

    /// Signs any payload, to see what the verifier makes of it.
    fn forge(ring: &KeyRing, payload: &str, footer: Option<&str>) -> String {
        let key = ring.signer(now()).unwrap();
        let own = format!("{{\"kid\":\"{}\"}}", key.kid);
        let footer = footer.unwrap_or(&own).as_bytes();
        PublicToken::sign(&key.secret, payload.as_bytes(), Some(footer).filter(|f| !f.is_empty()), None)
            .unwrap()
    }

    fn payload_of(token: &str) -> String {
        let token = UntrustedToken::<Public, V4>::try_from(token).unwrap();
        String::from_utf8(token.untrusted_payload().to_vec()).unwrap()
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let (ring, claims) = (ring(), claims());
        let token = sign(ring.signer(now()).unwrap(), &parties(), &claims, now()).unwrap();
        // That it has expired is for the caller to say, each time that it is used.
        for time in [now(), claims.expire_time] {
            let kid = Arc::clone(&ring.signer(now()).unwrap().kid);
            assert_eq!(
                verify(&ring, &parties(), &token, time),
                Some(Verified { claims: claims.clone(), kid })
            );
        }
        // The documented footer, and no personal data.
        assert!(token.len() < 700, "{}", token.len());
        assert!(!payload_of(&token).contains("email"));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        // S24, S25, S26, S27
        let ring = ring();
        let token = sign(ring.signer(now()).unwrap(), &parties(), &claims(), now()).unwrap();
        let payload = payload_of(&token);
        assert!(verify(&ring, &parties(), &forge(&ring, &payload, None), now()).is_some());
        let with = |claim: &str, value: &str| {
            let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&payload).unwrap();
            assert!(map.insert(claim.to_owned(), value.into()).is_some());
            serde_json::to_string(&map).unwrap()
        };
        let without = |claim: &str| {
            let mut map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&payload).unwrap();
            assert!(map.remove(claim).is_some());
            serde_json::to_string(&map).unwrap()
        };
        let mut refused = vec![
            String::new(),
            format!("{token}."),
            format!("{token}.e30"),
            token.replace("v4.public.", "v3.public."),
            token.replace("v4.public.", "v4.local."),
            token.rsplit_once('.').unwrap().0.to_owned(),
            format!("{token}{}", "A".repeat(MAX_LEN)),
            forge(&ring, &payload, Some("")),
            forge(&ring, &payload, Some("{\"kid\":\"k4.pid.unknown\"}")),
            forge(&ring, &payload, Some("{\"kid\":1}")),
            forge(&ring, &payload.replacen('{', "{\"sub\":\"usr_0\",", 1), None),
            forge(&ring, &with("iss", "https://other.example.com"), None),
            forge(&ring, &with("aud", "other"), None),
            forge(&ring, &with("sub", "ses_00000000000000000000000000000000"), None),
            forge(&ring, &with("exp", "tomorrow"), None),
            forge(&ring, &with("nbf", "2027-01-15T08:02:00Z"), None),
            forge(&ring, "[]", None),
        ];
        for claim in ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "scopes"] {
            refused.push(forge(&ring, &without(claim), None));
        }
        // Signed by a key of another ring, but with this ring's key id.
        let other = self::ring();
        let own_footer = format!("{{\"kid\":\"{}\"}}", ring.signer(now()).unwrap().kid);
        refused.push(forge(&other, &payload, Some(&own_footer)));
        for token in refused {
            assert_eq!(verify(&ring, &parties(), &token, now()), None, "{token}");
        }
    }
}
