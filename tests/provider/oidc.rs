//! OpenID Connect: a stand-in with keys of its own, and ID tokens that are good or bad in one respect.

use std::{sync::atomic::Ordering, time::Duration};

use countersign::provider::{Error, Kind, Profile, Proofs, Provider};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use crate::{
    REDIRECT,
    idp::{Idp, Signed, now},
    provider,
};

fn provider_of(idp: &Idp, pkce_and_nonce: bool) -> Provider {
    provider(Kind::Oidc { issuer: idp.issuer.clone(), pkce_and_nonce })
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
    let provider = provider_of(&idp, true);
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
        let provider = provider_of(&idp, pkce_and_nonce);
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
    let provider = provider_of(&idp, false);
    idp.issue(&idp.claims(None), Signed::Well);
    identify(&provider, &provider.new_proofs()).await.unwrap();
    assert_eq!(idp.sent("code_verifier"), None);
    assert_eq!(idp.sent("client_secret").as_deref(), Some("the client secret"));
}

#[tokio::test]
async fn an_id_token_that_is_wrong_in_any_respect_is_refused_supabase_cve_2026_31813() {
    // S48
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
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
    let provider = provider_of(&idp, true);
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
    let provider = provider_of(&idp, true);
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
    let answer = provider_of(&idp, true).identify(&"used".into(), REDIRECT, &proofs()).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
    let other = provider(Kind::Oidc { issuer: format!("{}/", idp.issuer), pkce_and_nonce: true });
    let answer = identify(&other, &proofs()).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_sign_in_that_was_started_here_is_not_completed_without_its_state() {
    // S43
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    let nonce = provider.new_proofs().nonce.unwrap();
    idp.issue(&idp.claims(Some(nonce.expose_secret())), Signed::Well);
    let answer = identify(&provider, &Proofs::default()).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");
    // A nonce of the client's own is the client's business.
    idp.issue(&idp.claims(Some("n")), Signed::Well);
    identify(&provider, &Proofs::default()).await.unwrap();
}

#[tokio::test]
async fn verified_may_be_said_in_text_and_what_is_not_said_so_is_no_address() {
    // S47; LinkedIn and Cognito write text.
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    let mut claims = idp.claims(Some("n"));
    for (verified, address) in [(json!("true"), Some("ann@example.com")), (json!("false"), None)] {
        claims["email_verified"] = verified;
        idp.issue(&claims, Signed::Well);
        assert_eq!(identify(&provider, &proofs()).await.unwrap().verified_email.as_deref(), address);
    }
    claims["email_verified"] = json!(1);
    idp.issue(&claims, Signed::Well);
    let answer = identify(&provider, &proofs()).await;
    assert!(matches!(answer, Err(Error::Refused(_))), "{answer:?}");

    claims.as_object_mut().unwrap().remove("email");
    claims.as_object_mut().unwrap().remove("email_verified");
    idp.issue(&claims, Signed::Well);
    for (verified, address) in [
        (json!(true), Some("ann@example.com")),
        (json!("true"), Some("ann@example.com")),
        (json!(1), None),
        (json!("yes"), None),
        (Value::Null, None),
    ] {
        // LinkedIn's locale is an object there.
        *idp.user_info.lock().unwrap() = json!({
            "sub": "subject-1", "email": "ann@example.com", "email_verified": verified,
            "locale": {"country": "US", "language": "en"},
        });
        let profile = identify(&provider, &proofs()).await.unwrap();
        assert_eq!(profile.verified_email.as_deref(), address, "{verified}");
    }
}

#[tokio::test]
async fn a_refusal_is_the_codes_only_where_the_provider_says_so() {
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    for (error, is_the_codes) in [
        ("invalid_grant", true),
        ("invalid_request", true),
        ("invalid_client", false),
        ("unauthorized_client", false),
        ("server_error", false),
        ("of its own", false),
    ] {
        *idp.refusal.lock().unwrap() = json!({"error": error, "error_description": "at length"});
        match provider.identify(&"used".into(), REDIRECT, &proofs()).await {
            Err(Error::Refused(why)) if is_the_codes => assert!(why.contains(error), "{why}"),
            Err(Error::Unavailable(why)) if !is_the_codes => assert!(why.contains(error), "{why}"),
            answer => panic!("{error}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_subject_that_is_none_is_refused() {
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    for subject in ["", "a\0b", "a\nb", &"a".repeat(256)] {
        let mut claims = idp.claims(Some("n"));
        claims["sub"] = json!(subject);
        idp.issue(&claims, Signed::Well);
        let answer = identify(&provider, &proofs()).await;
        assert!(matches!(answer, Err(Error::Refused(_))), "{subject:?}: {answer:?}");
    }
}

/// Lets time go by, but not while somebody waits for an answer.
async fn advance(span: Duration) {
    tokio::time::pause();
    tokio::time::advance(span).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_new_key_is_fetched_also_under_an_old_name_but_not_every_time() {
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    for kid in ["two", "two"] {
        idp.issue(&idp.claims(Some("n")), Signed::Well);
        identify(&provider, &proofs()).await.unwrap();
        idp.rotate(kid);
        idp.issue(&idp.claims(Some("n")), Signed::Well);
        let asked = idp.discoveries.load(Ordering::SeqCst);
        let answer = identify(&provider, &proofs()).await;
        assert!(matches!(answer, Err(Error::Refused(_))), "{kid}: {answer:?}");
        assert_eq!(idp.discoveries.load(Ordering::SeqCst), asked);
        advance(Duration::from_mins(1)).await;
        identify(&provider, &proofs()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_discovered_is_asked_for_once_an_hour_and_outlasts_an_outage_of_a_day() {
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    idp.issue(&idp.claims(Some("n")), Signed::Well);
    let all = (0..20).map(|_| async { identify(&provider, &proofs()).await.unwrap() });
    futures_util::future::join_all(all).await;
    assert_eq!(idp.discoveries.load(Ordering::SeqCst), 1);

    idp.away.store(true, Ordering::SeqCst);
    advance(Duration::from_hours(1)).await;
    for _ in 0..3 {
        identify(&provider, &proofs()).await.unwrap();
    }
    // Not asked anew at once.
    assert_eq!(idp.discoveries.load(Ordering::SeqCst), 2);
    advance(Duration::from_hours(23)).await;
    let answer = identify(&provider, &proofs()).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    idp.away.store(false, Ordering::SeqCst);
    advance(Duration::from_secs(5)).await;
    idp.issue(&idp.claims(Some("n")), Signed::Well);
    identify(&provider, &proofs()).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_the_issuers_by_its_exact_name() {
    // S44, RFC 9207
    let idp = Idp::start(false).await;
    let provider = provider_of(&idp, true);
    assert!(provider.is_named(&idp.issuer));
    for other in ["", "https://evil.example", &format!("{}/", idp.issuer)] {
        assert!(!provider.is_named(other), "{other}");
    }
}
