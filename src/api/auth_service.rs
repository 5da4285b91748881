//! The handlers of `AuthService`. Each converts in, authorises, calls the domain and converts out.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response};

use super::{
    Answer,
    caller::{self, Callers},
    convert::{self, Mask, field},
    metrics::Metrics,
    pb::{self, auth_service_server::AuthService},
    places::Places,
    status::Problem,
    streams::End,
    watch_revocations::{self, Watcher},
};
use crate::{
    domain::{Domain, Error, NewAccount, Result, oauth::Returned},
    types::{DisplayName, Email, EventId, Invalid, Password, Scopes, SessionId, event::Action},
};

/// The most questions in a batch.
const MAX_BATCH: usize = 100;

/// How many of a batch are looked up at once. All of them would take every connection that the database has for us.
const BATCH_AT_ONCE: usize = 8;

/// People: accounts, sessions and tokens; and the question that other services ask.
pub struct Auth {
    domain: Arc<Domain>,
    callers: Callers,
    metrics: &'static Metrics,
    /// Ends the answers that would not end by themselves.
    stop: CancellationToken,
    watchers: Places,
}

impl Auth {
    /// Handlers over these use cases.
    pub fn new(
        domain: Arc<Domain>,
        callers: Callers,
        metrics: &'static Metrics,
        stop: CancellationToken,
    ) -> Self {
        Self { domain, callers, metrics, stop, watchers: Places::default() }
    }
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn register(&self, request: Request<pb::RegisterRequest>) -> Answer<pb::TokenResponse> {
        let client = self.callers.client(&request);
        let request = request.into_inner();
        let new = NewAccount {
            email: field("email", Email::parse(&request.email))?,
            password: field("password", Password::parse(&request.password))?,
            name: field("name", DisplayName::parse(&request.name))?,
        };
        let registered = self.domain.register(new, &client).await?;
        Ok(Response::new(convert::registered(registered)))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Answer<pb::TokenResponse> {
        let client = self.callers.client(&request);
        let request = request.into_inner();
        let email = field("email", Email::parse(&request.email))?;
        let password = field("password", Password::parse(&request.password))?;
        let issued = self.domain.login(&email, password, &client).await?;
        Ok(Response::new(convert::token_response(issued)))
    }

    async fn refresh(&self, request: Request<pb::RefreshRequest>) -> Answer<pb::TokenResponse> {
        let client = self.callers.client(&request);
        let issued = self.domain.refresh(&request.get_ref().refresh_token, &client).await?;
        Ok(Response::new(convert::token_response(issued)))
    }

    async fn logout(&self, request: Request<pb::LogoutRequest>) -> Answer<pb::LogoutResponse> {
        let caller = self.callers.user(&request).await;
        let client = self.callers.client(&request);
        self.domain.logout(caller, request.get_ref().refresh_token.as_deref(), &client).await?;
        Ok(Response::new(pb::LogoutResponse {}))
    }

    async fn get_me(&self, request: Request<pb::GetMeRequest>) -> Answer<pb::User> {
        let caller = self.callers.any(&request).await?;
        let user = self.domain.get_user(caller.user_id()).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn update_me(&self, request: Request<pb::UpdateMeRequest>) -> Answer<pb::User> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let mask = Mask::parse(request.update_mask.as_ref(), &["name"])?;
        let user = if mask.changes("name", request.name.is_some()) {
            let name = field("name", DisplayName::parse(&request.name.unwrap_or_default()))?;
            self.domain.rename_user(&caller, &name).await?
        } else {
            self.domain.get_user(caller.user_id).await?
        };
        Ok(Response::new(convert::user(user)))
    }

    async fn delete_me(&self, request: Request<pb::DeleteMeRequest>) -> Answer<pb::DeleteMeResponse> {
        let caller = self.callers.user(&request).await?;
        let password = request.into_inner().password;
        let password = password.map(|text| field("password", Password::parse(&text))).transpose()?;
        self.domain.delete_own_account(&caller, password).await?;
        Ok(Response::new(pb::DeleteMeResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Answer<pb::ChangePasswordResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let current = field("current_password", Password::parse(&request.current_password))?;
        let new = field("new_password", Password::parse(&request.new_password))?;
        self.domain.change_password(&caller, current, new).await?;
        Ok(Response::new(pb::ChangePasswordResponse {}))
    }

    async fn verify_email(&self, request: Request<pb::VerifyEmailRequest>) -> Answer<pb::User> {
        let client = self.callers.client(&request);
        let user = self.domain.verify_email(&request.get_ref().token, &client).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn resend_verification(
        &self,
        request: Request<pb::ResendVerificationRequest>,
    ) -> Answer<pb::ResendVerificationResponse> {
        let client = self.callers.client(&request);
        let email = field("email", Email::parse(&request.get_ref().email))?;
        self.domain.resend_verification(&email, &client).await?;
        Ok(Response::new(pb::ResendVerificationResponse {}))
    }

    async fn forgot_password(
        &self,
        request: Request<pb::ForgotPasswordRequest>,
    ) -> Answer<pb::ForgotPasswordResponse> {
        let client = self.callers.client(&request);
        let email = field("email", Email::parse(&request.get_ref().email))?;
        self.domain.forgot_password(&email, &client).await?;
        Ok(Response::new(pb::ForgotPasswordResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Answer<pb::ResetPasswordResponse> {
        let client = self.callers.client(&request);
        let request = request.into_inner();
        let new = field("new_password", Password::parse(&request.new_password))?;
        self.domain.reset_password(&request.token, new, &client).await?;
        Ok(Response::new(pb::ResetPasswordResponse {}))
    }

    async fn request_email_change(
        &self,
        request: Request<pb::RequestEmailChangeRequest>,
    ) -> Answer<pb::RequestEmailChangeResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let new = field("new_email", Email::parse(&request.new_email))?;
        let password = request.password.map(|text| field("password", Password::parse(&text))).transpose()?;
        self.domain.request_email_change(&caller, &new, password).await?;
        Ok(Response::new(pb::RequestEmailChangeResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<pb::ConfirmEmailChangeRequest>,
    ) -> Answer<pb::User> {
        let client = self.callers.client(&request);
        let user = self.domain.confirm_email_change(&request.get_ref().token, &client).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn list_my_events(
        &self,
        request: Request<pb::ListMyEventsRequest>,
    ) -> Answer<pb::ListMyEventsResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(EventId);
        let events = self.domain.list_events(caller.user_id, after, size + 1).await?;
        let (events, next_page_token) = convert::page(events, size, |event| event.id.0);
        let events = events.into_iter().map(convert::own_event).collect();
        Ok(Response::new(pb::ListMyEventsResponse { events, next_page_token }))
    }

    async fn start_o_auth(&self, request: Request<pb::StartOAuthRequest>) -> Answer<pb::StartOAuthResponse> {
        let client = self.callers.client(&request);
        let request = request.get_ref();
        let started = self.domain.start_oauth(&request.provider, &request.redirect_uri, &client).await?;
        Ok(Response::new(convert::started(started)))
    }

    async fn complete_o_auth(&self, request: Request<pb::CompleteOAuthRequest>) -> Answer<pb::TokenResponse> {
        let client = self.callers.client(&request);
        let request = request.into_inner();
        let returned = Returned {
            provider: request.provider,
            code: request.code.into(),
            redirect_uri: request.redirect_uri,
            state: request.state.map(Into::into),
            flow_secret: request.flow_secret.map(Into::into),
            iss: request.iss,
        };
        let issued = self.domain.complete_oauth(&returned, &client).await?;
        Ok(Response::new(convert::token_response(issued)))
    }

    async fn list_identities(
        &self,
        request: Request<pb::ListIdentitiesRequest>,
    ) -> Answer<pb::ListIdentitiesResponse> {
        let caller = self.callers.user(&request).await?;
        let identities = self.domain.list_identities(caller.user_id).await?;
        let identities = identities.into_iter().map(convert::identity).collect();
        Ok(Response::new(pb::ListIdentitiesResponse { identities }))
    }

    async fn start_link(&self, request: Request<pb::StartLinkRequest>) -> Answer<pb::StartOAuthResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.get_ref();
        let started = self.domain.start_link(&caller, &request.provider, &request.redirect_uri).await?;
        Ok(Response::new(convert::started(started)))
    }

    async fn complete_link(&self, request: Request<pb::CompleteLinkRequest>) -> Answer<pb::Identity> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let returned = Returned {
            provider: request.provider,
            code: request.code.into(),
            redirect_uri: request.redirect_uri,
            state: Some(request.state.into()),
            flow_secret: Some(request.flow_secret.into()),
            iss: request.iss,
        };
        let identity = self.domain.complete_link(&caller, &returned).await?;
        Ok(Response::new(convert::identity(identity)))
    }

    async fn unlink(&self, request: Request<pb::UnlinkRequest>) -> Answer<pb::UnlinkResponse> {
        let caller = self.callers.user(&request).await?;
        let id = request.get_ref().identity_id.parse().map_err(|_| Error::NotFound("identity"))?;
        self.domain.unlink(&caller, id).await?;
        Ok(Response::new(pb::UnlinkResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Answer<pb::ListSessionsResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(SessionId);
        let sessions = self.domain.list_sessions(caller.user_id, after, size + 1).await?;
        let (sessions, next_page_token) = convert::page(sessions, size, |session| session.id.0);
        let sessions = sessions.into_iter().map(|s| convert::session(s, caller.session_id)).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Answer<pb::RevokeSessionResponse> {
        let caller = self.callers.user(&request).await?;
        let id = request.get_ref().session_id.parse().map_err(|_| Error::NotFound("session"))?;
        self.domain.revoke_session(&caller, id, Action::RevokeSession).await?;
        Ok(Response::new(pb::RevokeSessionResponse {}))
    }

    async fn revoke_all_sessions(
        &self,
        request: Request<pb::RevokeAllSessionsRequest>,
    ) -> Answer<pb::RevokeAllSessionsResponse> {
        let caller = self.callers.user(&request).await?;
        let revoked = self.domain.revoke_all_sessions(&caller, request.get_ref().keep_current).await?;
        let revoked_count = i32::try_from(revoked).unwrap_or(i32::MAX);
        Ok(Response::new(pb::RevokeAllSessionsResponse { revoked_count }))
    }

    async fn validate_credential(
        &self,
        request: Request<pb::ValidateCredentialRequest>,
    ) -> Answer<pb::ValidateCredentialResponse> {
        let request = request.get_ref();
        let required = convert::scopes("required_scopes", &request.required_scopes)?;
        let validation = self.domain.validate(&request.credential, &required).await?;
        let answer = convert::validation(validation);
        self.metrics.verdict(answer.status());
        Ok(Response::new(answer))
    }

    async fn batch_validate_credentials(
        &self,
        request: Request<pb::BatchValidateCredentialsRequest>,
    ) -> Answer<pb::BatchValidateCredentialsResponse> {
        let requests = &request.get_ref().requests;
        if requests.len() > MAX_BATCH {
            return Err(Error::field("requests", Invalid::new(format!("at most {MAX_BATCH}"))).into());
        }
        let required = |(at, request): (usize, &pb::ValidateCredentialRequest)| {
            convert::scopes(&format!("requests[{at}].required_scopes"), &request.required_scopes)
        };
        let required: Vec<Scopes> = requests.iter().enumerate().map(required).collect::<Result<_>>()?;
        let questions: Vec<_> = requests
            .iter()
            .zip(&required)
            .map(|(asked, scopes)| self.domain.validate(&asked.credential, scopes))
            .collect();
        let answers: Vec<_> = stream::iter(questions).buffered(BATCH_AT_ONCE).collect().await;
        // One that cannot be answered has no status, but a cause to be logged; the others are answered all the same.
        let response = |answer: Result<_>| {
            let answer = answer.map(convert::validation).map_err(Problem::from);
            answer.inspect(|answer| self.metrics.verdict(answer.status()))
        };
        let responses = answers.into_iter().map(|answer| response(answer).unwrap_or_default()).collect();
        Ok(Response::new(pb::BatchValidateCredentialsResponse { responses }))
    }

    type WatchRevocationsStream = watch_revocations::Answer;

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Answer<Self::WatchRevocationsStream> {
        let credential = caller::presented(&request)?;
        let place = self.watchers.take(self.domain.authorize_watch(credential).await?)?;
        let credential = credential.unwrap_or_default().into();
        let cursor = &request.get_ref().cursor;
        let watcher = Watcher::begin(self.domain.clone(), credential, cursor, place).await?;
        Ok(Response::new(watcher.answer(End::of(&self.stop, request.extensions()))))
    }

    async fn list_verification_keys(
        &self,
        _request: Request<pb::ListVerificationKeysRequest>,
    ) -> Answer<pb::ListVerificationKeysResponse> {
        let keys = self.domain.verification_keys().into_iter().map(convert::verification_key).collect();
        Ok(Response::new(pb::ListVerificationKeysResponse { keys }))
    }
}
