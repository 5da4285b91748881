//! OpenID Connect: a stand-in with keys of its own, and ID tokens that are good or bad in one respect.

use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::provider::{Error, Kind, Profile, Proofs, Provider};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{REDIRECT, bind, provider, serve};

/// How an ID token is signed, or not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Signed {
    Well,
    ByAnotherKey,
    /// `alg: none`.
    Not,
    /// HS256 by the public key, which everybody knows.
    ByThePublicKey,
}

/// A stand-in provider.
struct Idp {
    issuer: String,
    key: Mutex<(String, Ed25519KeyPair)>,
    token: Mutex<Option<String>>,
    user_info: Mutex<Value>,
    sent: Mutex<Vec<(String, String)>>,
    body_auth: bool,
}

fn new_key() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the provider's clock is the machine's")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Idp {
    async fn start(body_auth: bool) -> Arc<Self> {
        let (listener, address) = bind().await;
        let idp = Arc::new(Self {
            issuer: format!("http://{address}"),
            key: Mutex::new(("one".to_owned(), new_key())),
            token: Mutex::default(),
            user_info: Mutex::default(),
            sent: Mutex::default(),
            body_auth,
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .with_state(idp.clone());
        serve(listener, router);
        idp
    }

    fn provider(&self, pkce_and_nonce: bool) -> Provider {
        provider(Kind::Oidc { issuer: self.issuer.clone(), pkce_and_nonce })
    }

    fn claims(&self, nonce: Option<&str>) -> Value {
        json!({
            "iss": self.issuer, "sub": "subject-1", "aud": "client", "exp": now() + 300, "iat": now(), "nonce": nonce,
            "email": "ann@example.com", "email_verified": true, "name": "Ann",
        })
    }

    /// The next ID token that is issued.
    fn issue(&self, claims: &Value, signed: Signed) {
        let key = self.key.lock().unwrap();
        let algorithm = match signed {
            Signed::Well | Signed::ByAnotherKey => "EdDSA",
            Signed::Not => "none",
            Signed::ByThePublicKey => "HS256",
        };
        let header = json!({"alg": algorithm, "kid": key.0, "typ": "JWT"});
        let payload = format!("{}.{}", encode(&header), encode(claims));
        let signature = match signed {
            Signed::Well => key.1.sign(payload.as_bytes()).as_ref().to_vec(),
            Signed::ByAnotherKey => new_key().sign(payload.as_bytes()).as_ref().to_vec(),
            Signed::Not => Vec::new(),
            Signed::ByThePublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.1.public_key().as_ref());
                hmac::sign(&secret, payload.as_bytes()).as_ref().to_vec()
            }
        };
        *self.token.lock().unwrap() = Some(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature)));
    }

    fn sent(&self, name: &str) -> Option<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }
}

async fn discovery(State(idp): State<Arc<Idp>>) -> Json<Value> {
    let issuer = &idp.issuer;
    let methods = if idp.body_auth { json!(["client_secret_post"]) } else { json!(["client_secret_basic"]) };
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"), "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
        "token_endpoint_auth_methods_supported": methods,
    }))
}

async fn jwks(State(idp): State<Arc<Idp>>) -> Json<Value> {
    let key = idp.key.lock().unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.1.public_key().as_ref());
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": key.0, "use": "sig", "x": x}]}))
}

async fn token(State(idp): State<Arc<Idp>>, headers: HeaderMap, body: String) -> Response {
    let sent: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(headers.contains_key("authorization"), !idp.body_auth);
    *idp.sent.lock().unwrap() = sent;
    if idp.sent("code").as_deref() != Some("good") {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    }
    let mut answer = json!({"access_token": "at", "token_type": "Bearer", "expires_in": 300});
    if let Some(token) = &*idp.token.lock().unwrap() {
        answer["id_token"] = token.as_str().into();
    }
    Json(answer).into_response()
}

async fn user_info(State(idp): State<Arc<Idp>>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers["authorization"], "Bearer at");
    Json(idp.user_info.lock().unwrap().clone())
}

async fn identify(provider: &Provider, proofs: &Proofs) -> Result<Profile, Error> {
    provider.identify(&"good".into(), REDIRECT, proofs).await
}

/// Proofs with a nonce that is known here.
fn proofs() -> Proofs {
    Proofs {
        code_verifier: Some("a-verifier-of-at-least-forty-three-characters".into()),
        nonce: Some("n".into()),
    }
}

#[tokio::test]
async fn who_came_is_told_by_the_id_token() {
    // S43, S47, S48
    let idp = Idp::start(false).await;
    let provider = idp.provider(true);
    idp.issue(&idp.claims(Some("n")), Signed::Well);
    let profile = identify(&provider, &proofs()).await.unwrap();
    assert_eq!(profile.verified_email.as_deref(), Some("ann@example.com"));
    assert_eq!(
        (profile.issuer, profile.subject, profile.name),
        (idp.issuer.clone(), "subject-1".to_owned(), "Ann".to_owned())
    );
    assert_eq!(idp.sent("code_verifier").as_deref(), Some("a-verifier-of-at-least-forty-three-characters"));
    assert_eq!(idp.sent("redirect_uri").as_deref(), Some(REDIRECT));
}

#[tokio::test]
async fn the_way_there_carries_state_pkce_and_nonce_or_state_alone() {
    // S43
    let idp = Idp::start(false).await;
    for pkce_and_nonce in [true, false] {
        let provider = idp.provider(pkce_and_nonce);
        let proofs = provider.new_proofs();
        let url = provider.authorization_url(REDIRECT, &"the state".into(), &proofs).await.unwrap();
        let query: std::collections::HashMap<_, _> =
            Url::parse(&url).unwrap().query_pairs().into_owned().collect();
        assert_eq!((query["state"].as_str(), query["scope"].as_str()), ("the state", "openid profile email"));
        assert_eq!(query["redirect_uri"], REDIRECT);
        for name in ["nonce", "code_challenge", "code_challenge_method"] {
            assert_eq!(query.contains_key(name), pkce_and_nonce, "{name}: {url}");
        }
    }
}

#[tokio::test]
async fn linkedin_gets_no_verifier_gives_no_nonce_and_takes_the_secret_in_the_body() {
    // S43
    let idp = Idp::start(true).await;
    let provider = idp.provider(false);
    idp.issue(&idp.claims(None), Signed::Well);
    identify(&provider, &provider.new_proofs()).await.unwrap();
    assert_eq!(idp.sent("code_verifier"), None);
    assert_eq!(idp.sent("client_secret").as_deref(), Some("the client secret"));
}

#[tokio::test]
async fn an_id_token_that_is_wrong_in_any_respect_is_refused_supabase_cve_2026_31813() {
    // S48
    let idp = Idp::start(false).await;
    let provider = idp.provider(true);
    let good = idp.claims(Some("n"));
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let cases = [
        (with("iss", json!("https://evil.example")), Signed::Well),
        (with("aud", json!("somebody else")), Signed::Well),
        (with("aud", json!(["somebody else"])), Signed::Well),
        (with("exp", json!(now() - 10)), Signed::Well),
        (with("nonce", json!("another")), Signed::Well),
        (with("nonce", Value::Null), Signed::Well),
        (good.clone(), Signed::ByAnotherKey),
        (good.clone(), Signed::Not),
        (good.clone(), Signed::ByThePublicKey),
    ];
    for (claims, signed) in cases {
        idp.issue(&claims, signed);
        let answer = identify(&provider, &proofs()).await;
        assert!(matches!(answer, Err(Error::Refused(_))), "{claims} {signed:?}: {answer:?}");
    }
    *idp.token.lock().unwrap() = None;
    assert!(matches!(identify(&provider, &proofs()).await, Err(Error::Refused(_))));
    idp.issue(&good, Signed::Well);
    assert!(identify(&provider, &proofs()).await.is_ok(), "and the good one is not");
}

#[tokio::test]
async fn an_address_that_is_not_said_to_be_verified_is_none() {
    // S47
    let idp = Idp::start(false).await;
    let provider = idp.provider(true);
    for verified in [Value::Null, json!(false)] {
        let mut claims = idp.claims(Some("n"));
        claims["email_verified"] = verified.clone();
        // The ID token wins, whatever userinfo says.
        *idp.user_info.lock().unwrap() =
            json!({"sub": "subject-1", "email": "ann@example.com", "email_verified": true});
        idp.issue(&claims, Signed::Well);
        assert_eq!(identify(&provider, &proofs()).await.unwrap().verified_email, None, "{verified}");
    }
}

#[tokio::test]
async fn userinfo_tells_what_the_id_token_does_not_and_of_the_same_person_only() {
    // S47
    let idp = Idp::start(false).await;
    let provider = idp.provider(true);
    let mut claims = idp.claims(Some("n"));
    for name in ["email", "email_verified", "name"] {
        claims.as_object_mut().unwrap().remove(name);
    }
    idp.issue(&claims, Signed::Well);
    *idp.user_info.lock().unwrap() =
        json!({"sub": "subject-1", "name": "Ann", "email": "ann@example.com", "email_verified": true});
    let profile = identify(&provider, &proofs()).await.unwrap();
    assert_eq!((profile.verified_email.as_deref(), profile.name.as_str()), (Some("ann@example.com"), "Ann"));
    *idp.user_info.lock().unwrap() =
        json!({"sub": "subject-2", "email": "eve@example.com", "email_verified": true});
    assert!(matches!(identify(&provider, &proofs()).await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_code_that_is_refused_is_refused_and_an_issuer_that_is_another_is_none() {
    let idp = Idp::start(false).await;
    let answer = idp.provider(true).identify(&"used".into(), REDIRECT, &proofs()).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
    let other = provider(Kind::Oidc { issuer: format!("{}/", idp.issuer), pkce_and_nonce: true });
    let answer = identify(&other, &proofs()).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
}
