//! OpenID Connect: a stand-in with keys of its own, and ID tokens that are good or bad in one respect.

use countersign::provider::{Error, Kind, Profile, Proofs, Provider};
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
