//! GitHub, as its documentation has it: tokens as a form or JSON, errors with status 200, two calls for who somebody is.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use countersign::provider::{Error, Kind, Profile, Proofs, Provider};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{
    REDIRECT,
    idp::{bind, serve},
    provider,
};

/// What the stand-in answers.
#[derive(Clone)]
struct Answers {
    token: (StatusCode, &'static str, String),
    user: (StatusCode, Value),
    emails: (StatusCode, Value),
}

impl Default for Answers {
    fn default() -> Self {
        let token = json!({"access_token": "gho_token", "token_type": "bearer", "scope": "user:email"});
        Self {
            token: (StatusCode::OK, "application/json", token.to_string()),
            user: (
                StatusCode::OK,
                json!({"id": 583_231, "login": "octocat", "name": "The Octocat", "email": null}),
            ),
            emails: (
                StatusCode::OK,
                json!([
                    {"email": "other@example.com", "primary": false, "verified": true, "visibility": null},
                    {"email": "octocat@example.com", "primary": true, "verified": true, "visibility": "public"},
                ]),
            ),
        }
    }
}

async fn token(State(answers): State<Arc<Answers>>, body: Bytes) -> Response {
    let sent: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
    let of = |name: &str| sent.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    assert_eq!((of("client_id"), of("client_secret")), (Some("client"), Some("the client secret")));
    assert_eq!((of("redirect_uri"), of("grant_type")), (Some(REDIRECT), Some("authorization_code")));
    if of("code") != Some("good") {
        // As GitHub has it.
        return Json(json!({"error": "bad_verification_code", "error_description": "incorrect or expired"}))
            .into_response();
    }
    let (status, content_type, body) = answers.token.clone();
    (status, [("content-type", content_type)], body).into_response()
}

fn api(headers: &HeaderMap, (status, body): (StatusCode, Value)) -> Response {
    let limits = [
        ("API rate limit exceeded", "x-ratelimit-remaining", "0"),
        ("secondary rate limit", "retry-after", "60"),
    ];
    if let Some((_, name, value)) = limits.into_iter().find(|(message, ..)| body["message"] == *message) {
        return (status, [(name, value)], Json(body)).into_response();
    }
    if headers.get("authorization").unwrap() != "Bearer gho_token" || !headers.contains_key("user-agent") {
        return (StatusCode::UNAUTHORIZED, Json(json!({"message": "Bad credentials"}))).into_response();
    }
    (status, Json(body)).into_response()
}

async fn github(answers: Answers) -> Provider {
    let (listener, address) = bind().await;
    let router = Router::new()
        .route("/login/oauth/access_token", post(token))
        .route(
            "/api/user",
            get(async |State(answers): State<Arc<Answers>>, headers: HeaderMap| {
                api(&headers, answers.user.clone())
            }),
        )
        .route(
            "/api/user/emails",
            get(async |State(answers): State<Arc<Answers>>, headers: HeaderMap| {
                api(&headers, answers.emails.clone())
            }),
        )
        .with_state(Arc::new(answers));
    serve(listener, router);
    provider(Kind::Github {
        authorization_url: format!("http://{address}/login/oauth/authorize"),
        token_url: format!("http://{address}/login/oauth/access_token"),
        api_url: format!("http://{address}/api"),
    })
}

async fn identify(answers: Answers) -> Result<Profile, Error> {
    github(answers).await.identify(&"good".into(), REDIRECT, &Proofs::default()).await
}

#[tokio::test]
async fn a_person_is_known_by_number_and_primary_verified_address() {
    // S45, S47
    let provider = github(Answers::default()).await;
    let proofs = provider.new_proofs();
    assert!(proofs.code_verifier.is_some() && proofs.nonce.is_none());
    let profile = provider.identify(&"good".into(), REDIRECT, &proofs).await.unwrap();
    assert_eq!(profile.subject, "583231");
    // Of an Enterprise's people, whose numbers they are is told by its API.
    assert!(profile.issuer.starts_with("http://127.0.0.1:") && profile.issuer.ends_with("/api"));
    assert_eq!(
        (profile.verified_email.as_deref(), profile.name.as_str()),
        (Some("octocat@example.com"), "The Octocat")
    );
}

#[tokio::test]
async fn the_way_there_carries_state_and_pkce() {
    // S43
    let provider = github(Answers::default()).await;
    let url =
        provider.authorization_url(REDIRECT, &"the state".into(), &provider.new_proofs()).await.unwrap();
    let url = Url::parse(&url).unwrap();
    let query: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(url.path(), "/login/oauth/authorize");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client"),
        ("redirect_uri", REDIRECT),
        ("state", "the state"),
        ("scope", "user:email"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(query["code_challenge"].len(), 43);
    assert!(!url.as_str().contains("secret"));
}

#[tokio::test]
async fn the_token_may_come_as_a_form() {
    let form = "access_token=gho_token&scope=user%3Aemail&token_type=bearer".to_owned();
    let token = (StatusCode::OK, "application/x-www-form-urlencoded; charset=utf-8", form);
    assert!(identify(Answers { token, ..Answers::default() }).await.is_ok());
}

#[tokio::test]
async fn a_code_that_is_refused_with_status_200_is_refused() {
    let provider = github(Answers::default()).await;
    let answer = provider.identify(&"used".into(), REDIRECT, &Proofs::default()).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
    let form = "error=bad_verification_code&error_description=incorrect".to_owned();
    let token = (StatusCode::OK, "application/x-www-form-urlencoded", form);
    let answer = identify(Answers { token, ..Answers::default() }).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn an_address_that_is_not_primary_and_verified_is_none() {
    // S47
    for emails in [
        (StatusCode::OK, json!([])),
        (StatusCode::OK, json!([{"email": "a@example.com", "primary": true, "verified": false}])),
        (StatusCode::OK, json!([{"email": "a@example.com", "primary": false, "verified": true}])),
        // Without the scope for it.
        (StatusCode::NOT_FOUND, json!({"message": "Not Found"})),
        (StatusCode::FORBIDDEN, json!({"message": "Resource not accessible"})),
    ] {
        let profile = identify(Answers { emails: emails.clone(), ..Answers::default() }).await.unwrap();
        assert_eq!(profile.verified_email, None, "{emails:?}");
    }
}

#[tokio::test]
async fn what_is_broken_is_not_available() {
    let broken = (StatusCode::BAD_GATEWAY, json!({"message": "unicorn"}));
    let limited = (StatusCode::FORBIDDEN, json!({"message": "API rate limit exceeded"}));
    let secondary = (StatusCode::FORBIDDEN, json!({"message": "secondary rate limit"}));
    let odd = (StatusCode::OK, json!({"id": "583231", "login": "octocat"}));
    let html = (StatusCode::OK, "text/html", "<html>a proxy's page</html>".to_owned());
    for answers in [
        Answers { user: broken.clone(), ..Answers::default() },
        Answers { emails: broken, ..Answers::default() },
        Answers { user: limited.clone(), ..Answers::default() },
        Answers { user: secondary.clone(), ..Answers::default() },
        Answers { emails: secondary, ..Answers::default() },
        Answers { emails: limited, ..Answers::default() },
        Answers { user: odd, ..Answers::default() },
        Answers { token: html, ..Answers::default() },
        Answers { token: (StatusCode::FOUND, "text/plain", String::new()), ..Answers::default() },
    ] {
        let answer = identify(answers).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    for error in ["incorrect_client_credentials", "of its own"] {
        let token = (StatusCode::OK, "application/json", json!({"error": error}).to_string());
        let answer = identify(Answers { token, ..Answers::default() }).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    let nobody = (StatusCode::UNAUTHORIZED, json!({"message": "Bad credentials"}));
    let answer = identify(Answers { user: nobody, ..Answers::default() }).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
}

#[test]
fn the_one_github_is_known_by_its_name_and_answers_from_its_host() {
    // S44, S45
    let github = provider(Kind::Github {
        authorization_url: "https://github.com/login/oauth/authorize".to_owned(),
        token_url: "https://github.com/login/oauth/access_token".to_owned(),
        api_url: "https://api.github.com".to_owned(),
    });
    assert_eq!(github.issuer(), "https://github.com");
    assert!(github.is_named("https://github.com") && github.is_named("https://github.com/login/oauth"));
    for other in ["", "github.com", "http://github.com", "https://evil.example", "https://api.github.com"] {
        assert!(!github.is_named(other), "{other}");
    }
}
