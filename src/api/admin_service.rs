//! The handlers of `AdminService`. All need the scope `countersign:admin`, of an access token or of an API key.

use std::{sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tonic::{Request, Response};

use super::{
    Answer,
    caller::Callers,
    convert::{self, field},
    pb::{self, admin_service_server::AdminService},
};
use crate::{
    domain::{
        Domain, Error, Result,
        admin::{Filter, Imported, Outcome, What},
    },
    types::{Email, EventId, Invalid, KeyId, KeyName, UserId},
};

/// The most accounts of one import.
const MAX_IMPORTED: usize = 100;

/// Administration of all accounts.
pub struct Admin {
    domain: Arc<Domain>,
    callers: Callers,
}

impl Admin {
    /// Handlers over these use cases.
    pub fn new(domain: Arc<Domain>, callers: Callers) -> Self {
        Self { domain, callers }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_users(&self, request: Request<pb::ListUsersRequest>) -> Answer<pb::ListUsersResponse> {
        self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(UserId);
        let email = Some(request.email.as_str()).filter(|email| !email.is_empty());
        let filter = Filter {
            email_prefix: field("email", email.map(Email::prefix).transpose())?,
            disabled: request.disabled,
            kind: convert::wanted_kind(request.kind)?,
        };
        let users = self.domain.list_users(&filter, after, size + 1).await?;
        let (users, next_page_token) = convert::page(users, size, |user| user.id.0);
        let users = users.into_iter().map(convert::user).collect();
        Ok(Response::new(pb::ListUsersResponse { users, next_page_token }))
    }

    async fn get_user(&self, request: Request<pb::GetUserRequest>) -> Answer<pb::User> {
        self.callers.administrator(&request).await?;
        let user = self.domain.find_user(user_id(&request.get_ref().user_id)?).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn disable_user(&self, request: Request<pb::DisableUserRequest>) -> Answer<pb::User> {
        let by = self.callers.administrator(&request).await?;
        let user = self.domain.disable_user(user_id(&request.get_ref().user_id)?, &by).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn enable_user(&self, request: Request<pb::EnableUserRequest>) -> Answer<pb::User> {
        let by = self.callers.administrator(&request).await?;
        let user = self.domain.enable_user(user_id(&request.get_ref().user_id)?, &by).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn set_scopes(&self, request: Request<pb::SetScopesRequest>) -> Answer<pb::User> {
        let by = self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let scopes = convert::scopes("scopes", &request.scopes)?;
        let user = self.domain.set_scopes(user_id(&request.user_id)?, &scopes, &by).await?;
        Ok(Response::new(convert::user(user)))
    }

    async fn revoke_user_credentials(
        &self,
        request: Request<pb::RevokeUserCredentialsRequest>,
    ) -> Answer<pb::RevokeUserCredentialsResponse> {
        let by = self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let what = What { sessions: request.sessions.unwrap_or(true), keys: request.keys.unwrap_or(true) };
        let revoked = self.domain.revoke_credentials(user_id(&request.user_id)?, what, &by).await?;
        Ok(Response::new(pb::RevokeUserCredentialsResponse {
            revoked_session_count: convert::count(revoked.sessions),
            revoked_key_count: convert::count(revoked.keys),
        }))
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> Answer<pb::ListEventsResponse> {
        self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(EventId);
        let user = Some(request.user_id.as_str()).filter(|id| !id.is_empty()).map(user_id).transpose()?;
        let action = convert::wanted_action(request.action)?;
        let events = self.domain.list_all_events(user, action, after, size + 1).await?;
        let (events, next_page_token) = convert::page(events, size, |event| event.id.0);
        let events = events.into_iter().map(convert::event).collect();
        Ok(Response::new(pb::ListEventsResponse { events, next_page_token }))
    }

    async fn create_service_account(
        &self,
        request: Request<pb::CreateServiceAccountRequest>,
    ) -> Answer<pb::User> {
        let by = self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let name = field("name", KeyName::parse(&request.name))?;
        let scopes = convert::scopes("scopes", &request.scopes)?;
        let account = self.domain.create_service_account(&name, &scopes, &by).await?;
        Ok(Response::new(convert::user(account)))
    }

    async fn create_service_account_key(
        &self,
        request: Request<pb::CreateServiceAccountKeyRequest>,
    ) -> Answer<pb::CreateKeyResponse> {
        let by = self.callers.administrator(&request).await?;
        let pb::CreateServiceAccountKeyRequest { user_id: id, name, scopes, expire_time, rate_limit } =
            request.into_inner();
        let new = convert::new_key(pb::CreateKeyRequest { name, scopes, expire_time, rate_limit })?;
        let id = user_id(&id)?;
        let (key, secret) = self.domain.create_service_account_key(id, new, &by).await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(pb::CreateKeyResponse { key: Some(convert::api_key(key)), secret }))
    }

    async fn list_user_keys(
        &self,
        request: Request<pb::ListUserKeysRequest>,
    ) -> Answer<pb::ListKeysResponse> {
        self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(KeyId);
        let keys = self.domain.list_user_keys(user_id(&request.user_id)?, after, size + 1).await?;
        let (keys, next_page_token) = convert::page(keys, size, |key| key.id.0);
        let keys = keys.into_iter().map(convert::api_key).collect();
        Ok(Response::new(pb::ListKeysResponse { keys, next_page_token }))
    }

    async fn rotate_user_key(
        &self,
        request: Request<pb::RotateUserKeyRequest>,
    ) -> Answer<pb::RotateKeyResponse> {
        let by = self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let (owner, id) = (user_id(&request.user_id)?, convert::key_id(&request.key_id)?);
        let grace =
            request.grace_period.map_or(Ok(Duration::ZERO), |d| convert::duration("grace_period", d))?;
        let (key, secret) = self.domain.rotate_user_key(owner, id, grace, &by).await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(pb::RotateKeyResponse { key: Some(convert::api_key(key)), secret }))
    }

    async fn revoke_user_key(
        &self,
        request: Request<pb::RevokeUserKeyRequest>,
    ) -> Answer<pb::RevokeKeyResponse> {
        let by = self.callers.administrator(&request).await?;
        let request = request.into_inner();
        let (owner, id) = (user_id(&request.user_id)?, convert::key_id(&request.key_id)?);
        self.domain.revoke_user_key(owner, id, &by).await?;
        Ok(Response::new(pb::RevokeKeyResponse {}))
    }

    async fn delete_user(&self, request: Request<pb::DeleteUserRequest>) -> Answer<pb::DeleteUserResponse> {
        let by = self.callers.administrator(&request).await?;
        self.domain.delete_user(user_id(&request.get_ref().user_id)?, &by).await?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }

    async fn import_users(
        &self,
        request: Request<pb::ImportUsersRequest>,
    ) -> Answer<pb::ImportUsersResponse> {
        let by = self.callers.administrator(&request).await?;
        let users = request.into_inner().users;
        if users.len() > MAX_IMPORTED {
            let text = format!("at most {MAX_IMPORTED} accounts");
            return Err(Error::field("users", Invalid::new(text)).into());
        }
        let (mut acceptable, mut results) = (Vec::new(), Vec::with_capacity(users.len()));
        for user in users {
            let pb::ImportedUser { email, name, email_verified, password_hash, scopes } = user;
            match Imported::parse(&email, &name, email_verified, &password_hash, &scopes) {
                Ok(account) => {
                    acceptable.push(account);
                    results.push(None);
                }
                Err(Error::InvalidField { field, description }) => results.push(Some((field, description))),
                Err(error) => return Err(error.into()),
            }
        }
        let mut outcomes = self.domain.import_users(&acceptable, &by).await?.into_iter();
        let result = |refused: Option<(String, String)>| match refused {
            Some((field, description)) => pb::ImportResult {
                outcome: pb::ImportOutcome::Refused.into(),
                user_id: String::new(),
                field,
                description,
            },
            None => outcomes.next().map(import_result).unwrap_or_default(),
        };
        let results = results.into_iter().map(result).collect();
        Ok(Response::new(pb::ImportUsersResponse { results }))
    }
}

fn import_result(outcome: Outcome) -> pb::ImportResult {
    let (outcome, id) = match outcome {
        Outcome::Created(id) => (pb::ImportOutcome::Created, id),
        Outcome::Exists(id) => (pb::ImportOutcome::Exists, id),
    };
    pb::ImportResult { outcome: outcome.into(), user_id: id.to_string(), ..Default::default() }
}

/// A malformed id is nobody's.
fn user_id(text: &str) -> Result<UserId> {
    text.parse().map_err(|_| Error::NotFound("user"))
}
