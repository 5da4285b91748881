//! What the doors for gateways have in common: the headers that tell an upstream who calls. Which proxy takes them how is
//! `ext_authz`'s and `forward_auth`'s to know.

use crate::domain::validate::Principal;

/// Who calls, as headers of the forwarded request. Where there is no value, there must be no such header, whatever the client
/// sent: an upstream believes them.
pub fn identity(principal: Principal) -> [(&'static str, Option<String>); 5] {
    let (user_id, session_id, key_id, scopes, kind) = match principal {
        Principal::User { user_id, session_id, scopes } => {
            (user_id, Some(session_id.to_string()), None, scopes, "user")
        }
        Principal::ApiKey { user_id, key_id, scopes } => {
            (user_id, None, Some(key_id.to_string()), scopes, "api_key")
        }
    };
    [
        ("x-auth-user-id", Some(user_id.to_string())),
        ("x-auth-session-id", session_id),
        ("x-auth-key-id", key_id),
        ("x-auth-scopes", Some(scopes.to_list()).filter(|list| !list.is_empty())),
        ("x-auth-principal-type", Some(kind.to_owned())),
    ]
}
