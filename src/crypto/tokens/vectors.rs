//! Our verifier over the official PASETO v4 vectors (`tests/data/paseto-v4.json`): every public case verifies, and no
//! other token does (S24).

use pasetors::{keys::AsymmetricPublicKey, token::UntrustedToken, version4::V4};
use serde::Deserialize;

use super::signed_payload;

#[derive(Deserialize)]
struct Vectors {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    name: String,
    expect_fail: bool,
    public_key: Option<String>,
    token: String,
    payload: Option<String>,
    footer: String,
    implicit_assertion: String,
}

/// The payload and the footer of a token that this key signed.
fn verify(public_key: &[u8], token: &str, implicit_assertion: &[u8]) -> Option<(String, String)> {
    let key = AsymmetricPublicKey::<V4>::from(public_key).ok()?;
    let token = UntrustedToken::try_from(token).ok()?;
    let footer = String::from_utf8(token.untrusted_footer().to_vec()).ok()?;
    Some((signed_payload(&key, &token, implicit_assertion)?, footer))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hexadecimal"))
        .collect()
}

#[test]
fn public_cases_verify_and_nothing_else_does() {
    let Vectors { tests } = serde_json::from_str(include_str!("../../../tests/data/paseto-v4.json")).unwrap();
    let signer = hex(tests.iter().find_map(|case| case.public_key.as_deref()).unwrap());
    let mut verified = Vec::new();
    for case in &tests {
        // The local cases have no public key; no token of theirs may pass for a signed one.
        let key = case.public_key.as_deref().map_or_else(|| signer.clone(), hex);
        let result = verify(&key, &case.token, case.implicit_assertion.as_bytes());
        if case.public_key.is_some() && !case.expect_fail {
            let expected = (case.payload.clone().unwrap(), case.footer.clone());
            assert_eq!(result, Some(expected), "{}", case.name);
            verified.push(case.name.as_str());

            assert_eq!(verify(&key, &case.token, b"another assertion"), None, "{}", case.name);
            assert_eq!(
                verify(&[7; 32], &case.token, case.implicit_assertion.as_bytes()),
                None,
                "{}",
                case.name
            );
        } else {
            assert_eq!(result, None, "{}", case.name);
        }
    }
    assert_eq!(verified, ["4-S-1", "4-S-2", "4-S-3"]);
    assert_eq!(tests.len(), 18);
}
