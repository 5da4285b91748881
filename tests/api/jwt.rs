//! Access tokens as JWTs, and the key set that verifies them, as others see both.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use countersign::{
    api::pb::{CredentialStatus as S, PrincipalType, TokenResponse},
    types::Time,
};
use http::{Method, Request, Response};
use http_body_util::Full;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    signing_keys::add_key,
    support::{EMAIL, PASSWORD, START, Server, Setup, after_start, expect_status},
    wire::{DOORS, Door},
};

const JWKS: &str = "/.well-known/jwks.json";
const ORIGIN: &str = "https://app.example.com";

async fn setup(database: Kind) -> Setup {
    Setup::new(database).await.set("TOKENS__FORMAT", "jwt")
}

/// Stops it and starts it anew, with this format.
async fn restart(server: Server, format: &str) -> Server {
    let again = server.replica();
    server.stop().await;
    again.set("TOKENS__FORMAT", format).start().await
}

async fn ask(server: &Server, method: Method, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::builder().method(method).uri(server.url(JWKS));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(Full::default()).unwrap()).await
}

/// The published keys, by their ids.
async fn published(server: &Server) -> BTreeMap<String, Value> {
    let answer = ask(server, Method::GET, &[]).await;
    assert_eq!(answer.status(), 200);
    let set: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(set.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"]);
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["kid"].as_str().unwrap().to_owned(), key.clone())).collect()
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token's header and claims, once another implementation than ours has checked its signature with a published key.
fn verified(token: &str, keys: &BTreeMap<String, Value>) -> (Value, Value) {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let header = decode(header);
    let key = &keys[header["kid"].as_str().unwrap()];
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public).verify(input.as_bytes(), &signature).unwrap();
    (header, decode(claims))
}

fn kid_of(token: &str) -> String {
    decode(token.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_jwt(tokens: &TokenResponse) {
    assert_eq!(tokens.token_type, "Bearer");
    assert!(tokens.access_token.starts_with("eyJ"), "{}", tokens.access_token);
}

on_both! {
    async fn a_published_key_verifies_a_token_with_these_claims_and_no_others(database: Kind) {
        // S24, S25
        let server = setup(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let registered = server.register().await;
        let signed_in = server.login(EMAIL, PASSWORD).await.unwrap();
        let refreshed = server.refresh(&registered.refresh_token).await.unwrap();
        let keys = published(&server).await;
        let mut ids = Vec::new();
        for tokens in [&registered, &signed_in, &refreshed] {
            assert_jwt(tokens);
            let answer = server.validate(&tokens.access_token).await;
            assert_eq!((answer.status(), answer.expire_time), (S::Valid, Some(after_start(900))));
            let principal = answer.principal.unwrap();
            assert_eq!(principal.r#type(), PrincipalType::User);
            assert_eq!(principal.scopes, ["read", "write"]);

            let (header, mut claims) = verified(&tokens.access_token, &keys);
            assert_eq!(header, json!({"alg": "EdDSA", "typ": "at+jwt", "kid": keys.keys().next().unwrap()}));
            ids.push(claims.as_object_mut().unwrap().remove("jti").unwrap());
            let start = START / 1_000_000;
            let expected = json!({
                "iss": "https://auth.example.com",
                "sub": principal.user_id,
                "aud": "countersign",
                "exp": start + 900,
                "iat": start - 10,
                "nbf": start - 10,
                "sid": principal.session_id,
                "client_id": "countersign",
                "scope": "read write",
            });
            assert_eq!(claims, expected);
        }
        ids.dedup();
        assert_eq!(ids.len(), 3, "another token is another jti");
        assert_eq!(server.validate_for(&registered.access_token, &["admin"]).await.status(), S::InsufficientScope);
        assert_eq!(server.get_me(&refreshed.access_token).await.unwrap().email, EMAIL);
    }
}

on_both! {
    async fn it_is_valid_until_it_expires(database: Kind) {
        let server = setup(database).await.start().await;
        let token = server.register().await.access_token;
        server.advance(899);
        assert_eq!(server.status_of(&token).await, S::Valid);
        server.advance(1);
        assert_eq!(server.status_of(&token).await, S::Expired);
        expect_status(server.get_me(&token).await, Code::Unauthenticated, "CREDENTIAL_EXPIRED");
    }
}

on_both! {
    async fn signing_out_ends_all_of_the_session_and_no_other(database: Kind) {
        // S28
        let server = setup(database).await.start().await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        let other = server.login(EMAIL, PASSWORD).await.unwrap();
        server.logout(&second.access_token).await.unwrap();
        for token in [&first.access_token, &second.access_token] {
            assert_eq!(server.status_of(token).await, S::Revoked);
            expect_status(server.get_me(token).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
        }
        assert_eq!(server.status_of(&other.access_token).await, S::Valid);
    }
}

on_both! {
    async fn the_format_may_change_under_live_tokens(database: Kind) {
        // S24, S28
        let server = Server::start(database).await;
        let paseto = server.register().await;
        assert!(paseto.access_token.starts_with("v4.public."));
        let before = published(&server).await;

        let server = restart(server, "jwt").await;
        assert_eq!(published(&server).await, before, "known to gateways before the first JWT");
        let jwt = server.refresh(&paseto.refresh_token).await.unwrap();
        assert_jwt(&jwt);
        let other = server.login(EMAIL, PASSWORD).await.unwrap();
        let server = restart(server, "paseto").await;
        let again = server.refresh(&jwt.refresh_token).await.unwrap();
        assert!(again.access_token.starts_with("v4.public."));
        let session = [&paseto.access_token, &jwt.access_token, &again.access_token];
        for token in session {
            assert_eq!(server.status_of(token).await, S::Valid);
        }
        server.logout(&jwt.access_token).await.unwrap();
        for token in session {
            assert_eq!(server.status_of(token).await, S::Revoked);
        }
        assert_eq!(server.status_of(&other.access_token).await, S::Valid);
    }
}

on_both! {
    async fn the_key_set_has_a_new_key_before_it_signs_and_an_old_one_until_it_ends(database: Kind) {
        // S30
        let server = setup(database).await.start().await;
        let tokens = server.register().await;
        let old = kid_of(&tokens.access_token);
        let other = Server::start(database).await;
        add_key(&other.database, &server.database, 2, 60).await;
        let server = restart(server, "jwt").await;
        let keys = published(&server).await;
        let new = published(&other).await.into_keys().next().unwrap();
        assert_eq!((keys.len(), keys.contains_key(&old), keys.contains_key(&new)), (2, true, true));
        let tokens = server.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(kid_of(&tokens.access_token), old);
        server.advance(60);
        let tokens = server.refresh(&tokens.refresh_token).await.unwrap();
        assert_eq!(kid_of(&tokens.access_token), new);
        verified(&tokens.access_token, &keys);

        let end = server.database.time(Time::from_micros(START + 61 * 1_000_000));
        let retire = format!("UPDATE signing_keys SET not_after_time = {end} WHERE kid = '{old}'");
        server.database.execute(&retire).await;
        let server = restart(server, "jwt").await;
        assert_eq!(published(&server).await, keys);
        server.advance(1);
        assert_eq!(published(&server).await.into_keys().collect::<Vec<_>>(), [new]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_holds_public_halves_alone_and_may_be_kept_for_a_minute() {
    // S30: a minute is less than the time for which a key is published before it signs.
    let server = Server::start(Kind::Sqlite).await;
    let answer = ask(&server, Method::GET, &[]).await;
    for (name, value) in [
        ("content-type", "application/jwk-set+json"),
        ("cache-control", "public, max-age=60"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers().get_all(name).iter().collect::<Vec<_>>(), [value]);
    }
    let keys = published(&server).await;
    let key = keys.values().next().unwrap().as_object().unwrap();
    assert_eq!(key.keys().collect::<Vec<_>>(), ["alg", "crv", "kid", "kty", "use", "x"], "no d");
    for (name, value) in [("alg", "EdDSA"), ("crv", "Ed25519"), ("kty", "OKP"), ("use", "sig")] {
        assert_eq!(key[name], value);
    }
    assert_eq!(URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap().len(), 32);
    assert!(key["kid"].as_str().unwrap().starts_with("k4.pid."));

    let head = ask(&server, Method::HEAD, &[]).await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert_eq!(head.headers()["content-length"], answer.body().len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_may_read_the_key_set() {
    // S53
    let server = setup(Kind::Sqlite).await.set("SERVER__CORS_ORIGINS", ORIGIN).start().await;
    let answer = ask(&server, Method::GET, &[("origin", ORIGIN)]).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    let answer = ask(&server, Method::GET, &[("origin", "https://evil.example")]).await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_jwt_of_ours_is_invalid_at_every_door() {
    // S24, S29
    let server = setup(Kind::Sqlite).await.start().await;
    let token = server.register().await.access_token;
    // The other service would sign with a key of its own, for the same issuer and audience.
    let other = setup(Kind::Sqlite).await.start().await.register().await.access_token;
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let none =
        URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "at+jwt", "kid": kid_of(&token)}).to_string());
    let tampered = URL_SAFE_NO_PAD.encode(decode(payload).to_string().replace("countersign", "countersigm"));
    for token in [
        other,
        format!("{token}."),
        format!("{input}."),
        input.to_owned(),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{header}.{tampered}.{signature}"),
        format!("eyJ{}", "A".repeat(5000)),
    ] {
        assert_eq!(server.status_of(&token).await, S::Invalid, "{token}");
        for door in DOORS {
            let authorization = format!("Bearer {token}");
            let headers = [("authorization", authorization.as_str())];
            let answer = server.call(door, "GetMe", &headers, &json!({})).await;
            answer.expect("INVALID_CREDENTIAL", &format!("{door:?} {token}"));
        }
    }
    // An access token is no API key, whatever its format.
    let answer = server.call(Door::Rest, "GetMe", &[("x-api-key", &token)], &json!({})).await;
    answer.expect("INVALID_CREDENTIAL", "a JWT as an API key");
    assert_eq!(server.status_of(&token).await, S::Valid);
}
