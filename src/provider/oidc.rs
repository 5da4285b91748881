//! OpenID Connect, by discovery: Google, Microsoft, Okta, Keycloak and the like, and LinkedIn.

use std::{borrow::Cow, sync::Arc};

use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeVerifier,
    Scope, TokenResponse,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims,
        CoreJwsSigningAlgorithm as Alg,
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Error, Profile, Proofs, Result, Settings,
    discovery::{Discovery, Said},
    exchange::{challenge, failure, redirect_url},
    http::Http,
    new_verifier,
    user_info::UserInfo,
};

/// Asymmetric ones alone (S48): an HMAC by a key that is published is no signature.
const ALGORITHMS: [Alg; 9] = [
    Alg::RsaSsaPkcs1V15Sha256,
    Alg::RsaSsaPkcs1V15Sha384,
    Alg::RsaSsaPkcs1V15Sha512,
    Alg::RsaSsaPssSha256,
    Alg::RsaSsaPssSha384,
    Alg::RsaSsaPssSha512,
    Alg::EcdsaP256Sha256,
    Alg::EcdsaP384Sha384,
    Alg::EdDsa,
];
/// What is asked for, beside `openid`, when the operator does not say.
const SCOPES: [&str; 2] = ["profile", "email"];
/// What a nonce of ours begins with: an ID token with one is of a sign-in that was started here.
const NONCE_PREFIX: &str = "on_";

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// One provider.
pub(super) struct Oidc {
    http: Http,
    settings: Settings,
    discovery: Discovery,
    pkce_and_nonce: bool,
}

impl Oidc {
    pub(super) fn new(
        http: Http,
        settings: Settings,
        issuer: String,
        pkce_and_nonce: bool,
    ) -> std::result::Result<Self, String> {
        let issuer = IssuerUrl::new(issuer).map_err(|error| format!("issuer: {error}"))?;
        Ok(Self { http, settings, discovery: Discovery::new(issuer), pkce_and_nonce })
    }

    pub(super) fn issuer(&self) -> &str {
        self.discovery.issuer()
    }

    pub(super) fn new_proofs(&self) -> Proofs {
        if self.pkce_and_nonce {
            let nonce = format!("{NONCE_PREFIX}{}", new_verifier().expose_secret());
            Proofs { code_verifier: Some(new_verifier()), nonce: Some(nonce.into()) }
        } else {
            Proofs::default()
        }
    }

    pub(super) async fn authorization_url(
        &self,
        redirect_uri: &str,
        state: &SecretString,
        proofs: &Proofs,
    ) -> Result<String> {
        let client = self.client(&*self.discovery.get(&self.http).await?);
        let state = CsrfToken::new(state.expose_secret().to_owned());
        let nonce = proofs.nonce.as_ref().map(|nonce| nonce.expose_secret().to_owned()).unwrap_or_default();
        let scopes: Vec<_> = match &self.settings.scopes[..] {
            [] => SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            own => own.iter().filter(|scope| *scope != "openid").cloned().collect(),
        };
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || state,
                move || Nonce::new(nonce),
            )
            .add_scopes(scopes.into_iter().map(Scope::new))
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?));
        if let Some(verifier) = &proofs.code_verifier {
            request = request.set_pkce_challenge(challenge(verifier));
        }
        let (mut url, ..) = request.url();
        if proofs.nonce.is_none() {
            // The library always sends one.
            let kept: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "nonce").collect();
            url.query_pairs_mut().clear().extend_pairs(kept);
        }
        Ok(url.into())
    }

    pub(super) async fn identify(
        &self,
        code: &SecretString,
        redirect_uri: &str,
        proofs: &Proofs,
    ) -> Result<Profile> {
        let said = self.discovery.get(&self.http).await?;
        let client = self.client(&said);
        let mut exchange = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .map_err(|_| Error::Unavailable("it names no token endpoint".to_owned()))?
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?));
        if let Some(verifier) = &proofs.code_verifier {
            exchange = exchange.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        }
        let answer = exchange.request_async(&self.http).await.map_err(failure)?;
        let id_token = answer.id_token().ok_or_else(|| Error::Refused("it sends no ID token".to_owned()))?;
        let claims = self.verify(&said, id_token, proofs).await?;

        let name = claims.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        let mut profile = Profile {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            verified_email: verified(
                claims.email().map(|email| email.as_str()),
                claims.email_verified() == Some(true),
            ),
            name: name.unwrap_or_default(),
        };
        // The ID token wins where it speaks of an address at all (S47).
        if claims.email().is_none()
            && let Some(url) = said.metadata.userinfo_endpoint()
        {
            let token = answer.access_token().secret();
            let info = UserInfo::fetch(&self.http, url.as_str(), token, &profile.subject).await?;
            profile.verified_email = verified(info.email(), info.email_verified());
            if profile.name.is_empty() {
                info.name().unwrap_or_default().clone_into(&mut profile.name);
            }
        }
        Ok(profile)
    }

    /// What an ID token says, if it holds; by newer keys if not by those that are known.
    async fn verify<'a>(
        &self,
        said: &Arc<Said>,
        id_token: &'a CoreIdToken,
        proofs: &Proofs,
    ) -> Result<&'a CoreIdTokenClaims> {
        let mut claims = verify(&self.client(said), id_token, proofs);
        if let Err(ClaimsVerificationError::SignatureVerification(_)) = claims
            && let Some(newer) = self.discovery.newer(&self.http, said).await?
        {
            claims = verify(&self.client(&newer), id_token, proofs);
        }
        claims.map_err(|error| {
            Error::Refused(format!("the ID token does not hold: {}", super::http::describe(&error)))
        })
    }

    /// A client by what the provider says of itself.
    fn client(&self, said: &Said) -> Client {
        let methods = said.metadata.token_endpoint_auth_methods_supported();
        let basic = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        // LinkedIn takes the secret in the body alone, and does not say so.
        let basic = basic && self.pkce_and_nonce;
        let id = ClientId::new(self.settings.client_id.clone());
        let secret = ClientSecret::new(self.settings.client_secret.expose_secret().to_owned());
        let client = CoreClient::from_provider_metadata(said.metadata.clone(), id, Some(secret));
        client.set_auth_type(if basic { AuthType::BasicAuth } else { AuthType::RequestBody })
    }
}

/// Issuer, audience, signature, expiry, and the nonce where one was sent (S48).
fn verify<'a>(
    client: &Client,
    id_token: &'a CoreIdToken,
    proofs: &Proofs,
) -> std::result::Result<&'a CoreIdTokenClaims, ClaimsVerificationError> {
    let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
    match &proofs.nonce {
        Some(nonce) => id_token.claims(&verifier, &Nonce::new(nonce.expose_secret().to_owned())),
        None => id_token.claims(&verifier, not_started_here),
    }
}

/// A sign-in that was started here is completed with its state, or not at all (S43). That can be told by the nonce alone:
/// where none is given back, as by LinkedIn, it takes `oauth.require_state`.
fn not_started_here(nonce: Option<&Nonce>) -> std::result::Result<(), String> {
    match nonce {
        Some(nonce) if nonce.secret().starts_with(NONCE_PREFIX) => {
            Err("the sign-in was started here, and its state is missing".to_owned())
        }
        _ => Ok(()),
    }
}

/// What is not said to be verified is not (S47).
fn verified(email: Option<&str>, is_verified: bool) -> Option<String> {
    email.filter(|_| is_verified).map(str::to_owned)
}
