//! Between proto messages, which live only in `api`, and the domain's values.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_types::{FieldMask, Timestamp};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::pb;
use crate::{
    domain::{
        Error, Issued, Registered, Result, VerificationKey,
        keys::NewKey,
        oauth::Started,
        validate::{Principal, Status, Validation},
    },
    store::{api_keys::ApiKey, events::Event, identities::Identity, sessions::Session, users::User},
    types::{
        Invalid, KeyId, KeyName, RateLimit, Scopes, SessionId, Time, UserKind,
        event::{Action, Outcome},
    },
};

/// Pages: how many rows when the caller does not say, and at most.
const DEFAULT_PAGE: i32 = 50;
const MAX_PAGE: i32 = 200;
/// The last instant of the year 9999, where the calendar of `google.protobuf.Timestamp` ends; in seconds.
const END_OF_TIME: i64 = 253_402_300_799;

/// Why a value of an enum is refused.
const UNDEFINED: &str = "must be one of the values that are defined for it";

/// Names the field that a value was refused for.
pub fn field<T>(name: &str, parsed: Result<T, Invalid>) -> Result<T> {
    parsed.map_err(|invalid| Error::field(name, invalid))
}

/// What a new key is to be.
pub fn new_key(request: pb::CreateKeyRequest) -> Result<NewKey> {
    let pb::CreateKeyRequest { name, scopes: tokens, expire_time, rate_limit: limit } = request;
    Ok(NewKey {
        name: field("name", KeyName::parse(&name))?,
        scopes: scopes("scopes", &tokens)?,
        expire_time: expire_time.map(|at| time("expire_time", at)).transpose()?,
        rate_limit: limit.map(rate_limit).transpose()?,
    })
}

/// Scopes of a request.
pub fn scopes(name: &str, tokens: &[String]) -> Result<Scopes> {
    field(name, Scopes::parse(tokens))
}

/// A malformed id is no key's.
pub fn key_id(text: &str) -> Result<KeyId> {
    text.parse().map_err(|_| Error::NotFound("key"))
}

pub fn rate_limit(limit: pb::RateLimit) -> Result<RateLimit> {
    let per =
        limit.per.ok_or_else(|| Error::field("rate_limit.per", Invalid::new("a duration is required")))?;
    field("rate_limit", RateLimit::new(limit.requests, duration("rate_limit.per", per)?))
}

pub fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub fn timestamp(time: Time) -> Timestamp {
    let micros = time.micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

pub fn time(name: &str, timestamp: Timestamp) -> Result<Time> {
    let valid =
        (0..=END_OF_TIME).contains(&timestamp.seconds) && (0..1_000_000_000).contains(&timestamp.nanos);
    if !valid {
        return Err(Error::field(name, Invalid::new("not a time between 1970 and 9999")));
    }
    Ok(Time::from_micros(timestamp.seconds * 1_000_000 + i64::from(timestamp.nanos) / 1000))
}

pub fn duration(name: &str, duration: prost_types::Duration) -> Result<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    // Not by prost-types' conversion, which overflows on the least of seconds.
    u64::try_from(duration.seconds)
        .ok()
        .zip(nanos)
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .ok_or_else(|| Error::field(name, Invalid::new("not a duration of zero or more")))
}

fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).unwrap_or_default()
}

/// How many rows a page has.
pub fn page_size(page_size: i32) -> Result<i64> {
    match page_size {
        0 => Ok(i64::from(DEFAULT_PAGE)),
        1.. => Ok(i64::from(page_size.min(MAX_PAGE))),
        _ => Err(Error::field("page_size", Invalid::new("not a number of zero or more"))),
    }
}

/// The id behind which a page begins. A page token is the last id of the page before.
pub fn page_token(token: &str) -> Result<Option<Uuid>> {
    if token.is_empty() {
        return Ok(None);
    }
    let id = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.map(Some).ok_or_else(|| Error::field("page_token", Invalid::new("not a token that a page came with")))
}

/// Of one row more than the page holds: the page, and the token of the next if there is one.
pub fn page<T>(mut rows: Vec<T>, size: i64, id: impl Fn(&T) -> Uuid) -> (Vec<T>, String) {
    let size = usize::try_from(size).unwrap_or_default();
    if rows.len() <= size {
        return (rows, String::new());
    }
    rows.truncate(size);
    let token = rows.last().map(|row| URL_SAFE_NO_PAD.encode(id(row).as_bytes())).unwrap_or_default();
    (rows, token)
}

/// Which fields an update changes (AIP-134): those of the mask; all with `*`; without a mask those that are set.
pub struct Mask<'a> {
    paths: Option<&'a [String]>,
}

impl<'a> Mask<'a> {
    /// Refuses a path that is none of `updatable`.
    pub fn parse(mask: Option<&'a FieldMask>, updatable: &[&str]) -> Result<Self> {
        let paths = mask.map(|mask| mask.paths.as_slice()).filter(|paths| !paths.is_empty());
        for path in paths.unwrap_or_default() {
            if path != "*" && !updatable.contains(&path.as_str()) {
                let known = updatable.join(", ");
                let text = format!("names a field that cannot be updated; those that can are {known}");
                return Err(Error::field("update_mask", Invalid::new(text)));
            }
        }
        Ok(Self { paths })
    }

    /// Whether `field` changes, given whether the message sets it.
    pub fn changes(&self, field: &str, is_set: bool) -> bool {
        self.paths.map_or(is_set, |paths| paths.iter().any(|path| path == field || path == "*"))
    }
}

pub fn registered(registered: Registered) -> pb::TokenResponse {
    match registered {
        Registered::SignedIn(issued) => token_response(issued),
        Registered::Unverified(account) => {
            pb::TokenResponse { user: Some(user(account)), ..Default::default() }
        }
    }
}

pub fn token_response(issued: Issued) -> pb::TokenResponse {
    pb::TokenResponse {
        access_token: issued.access_token.expose_secret().to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: issued.expires_in,
        refresh_token: issued.refresh_token.expose_secret().to_owned(),
        scopes: issued.user.scopes.to_strings(),
        user: Some(user(issued.user)),
    }
}

fn user_kind(kind: UserKind) -> pb::UserKind {
    match kind {
        UserKind::Person => pb::UserKind::Person,
        UserKind::ServiceAccount => pb::UserKind::ServiceAccount,
    }
}

/// The kind that is asked for, if one is.
pub fn wanted_kind(value: i32) -> Result<Option<UserKind>> {
    match pb::UserKind::try_from(value) {
        Ok(pb::UserKind::Unspecified) => Ok(None),
        Ok(pb::UserKind::Person) => Ok(Some(UserKind::Person)),
        Ok(pb::UserKind::ServiceAccount) => Ok(Some(UserKind::ServiceAccount)),
        Err(_) => Err(Error::field("kind", Invalid::new(UNDEFINED))),
    }
}

pub fn user(user: User) -> pb::User {
    pb::User {
        id: user.id.to_string(),
        email: user.email,
        email_verified: user.email_verified_time.is_some(),
        name: user.name,
        scopes: user.scopes.to_strings(),
        create_time: Some(timestamp(user.create_time)),
        update_time: Some(timestamp(user.update_time)),
        kind: user_kind(user.kind).into(),
        disable_time: user.disabled_time.map(timestamp),
    }
}

pub fn session(session: Session, current: SessionId) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        create_time: Some(timestamp(session.create_time)),
        last_used_time: Some(timestamp(session.last_used_time)),
        expire_time: Some(timestamp(session.expire_time)),
        ip_address: session.ip_address,
        user_agent: session.user_agent,
        current: session.id == current,
    }
}

pub fn api_key(key: ApiKey) -> pb::ApiKey {
    let rate_limit = key.rate_limit();
    pb::ApiKey {
        id: key.id.to_string(),
        name: key.name,
        hint: key.hint,
        scopes: key.scopes.to_strings(),
        create_time: Some(timestamp(key.create_time)),
        expire_time: key.expire_time.map(timestamp),
        last_used_time: key.last_used_time.map(timestamp),
        revoke_time: key.revoke_time.map(timestamp),
        rate_limit: rate_limit.map(|limit| pb::RateLimit {
            requests: i32::try_from(limit.requests()).unwrap_or(i32::MAX),
            per: Some(proto_duration(limit.per())),
        }),
    }
}

pub fn identity(identity: Identity) -> pb::Identity {
    pb::Identity {
        id: identity.id.to_string(),
        provider: identity.provider,
        issuer: identity.issuer,
        subject: identity.subject,
        email: identity.email.unwrap_or_default(),
        create_time: Some(timestamp(identity.create_time)),
        last_used_time: Some(timestamp(identity.last_used_time)),
    }
}

pub fn started(started: Started) -> pb::StartOAuthResponse {
    pb::StartOAuthResponse {
        authorization_url: started.authorization_url,
        state: started.state.expose_secret().to_owned(),
        flow_secret: started.flow_secret.expose_secret().to_owned(),
    }
}

fn event_action(action: Action) -> pb::EventAction {
    use pb::EventAction as A;
    match action {
        Action::Register => A::Register,
        Action::SignIn => A::SignIn,
        Action::SignOut => A::SignOut,
        Action::Refresh => A::Refresh,
        Action::RevokeSession => A::RevokeSession,
        Action::RevokeAllSessions => A::RevokeAllSessions,
        Action::UpdateProfile => A::UpdateProfile,
        Action::ChangePassword => A::ChangePassword,
        Action::RequestPasswordReset => A::RequestPasswordReset,
        Action::ResetPassword => A::ResetPassword,
        Action::RequestVerification => A::RequestVerification,
        Action::VerifyEmail => A::VerifyEmail,
        Action::RequestEmailChange => A::RequestEmailChange,
        Action::ChangeEmail => A::ChangeEmail,
        Action::LinkIdentity => A::LinkIdentity,
        Action::UnlinkIdentity => A::UnlinkIdentity,
        Action::DeleteAccount => A::DeleteAccount,
        Action::DisableAccount => A::DisableAccount,
        Action::EnableAccount => A::EnableAccount,
        Action::ChangeScopes => A::ChangeScopes,
        Action::RevokeCredentials => A::RevokeCredentials,
        Action::CreateServiceAccount => A::CreateServiceAccount,
        Action::ImportAccount => A::ImportAccount,
        Action::CreateKey => A::CreateKey,
        Action::UpdateKey => A::UpdateKey,
        Action::RotateKey => A::RotateKey,
        Action::RevokeKey => A::RevokeKey,
        Action::Unknown => A::Unspecified,
    }
}

/// The action that is asked for, if one is.
pub fn wanted_action(value: i32) -> Result<Option<Action>> {
    if value == 0 {
        return Ok(None);
    }
    let action = Action::ALL.iter().copied().find(|action| i32::from(event_action(*action)) == value);
    action.map(Some).ok_or_else(|| Error::field("action", Invalid::new(UNDEFINED)))
}

/// As the owner of the account is shown it: where an administrator was who did it is no concern of theirs.
pub fn own_event(mut event: Event) -> pb::Event {
    if event.actor_user_id.is_some() && event.actor_user_id != event.user_id {
        event.ip_address.clear();
        event.user_agent.clear();
    }
    self::event(event)
}

pub fn event(event: Event) -> pb::Event {
    use pb::EventOutcome as O;
    let action = event_action(event.action);
    let outcome = match event.outcome {
        Outcome::Succeeded => O::Succeeded,
        Outcome::Failed => O::Failed,
        Outcome::Unknown => O::Unspecified,
    };
    pb::Event {
        id: event.id.to_string(),
        create_time: Some(timestamp(event.create_time)),
        action: action.into(),
        outcome: outcome.into(),
        session_id: event.session_id.map(|id| id.to_string()).unwrap_or_default(),
        key_id: event.key_id.map(|id| id.to_string()).unwrap_or_default(),
        ip_address: event.ip_address,
        user_agent: event.user_agent,
        user_id: event.user_id.map(|id| id.to_string()).unwrap_or_default(),
        actor_user_id: event.actor_user_id.map(|id| id.to_string()).unwrap_or_default(),
        actor_key_id: event.actor_key_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

pub fn verification_key(key: VerificationKey) -> pb::VerificationKey {
    pb::VerificationKey {
        kid: key.kid,
        public_key: key.public_key,
        not_before_time: Some(timestamp(key.not_before_time)),
        not_after_time: key.not_after_time.map(timestamp),
    }
}

pub fn validation(validation: Validation) -> pb::ValidateCredentialResponse {
    use pb::CredentialStatus as S;
    let status = match validation.status {
        Status::Valid => S::Valid,
        Status::Invalid => S::Invalid,
        Status::Expired => S::Expired,
        Status::Revoked => S::Revoked,
        Status::Disabled => S::Disabled,
        Status::InsufficientScope => S::InsufficientScope,
        Status::RateLimited => S::RateLimited,
    };
    pb::ValidateCredentialResponse {
        status: status.into(),
        principal: validation.principal.map(principal),
        expire_time: validation.expire_time.map(timestamp),
        missing_scopes: validation.missing_scopes,
        retry_after: validation.retry_after.map(proto_duration),
        cacheable_until_time: validation.cacheable_until_time.map(timestamp),
    }
}

fn principal(principal: Principal) -> pb::Principal {
    match principal {
        Principal::User { user_id, session_id, scopes } => pb::Principal {
            r#type: pb::PrincipalType::User.into(),
            user_id: user_id.to_string(),
            session_id: session_id.to_string(),
            key_id: String::new(),
            scopes: scopes.to_strings(),
        },
        Principal::ApiKey { user_id, key_id, scopes } => pb::Principal {
            r#type: pb::PrincipalType::ApiKey.into(),
            user_id: user_id.to_string(),
            session_id: String::new(),
            key_id: key_id.to_string(),
            scopes: scopes.to_strings(),
        },
    }
}
