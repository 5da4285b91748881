//! The handlers of `KeyService`. All need a user's access token: a key cannot make keys (S35).

use std::{sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use tonic::{Request, Response};

use super::{
    Answer,
    caller::Callers,
    convert::{self, Mask, field},
    pb::{self, key_service_server::KeyService},
};
use crate::{
    domain::{Domain, keys::KeyChange},
    types::{KeyId, KeyName},
};

/// API keys of the caller, who is never a field of the request (S33).
pub struct Keys {
    domain: Arc<Domain>,
    callers: Callers,
}

impl Keys {
    /// Handlers over these use cases.
    pub fn new(domain: Arc<Domain>, callers: Callers) -> Self {
        Self { domain, callers }
    }
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn create_key(&self, request: Request<pb::CreateKeyRequest>) -> Answer<pb::CreateKeyResponse> {
        let caller = self.callers.user(&request).await?;
        let new = convert::new_key(request.into_inner())?;
        let (key, secret) = self.domain.create_key(&caller, new).await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(pb::CreateKeyResponse { key: Some(convert::api_key(key)), secret }))
    }

    async fn list_keys(&self, request: Request<pb::ListKeysRequest>) -> Answer<pb::ListKeysResponse> {
        let owner = self.callers.user(&request).await?.user_id;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token)?.map(KeyId);
        let keys = self.domain.list_keys(owner, after, size + 1).await?;
        let (keys, next_page_token) = convert::page(keys, size, |key| key.id.0);
        let keys = keys.into_iter().map(convert::api_key).collect();
        Ok(Response::new(pb::ListKeysResponse { keys, next_page_token }))
    }

    async fn get_key(&self, request: Request<pb::GetKeyRequest>) -> Answer<pb::ApiKey> {
        let owner = self.callers.user(&request).await?.user_id;
        let key = self.domain.get_key(owner, convert::key_id(&request.get_ref().key_id)?).await?;
        Ok(Response::new(convert::api_key(key)))
    }

    async fn update_key(&self, request: Request<pb::UpdateKeyRequest>) -> Answer<pb::ApiKey> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let id = convert::key_id(&request.key_id)?;
        let mask =
            Mask::parse(request.update_mask.as_ref(), &["name", "scopes", "expire_time", "rate_limit"])?;
        let mut change = KeyChange::default();
        if mask.changes("name", request.name.is_some()) {
            change.name = Some(field("name", KeyName::parse(&request.name.unwrap_or_default()))?);
        }
        if mask.changes("scopes", !request.scopes.is_empty()) {
            change.scopes = Some(convert::scopes("scopes", &request.scopes)?);
        }
        if mask.changes("expire_time", request.expire_time.is_some()) {
            let time = request.expire_time.map(|time| convert::time("expire_time", time));
            change.expire_time = Some(time.transpose()?);
        }
        if mask.changes("rate_limit", request.rate_limit.is_some()) {
            change.rate_limit = Some(request.rate_limit.map(convert::rate_limit).transpose()?);
        }
        let key = self.domain.update_key(&caller, id, change).await?;
        Ok(Response::new(convert::api_key(key)))
    }

    async fn rotate_key(&self, request: Request<pb::RotateKeyRequest>) -> Answer<pb::RotateKeyResponse> {
        let caller = self.callers.user(&request).await?;
        let request = request.into_inner();
        let id = convert::key_id(&request.key_id)?;
        let grace =
            request.grace_period.map_or(Ok(Duration::ZERO), |d| convert::duration("grace_period", d))?;
        let (key, secret) = self.domain.rotate_key(&caller, id, grace).await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(pb::RotateKeyResponse { key: Some(convert::api_key(key)), secret }))
    }

    async fn revoke_key(&self, request: Request<pb::RevokeKeyRequest>) -> Answer<pb::RevokeKeyResponse> {
        let caller = self.callers.user(&request).await?;
        self.domain.revoke_key(&caller, convert::key_id(&request.get_ref().key_id)?).await?;
        Ok(Response::new(pb::RevokeKeyResponse {}))
    }
}
