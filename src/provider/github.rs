//! GitHub: OAuth 2.0, and two calls for who somebody is. Also GitHub Enterprise, by other URLs.

use std::borrow::Cow;

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse,
    TokenUrl, basic::BasicClient,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded};

use super::{
    Error, Profile, Proofs, Result, Settings,
    http::{Answer, Http, HttpError},
};

/// What is asked for when the operator does not say: `/user/emails` needs it.
const SCOPE: &str = "user:email";

/// One GitHub.
pub(super) struct Github {
    http: Http,
    client: BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>,
    scopes: Vec<String>,
    api_url: String,
    issuer: String,
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
        let issuer = Url::parse(authorization_url).map_err(|error| format!("authorization_url: {error}"))?;
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
        Ok(Self {
            http,
            client,
            scopes,
            api_url: api_url.trim_end_matches('/').to_owned(),
            issuer: issuer.origin().ascii_serialization(),
        })
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
        let answer = exchange.request_async(&Forms(&self.http)).await.map_err(of_exchange)?;
        let token = answer.access_token().secret();

        let user: User = self.get("user", token).await?.ok_or_else(|| {
            Error::Refused("the access token is not good for the user that it was issued for".to_owned())
        })?;
        // Without the scope for it there is no such thing.
        let emails: Vec<Email> = self.get("user/emails", token).await?.unwrap_or_default();
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
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unavailable(format!("it answered {status}"))),
        }
        serde_json::from_slice(answer.body())
            .map(Some)
            .map_err(|error| unavailable(format!("it answered with something else ({:?})", error.classify())))
    }
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

pub(super) fn redirect_url(text: &str) -> Result<RedirectUrl> {
    RedirectUrl::new(text.to_owned()).map_err(|_| Error::Refused("the redirect URI is not a URL".to_owned()))
}

/// S256 (RFC 7636, section 4.2).
pub(super) fn challenge(verifier: &SecretString) -> PkceCodeChallenge {
    PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
}

/// GitHub says what is wrong with a code in an answer of status 200, which does not read as one with a token.
pub(super) fn of_exchange<T>(error: RequestTokenError<HttpError, T>) -> Error
where
    T: oauth2::ErrorResponse,
{
    let refused = || Error::Refused("it does not take the code".to_owned());
    match error {
        RequestTokenError::ServerResponse(_) => refused(),
        RequestTokenError::Request(error) => Error::Unavailable(error.to_string()),
        RequestTokenError::Parse(_, body) => match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(answer) if answer.get("error").is_some() => refused(),
            _ => Error::Unavailable("the token endpoint answers with something else".to_owned()),
        },
        RequestTokenError::Other(_) => {
            Error::Unavailable("the token endpoint does not answer as it should".to_owned())
        }
    }
}
