//! An OpenID Connect provider on this machine, with keys of its own, whose ID tokens are good, or bad in one respect.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
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
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// A port to serve on, before it is known what.
pub async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves until the test ends.
#[expect(clippy::disallowed_methods, reason = "a stand-in needs no limits")]
pub fn serve(listener: TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

/// How an ID token is signed, or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signed {
    Well,
    ByAnotherKey,
    /// `alg: none`.
    Not,
    /// HS256 by the public key, which everybody knows.
    ByThePublicKey,
}

/// A stand-in provider.
pub struct Idp {
    pub issuer: String,
    key: Mutex<(String, Ed25519KeyPair)>,
    pub token: Mutex<Option<String>>,
    pub user_info: Mutex<Value>,
    sent: Mutex<Vec<(String, String)>>,
    /// How it answers to a code that it does not take.
    pub refusal: Mutex<Value>,
    /// Whether it knows nothing of itself, and how often it was asked.
    pub away: AtomicBool,
    pub discoveries: AtomicUsize,
    body_auth: bool,
}

fn new_key() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the provider's clock is the machine's")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Idp {
    pub async fn start(body_auth: bool) -> Arc<Self> {
        let (listener, address) = bind().await;
        let idp = Arc::new(Self {
            issuer: format!("http://{address}"),
            key: Mutex::new(("one".to_owned(), new_key())),
            token: Mutex::default(),
            user_info: Mutex::default(),
            sent: Mutex::default(),
            refusal: Mutex::new(json!({"error": "invalid_grant"})),
            away: AtomicBool::default(),
            discoveries: AtomicUsize::default(),
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

    pub fn claims(&self, nonce: Option<&str>) -> Value {
        json!({
            "iss": self.issuer, "sub": "subject-1", "aud": "client", "exp": now() + 300, "iat": now(), "nonce": nonce,
            "email": "ann@example.com", "email_verified": true, "name": "Ann",
        })
    }

    /// The next ID token that is issued.
    pub fn issue(&self, claims: &Value, signed: Signed) {
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

    /// Signs by another key from now on.
    pub fn rotate(&self, kid: &str) {
        *self.key.lock().unwrap() = (kid.to_owned(), new_key());
    }

    pub fn sent(&self, name: &str) -> Option<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    }
}

async fn discovery(State(idp): State<Arc<Idp>>) -> Response {
    idp.discoveries.fetch_add(1, Ordering::SeqCst);
    if idp.away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let issuer = &idp.issuer;
    let methods = if idp.body_auth { json!(["client_secret_post"]) } else { json!(["client_secret_basic"]) };
    Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"), "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
        "token_endpoint_auth_methods_supported": methods,
    }))
    .into_response()
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
        return (StatusCode::BAD_REQUEST, Json(idp.refusal.lock().unwrap().clone())).into_response();
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
