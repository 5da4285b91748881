//! OpenID Connect, by discovery: Google, Microsoft, Okta, Keycloak and the like, and LinkedIn.

use std::{borrow::Cow, time::Duration};

use openidconnect::{
    AccessToken, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeVerifier,
    Scope, SignatureVerificationError, SubjectIdentifier, TokenResponse,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims,
        CoreJwsSigningAlgorithm as Alg, CoreProviderMetadata, CoreUserInfoClaims,
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};

use super::{
    Error, Profile, Proofs, Result, Settings,
    github::{challenge, of_exchange, redirect_url},
    http::Http,
    new_verifier,
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
/// How long what was discovered holds, and how soon it may be asked for again for a key that is not in it.
const DISCOVERY_TTL: Duration = Duration::from_hours(1);
const REDISCOVERY: Duration = Duration::from_mins(1);

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
    issuer: IssuerUrl,
    pkce_and_nonce: bool,
    discovered: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

impl Oidc {
    pub(super) fn new(
        http: Http,
        settings: Settings,
        issuer: String,
        pkce_and_nonce: bool,
    ) -> std::result::Result<Self, String> {
        let issuer = IssuerUrl::new(issuer).map_err(|error| format!("issuer: {error}"))?;
        Ok(Self { http, settings, issuer, pkce_and_nonce, discovered: Mutex::default() })
    }

    pub(super) fn new_proofs(&self) -> Proofs {
        if self.pkce_and_nonce {
            Proofs { code_verifier: Some(new_verifier()), nonce: Some(new_verifier()) }
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
        let client = self.client(DISCOVERY_TTL).await?;
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
        let client = self.client(DISCOVERY_TTL).await?;
        let mut exchange = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .map_err(|_| Error::Unavailable("it names no token endpoint".to_owned()))?
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?));
        if let Some(verifier) = &proofs.code_verifier {
            exchange = exchange.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        }
        let answer = exchange.request_async(&self.http).await.map_err(of_exchange)?;
        let id_token = answer.id_token().ok_or_else(|| Error::Refused("it sends no ID token".to_owned()))?;
        let claims = match verify(&client, id_token, proofs) {
            // The provider may have a new key since.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => verify(&self.client(REDISCOVERY).await?, id_token, proofs),
            claims => claims,
        };
        let claims =
            claims.map_err(|error| Error::Refused(format!("the ID token does not hold: {error}")))?;

        let mut profile = Profile {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            verified_email: verified(claims.email().map(|email| email.as_str()), claims.email_verified()),
            name: claims
                .name()
                .and_then(|name| name.get(None))
                .map(|name| name.to_string())
                .unwrap_or_default(),
        };
        // The ID token wins where it speaks of an address at all (S47).
        if claims.email().is_none()
            && let Some(info) = self.user_info(&client, answer.access_token(), claims.subject()).await?
        {
            profile.verified_email =
                verified(info.email().map(|email| email.as_str()), info.email_verified());
            if profile.name.is_empty() {
                profile.name = info
                    .name()
                    .and_then(|name| name.get(None))
                    .map(|name| name.to_string())
                    .unwrap_or_default();
            }
        }
        Ok(profile)
    }

    async fn user_info(
        &self,
        client: &Client,
        token: &AccessToken,
        subject: &SubjectIdentifier,
    ) -> Result<Option<CoreUserInfoClaims>> {
        // It must speak of the same person (OpenID Connect Core, section 5.3.2).
        let Ok(request) = client.user_info(token.clone(), Some(subject.clone())) else { return Ok(None) };
        let claims: std::result::Result<CoreUserInfoClaims, _> = request.request_async(&self.http).await;
        claims.map(Some).map_err(|error| match error {
            openidconnect::UserInfoError::Request(error) => Error::Unavailable(error.to_string()),
            error => Error::Refused(format!("its userinfo does not hold: {error}")),
        })
    }

    /// A client by what the provider says of itself, not older than `max_age`.
    async fn client(&self, max_age: Duration) -> Result<Client> {
        // Who waits for the lock waits for the answer.
        let mut discovered = self.discovered.lock().await;
        let metadata = match &*discovered {
            Some((since, metadata)) if since.elapsed() < max_age => metadata.clone(),
            _ => {
                let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
                let metadata =
                    metadata.map_err(|error| Error::Unavailable(format!("discovery failed: {error}")))?;
                *discovered = Some((Instant::now(), metadata.clone()));
                metadata
            }
        };
        drop(discovered);
        // LinkedIn takes the secret in the body alone, and says so.
        let methods = metadata.token_endpoint_auth_methods_supported();
        let basic = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let id = ClientId::new(self.settings.client_id.clone());
        let secret = ClientSecret::new(self.settings.client_secret.expose_secret().to_owned());
        let client = CoreClient::from_provider_metadata(metadata, id, Some(secret));
        Ok(client.set_auth_type(if basic { AuthType::BasicAuth } else { AuthType::RequestBody }))
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
        None => id_token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
    }
}

/// What is not said to be verified is not (S47).
fn verified(email: Option<&str>, is_verified: Option<bool>) -> Option<String> {
    email.filter(|_| is_verified == Some(true)).map(str::to_owned)
}
