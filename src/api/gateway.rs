//! What the doors for gateways have in common: the headers that tell an upstream who calls. Which proxy takes them how is
//! `ext_authz`'s and `forward_auth`'s to know.

use crate::domain::validate::Principal;

/// The headers that tell it.
pub const NAMES: [&str; 5] =
    ["x-auth-user-id", "x-auth-session-id", "x-auth-key-id", "x-auth-scopes", "x-auth-principal-type"];

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
    let scopes = Some(scopes.to_list()).filter(|list| !list.is_empty());
    let mut values =
        [Some(user_id.to_string()), session_id, key_id, scopes, Some(kind.to_owned())].into_iter();
    NAMES.map(|name| (name, values.next().flatten()))
}
