use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};

use super::*;
use crate::crypto::tokens::{
    self, MAX_LEN,
    tests::{claims, now, parties, ring},
};

/// Judged where all tokens are.
fn verify(ring: &KeyRing, token: &str) -> Option<Verified> {
    tokens::verify(ring, &parties(), token, now())
}

fn token(ring: &KeyRing) -> String {
    sign(ring.signer(now()).unwrap(), &parties(), &claims(), now()).unwrap()
}

/// What a part of a token says, to be changed.
fn part(token: &str, number: usize) -> Map<String, Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Signs anything with the ring's own key, to see what the verifier makes of it.
fn forge(ring: &KeyRing, header: &str, payload: &str) -> String {
    let key = ring.signer(now()).unwrap();
    signed(key.secret.as_bytes(), header.as_bytes(), payload.as_bytes()).unwrap()
}

fn with(object: &Map<String, Value>, name: &str, value: impl Into<Value>) -> String {
    let mut object = object.clone();
    object.insert(name.to_owned(), value.into());
    serde_json::to_string(&object).unwrap()
}

fn without(object: &Map<String, Value>, name: &str) -> String {
    let mut object = object.clone();
    assert!(object.remove(name).is_some(), "{name}");
    serde_json::to_string(&object).unwrap()
}

#[track_caller]
fn refused(ring: &KeyRing, tokens: Vec<String>) {
    for token in tokens {
        assert_eq!(verify(ring, &token), None, "{token}");
    }
}

#[test]
fn a_token_says_what_was_signed() {
    let (ring, claims) = (ring(), claims());
    let key = ring.signer(now()).unwrap();
    let token = sign(key, &parties(), &claims, now()).unwrap();
    // Whether it has expired is asked at each use.
    for time in [now(), claims.expire_time] {
        let expected = Verified { claims: claims.clone(), kid: key.kid.clone() };
        assert_eq!(tokens::verify(&ring, &parties(), &token, time), Some(expected));
    }

    let start = now().seconds();
    assert_eq!(Value::from(part(&token, 0)), json!({"alg": "EdDSA", "typ": "at+jwt", "kid": &*key.kid}));
    let said = json!({
        "iss": "https://auth.example.com",
        "sub": claims.user_id.to_string(),
        "aud": "countersign",
        "exp": start + 900,
        "iat": start - 10,
        "nbf": start - 10,
        "jti": claims.token_id.0.to_string(),
        "sid": claims.session_id.to_string(),
        "client_id": "countersign",
        "scope": "a b",
    });
    assert_eq!(Value::from(part(&token, 1)), said);
}

#[test]
fn a_token_without_scopes_says_so() {
    let ring = ring();
    let claims = Claims { scopes: Arc::default(), ..claims() };
    let token = sign(ring.signer(now()).unwrap(), &parties(), &claims, now()).unwrap();
    assert_eq!(part(&token, 1)["scope"], "");
    assert_eq!(verify(&ring, &token).unwrap().claims, claims);
}

#[test]
fn no_header_but_ours_is_obeyed() {
    // S24, S26
    let ring = ring();
    let token = token(&ring);
    let (header, payload) =
        (part(&token, 0), String::from_utf8(Jws::parse(&token).unwrap().payload).unwrap());
    let own = serde_json::to_string(&header).unwrap();
    assert!(verify(&ring, &forge(&ring, &own, &payload)).is_some(), "the forger can sign");

    let mut tokens = Vec::new();
    for alg in ["none", "None", "HS256", "ES256", "RS256", "Ed25519", "eddsa", ""] {
        tokens.push(forge(&ring, &with(&header, "alg", alg), &payload));
    }
    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt", ""] {
        tokens.push(forge(&ring, &with(&header, "typ", typ), &payload));
    }
    for kid in ["k4.pid.unknown", "", "../../dev/null", "' OR 1=1 --"] {
        tokens.push(forge(&ring, &with(&header, "kid", kid), &payload));
    }
    for name in ["alg", "typ", "kid"] {
        tokens.push(forge(&ring, &without(&header, name), &payload));
        tokens.push(forge(&ring, &with(&header, name, 1), &payload));
        tokens.push(forge(&ring, &with(&header, name, Value::Null), &payload));
    }
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(true)),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!([])),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("unknown", json!(null)),
    ] {
        tokens.push(forge(&ring, &with(&header, name, value), &payload));
    }
    // A field that stands twice, the last of which would be right.
    tokens.push(forge(&ring, &own.replacen('{', "{\"alg\":\"none\",", 1), &payload));
    tokens.push(forge(&ring, &own.replacen('{', "{\"kid\":\"k4.pid.unknown\",", 1), &payload));
    for header in ["", "{}", "[]", "\"EdDSA\"", &format!("{own} {{}}"), &format!(" {own}")] {
        tokens.push(forge(&ring, header, &payload));
    }
    refused(&ring, tokens);
}

#[test]
fn what_is_not_signed_by_the_key_that_it_names_is_refused() {
    // S24, S26
    let ring = ring();
    let token = token(&ring);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let header = part(&token, 0);
    let key = ring.signer(now()).unwrap();
    let (_, payload) = input.split_once('.').unwrap();

    // The public key as a secret, in each of the forms in which somebody may have it.
    let hs256 = URL_SAFE_NO_PAD.encode(with(&header, "alg", "HS256"));
    let with_secret = |secret: &[u8], input: &str| {
        let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
    };
    let unsigned = URL_SAFE_NO_PAD.encode(with(&header, "alg", "none"));
    let mut tokens = vec![format!("{unsigned}.{payload}."), format!("{unsigned}.{payload}.{signature}")];
    for secret in [key.ed25519(), key.paserk().as_bytes(), URL_SAFE_NO_PAD.encode(key.ed25519()).as_bytes()] {
        tokens.push(with_secret(secret, &format!("{hs256}.{payload}")));
        tokens.push(with_secret(secret, input));
    }
    // A key of another ring, under this ring's id; another token's signature; none, a short and a long one.
    let other = self::ring();
    let payload_text = serde_json::to_string(&part(&token, 1)).unwrap();
    tokens.push(forge(&other, &serde_json::to_string(&header).unwrap(), &payload_text));
    tokens.push(self::token(&other));
    tokens.push(format!("{input}.{}", self::token(&ring).rsplit_once('.').unwrap().1));
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for signature in [&[0; 64][..], &bytes[..63], &[&bytes[..], &[0]].concat()] {
        tokens.push(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)));
    }
    // The identity as R, and zero as S, which cofactored verification would take under a key of small order.
    let mut identity = [0; 64];
    identity[0] = 1;
    tokens.push(format!("{input}.{}", URL_SAFE_NO_PAD.encode(identity)));
    refused(&ring, tokens);
}

#[test]
fn each_token_has_one_spelling() {
    // S27
    let ring = ring();
    let token = token(&ring);
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut tokens = vec![
        String::new(),
        PREFIX.to_owned(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}="),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{token}{}", "A".repeat(MAX_LEN)),
        token.replace("eyJ", "v4.public."),
        format!("v4.public.{token}"),
    ];
    // The last letter of a signature holds four bits that no byte needs: there are fifteen more ways to write them.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = alphabet.find(last).unwrap();
    assert_eq!(value % 16, 0);
    tokens.extend(alphabet[value + 1..value + 16].chars().map(|letter| format!("{rest}{letter}")));
    // S of a signature plus the order of the group is S once more (RFC 8032, 5.1.7).
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + add + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    tokens.push(format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(&bytes)));
    refused(&ring, tokens);
}

#[test]
fn what_is_said_to_others_or_not_said_is_refused() {
    // S25
    let ring = ring();
    let token = token(&ring);
    let header = serde_json::to_string(&part(&token, 0)).unwrap();
    let payload = part(&token, 1);
    let text = serde_json::to_string(&payload).unwrap();
    let forge = |payload: &str| self::forge(&ring, &header, payload);
    // Another replica's clock may be a minute ahead; and a later version may say more.
    let start = now().seconds();
    for payload in [with(&payload, "nbf", start + 60), with(&payload, "more", "x")] {
        assert!(verify(&ring, &forge(&payload)).is_some(), "{payload}");
    }
    let mut tokens = vec![
        forge(&with(&payload, "nbf", start + 61)),
        forge(&with(&payload, "iss", "https://other.example.com")),
        forge(&with(&payload, "iss", "https://auth.example.com/")),
        forge(&with(&payload, "aud", "other")),
        forge(&with(&payload, "aud", json!(["countersign"]))),
        forge(&with(&payload, "sub", "ses_00000000000000000000000000000000")),
        forge(&with(&payload, "sid", "usr_00000000000000000000000000000000")),
        forge(&with(&payload, "jti", "x")),
        forge(&with(&payload, "scope", json!(["a", "b"]))),
        forge(&with(&payload, "scope", "a \"b\"")),
        forge("[]"),
        forge(""),
        forge("null"),
        forge(&format!("{text}{text}")),
    ];
    for claim in ["exp", "iat", "nbf"] {
        let values =
            [json!("2027-01-15T08:02:00Z"), json!("1800000000"), json!(1.8e9), json!(i64::MAX), json!(null)];
        tokens.extend(values.into_iter().map(|value| forge(&with(&payload, claim, value))));
    }
    for claim in payload.keys() {
        tokens.push(forge(&without(&payload, claim)));
        let twice = format!("{{\"{claim}\":{},{}", payload[claim], &text[1..]);
        tokens.push(forge(&twice));
    }
    refused(&ring, tokens);
}

#[test]
fn a_token_ends_with_its_key() {
    // S30
    let mut key = SigningKey::generate(now()).unwrap();
    let token = sign(&key, &parties(), &claims(), now()).unwrap();
    key.not_after_time = Some(now() + Duration::from_secs(1));
    let ring = KeyRing::new(vec![key]);
    assert!(verify(&ring, &token).is_some());
    assert_eq!(tokens::verify(&ring, &parties(), &token, now() + Duration::from_secs(1)), None);
}

#[test]
fn the_longest_token_of_ours_is_looked_at() {
    // S27: as many scopes as there may be, and an issuer and an audience that are long, too.
    let ring = ring();
    let scopes = Scopes::parse((0..15).map(|n| format!("{n:064}"))).unwrap();
    let parties = Parties { issuer: format!("https://{}", "a".repeat(250)), audience: "b".repeat(100) };
    let claims = Claims { scopes: Arc::new(scopes), ..claims() };
    let token = sign(ring.signer(now()).unwrap(), &parties, &claims, now()).unwrap();
    assert!(token.len() < MAX_LEN, "{}", token.len());
    assert_eq!(tokens::verify(&ring, &parties, &token, now()).unwrap().claims, claims);
}

#[test]
fn the_example_of_rfc_8037_is_signed_and_verified_alike() {
    // S24
    let example: Value = serde_json::from_str(include_str!("../../../tests/data/rfc8037.json")).unwrap();
    let text = |pointer: &str| example.pointer(pointer).and_then(Value::as_str).unwrap();
    let bytes = |pointer: &str| URL_SAFE_NO_PAD.decode(text(pointer)).unwrap();
    let public = bytes("/public_jwk/x");
    let secret = [bytes("/private_jwk/d"), public.clone()].concat();
    let jws = signed(&secret, text("/header").as_bytes(), text("/payload").as_bytes()).unwrap();
    assert_eq!(jws, text("/jws"));
    let jws = Jws::parse(&jws).unwrap();
    assert_eq!(jws.header, text("/header").as_bytes());
    assert_eq!(jws.payload(&public), Some(text("/payload").as_bytes()));
    assert_eq!(jws.payload(&[7; 32]), None);
    // A key of small order, under which one signature would hold for everything.
    assert_eq!(jws.payload(&[0; 32]), None);
    let changed = text("/jws").replacen("RXh", "RXi", 1);
    assert_eq!(Jws::parse(&changed).unwrap().payload(&public), None);
}
