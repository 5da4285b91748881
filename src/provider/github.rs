//! GitHub: OAuth 2.0, and two calls for who somebody is. Also GitHub Enterprise, by other URLs.

use std::borrow::Cow;

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeVerifier, Scope, TokenResponse, TokenUrl, basic::BasicClient,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Origin, Url, form_urlencoded};

use super::{
    Error, Profile, Proofs, Result, Settings,
    exchange::{challenge, failure, redirect_url},
    http::{Answer, Http, HttpError},
};

/// What is asked for when the operator does not say: `/user/emails` needs it.
const SCOPE: &str = "user:email";
/// GitHub's own API, which is that of [`ISSUER`]'s people.
const API: &str = "https://api.github.com";
const ISSUER: &str = "https://github.com";

/// One GitHub.
pub(super) struct Github {
    http: Http,
    client: BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    scopes: Vec<String>,
    api_url: String,
    /// Whose numbers the people have: GitHub's, or those of the API that is asked.
    issuer: String,
    /// Where people sign in.
    site: Origin,
}

#[derive(Deserialize)]
struct User {
    /// Numeric: a login name can be given to somebody else (S45).
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    #[serde(rename = "email")]
    address: String,
    primary: bool,
    verified: bool,
}

impl Github {
    pub(super) fn new(
        http: Http,
        settings: &Settings,
        authorization_url: &str,
        token_url: &str,
        api_url: &str,
    ) -> std::result::Result<Self, String> {
        let site =
            Url::parse(authorization_url).map_err(|error| format!("authorization_url: {error}"))?.origin();
        let api_url = api_url.trim_end_matches('/').to_owned();
        let issuer = if api_url == API { ISSUER.to_owned() } else { api_url.clone() };
        let auth = AuthUrl::new(authorization_url.to_owned())
            .map_err(|error| format!("authorization_url: {error}"))?;
        let token = TokenUrl::new(token_url.to_owned()).map_err(|error| format!("token_url: {error}"))?;
        let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.expose_secret().to_owned()))
            .set_auth_uri(auth)
            .set_token_uri(token)
            .set_auth_type(AuthType::RequestBody);
        let scopes =
            if settings.scopes.is_empty() { vec![SCOPE.to_owned()] } else { settings.scopes.clone() };
        Ok(Self { http, client, scopes, api_url, issuer, site })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// GitHub does not say by which name it would sign an answer (RFC 9207): one of where people sign in will do.
    pub(super) fn is_named(&self, iss: &str) -> bool {
        Url::parse(iss).is_ok_and(|iss| iss.origin() == self.site)
    }

    pub(super) fn authorization_url(
        &self,
        redirect_uri: &str,
        state: &SecretString,
        proofs: &Proofs,
    ) -> Result<String> {
        let mut request = self
            .client
            .authorize_url(|| CsrfToken::new(state.expose_secret().to_owned()))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?));
        if let Some(verifier) = &proofs.code_verifier {
            request = request.set_pkce_challenge(challenge(verifier));
        }
        Ok(request.url().0.into())
    }

    pub(super) async fn identify(
        &self,
        code: &SecretString,
        redirect_uri: &str,
        proofs: &Proofs,
    ) -> Result<Profile> {
        let mut exchange = self
            .client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_redirect_uri(Cow::Owned(redirect_url(redirect_uri)?));
        if let Some(verifier) = &proofs.code_verifier {
            exchange = exchange.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        }
        let answer = exchange.request_async(&Forms(&self.http)).await.map_err(failure)?;
        let token = answer.access_token().secret();

        let user: User = self.get("user", token).await?.ok_or_else(|| {
            Error::Refused("the access token is not good for the user that it was issued for".to_owned())
        })?;
        // Without the scope for it there is no such thing.
        let emails: Vec<Email> = self.get("user/emails?per_page=100", token).await?.unwrap_or_default();
        let verified_email = emails.into_iter().find(|email| email.primary && email.verified);
        Ok(Profile {
            issuer: self.issuer.clone(),
            subject: user.id.to_string(),
            verified_email: verified_email.map(|email| email.address),
            name: user.name.filter(|name| !name.is_empty()).unwrap_or(user.login),
        })
    }

    /// `None` where GitHub says that this token may not.
    async fn get<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<Option<T>> {
        let unavailable = |what: String| Error::Unavailable(format!("{path}: {what}"));
        let request = Request::get(format!("{}/{path}", self.api_url))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(ACCEPT, "application/vnd.github+json")
            .body(Vec::new())
            .map_err(|error| unavailable(error.to_string()))?;
        let answer = self.http.send(request).await.map_err(|error| unavailable(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN if is_rate_limit(&answer) => {
                return Err(unavailable("the rate limit is used up".to_owned()));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unavailable(format!("it answered {status}"))),
        }
        serde_json::from_slice(answer.body())
            .map(Some)
            .map_err(|error| unavailable(format!("it answered with something else ({:?})", error.classify())))
    }
}

/// GitHub has a primary and a secondary one, and tells them by different headers.
fn is_rate_limit(answer: &Response<Vec<u8>>) -> bool {
    let headers = answer.headers();
    headers.contains_key(RETRY_AFTER) || headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0")
}

/// A client that makes JSON of forms.
struct Forms<'a>(&'a Http);

impl<'a> AsyncHttpClient<'a> for Forms<'_> {
    type Error = HttpError;
    type Future = Answer<'a>;

    fn call(&'a self, request: Request<Vec<u8>>) -> Answer<'a> {
        Box::pin(async move { self.0.send(request).await.map(as_json) })
    }
}

/// GitHub's token endpoint answers with a form where it is not asked for JSON, and so do older Enterprise servers always.
fn as_json(answer: Response<Vec<u8>>) -> Response<Vec<u8>> {
    let (mut parts, body) = answer.into_parts();
    let form = "application/x-www-form-urlencoded";
    let is_form =
        parts.headers.get(CONTENT_TYPE).is_some_and(|given| given.as_bytes().starts_with(form.as_bytes()));
    if !is_form {
        return Response::from_parts(parts, body);
    }
    let fields: serde_json::Map<_, _> =
        form_urlencoded::parse(&body).map(|(name, value)| (name.into_owned(), value.into())).collect();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, serde_json::Value::Object(fields).to_string().into_bytes())
}
