//! What the audit trail tells of: an action and how it went. Each has a name of its own, by which it is kept and logged.

/// Makes an enum with a name for each value. A name that is not known, which another version wrote, is `Unknown`.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
            /// Written by another version.
            Unknown,
        }

        impl $name {
            /// All that this version knows.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                    Self::Unknown => "unknown",
                }
            }

            /// The one of this name.
            pub fn from_name(name: &str) -> Self {
                Self::ALL.iter().copied().find(|value| value.as_str() == name).unwrap_or(Self::Unknown)
            }
        }
    };
}

named! {
    /// What was done, or tried.
    Action {
        /// An account was made.
        Register = "register",
        /// Signing in.
        SignIn = "sign_in",
        /// Signing out.
        SignOut = "sign_out",
        /// A refresh; only one that failed, by a token that was used before.
        Refresh = "refresh",
        /// One session was ended.
        RevokeSession = "revoke_session",
        /// All sessions were ended, or all but one.
        RevokeAllSessions = "revoke_all_sessions",
        /// The profile was changed.
        UpdateProfile = "update_profile",
        /// The password was changed by who knew it.
        ChangePassword = "change_password",
        /// A mail was asked for that lets a new password be set.
        RequestPasswordReset = "request_password_reset",
        /// A password was set by a mailed link.
        ResetPassword = "reset_password",
        /// A mail was asked for that lets the address be proven.
        RequestVerification = "request_verification",
        /// The address was proven by a mailed link.
        VerifyEmail = "verify_email",
        /// Another address was asked for.
        RequestEmailChange = "request_email_change",
        /// The account got another address.
        ChangeEmail = "change_email",
        /// A way to sign in by a provider was added.
        LinkIdentity = "link_identity",
        /// A way to sign in by a provider was removed.
        UnlinkIdentity = "unlink_identity",
        /// The account was deleted.
        DeleteAccount = "delete_account",
        /// The account was shut by the operator.
        DisableAccount = "disable_account",
        /// The account was opened again.
        EnableAccount = "enable_account",
        /// The operator changed what the account may do.
        ChangeScopes = "change_scopes",
        /// An administrator ended the account's sessions, its keys, or both.
        RevokeCredentials = "revoke_credentials",
        /// A service account was made.
        CreateServiceAccount = "create_service_account",
        /// The account was taken over from another system.
        ImportAccount = "import_account",
        /// A key was made.
        CreateKey = "create_key",
        /// A key's record was changed.
        UpdateKey = "update_key",
        /// A key got a new secret.
        RotateKey = "rotate_key",
        /// A key was ended.
        RevokeKey = "revoke_key",
    }
}

named! {
    /// How it went.
    Outcome {
        /// It was done.
        Succeeded = "succeeded",
        /// It was refused.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_is_found_by_it() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.as_str()), *action);
        }
        assert_eq!(Outcome::from_name("failed"), Outcome::Failed);
        assert_eq!(Action::from_name("a later version's"), Action::Unknown);
    }
}
