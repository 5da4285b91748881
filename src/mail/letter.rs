//! What a mail says, before it has words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One mail. It prints without its content, which holds one-time tokens (S57).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The recipient's address.
    pub to: String,
    /// What it is about.
    pub content: Content,
}

/// What a mail is about: the name of its templates, and what they may speak of. People's names are not among it: whoever
/// registers a stranger's address would choose the words of a mail to them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// Asks to prove that the address is the account's.
    VerifyEmail(Link),
    /// Leads to where a new password is set.
    ResetPassword(Link),
    /// To a new address: asks to confirm that the account shall have it.
    ConfirmEmailChange(Link),
    /// To the old address: somebody asked for the change.
    EmailChangeRequested(NewAddress),
    /// To the old address: the account has another now.
    EmailChanged(NewAddress),
    /// The account's password was changed (S42).
    PasswordChanged,
    /// A way to sign in was added or removed.
    SignInMethodChanged(Change),
}

impl Content {
    /// All that [`kind`](Self::kind) may be.
    pub const KINDS: [&str; 7] = [
        "verify_email",
        "reset_password",
        "confirm_email_change",
        "email_change_requested",
        "email_changed",
        "password_changed",
        "sign_in_method_changed",
    ];

    /// The beginning of its templates' names.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::VerifyEmail(_) => "verify_email",
            Self::ResetPassword(_) => "reset_password",
            Self::ConfirmEmailChange(_) => "confirm_email_change",
            Self::EmailChangeRequested(_) => "email_change_requested",
            Self::EmailChanged(_) => "email_changed",
            Self::PasswordChanged => "password_changed",
            Self::SignInMethodChanged(_) => "sign_in_method_changed",
        }
    }

    /// Where it leads, if anywhere.
    pub(super) fn link(&self) -> Option<&str> {
        match self {
            Self::VerifyEmail(to) | Self::ResetPassword(to) | Self::ConfirmEmailChange(to) => Some(&to.link),
            Self::EmailChangeRequested(_)
            | Self::EmailChanged(_)
            | Self::PasswordChanged
            | Self::SignInMethodChanged(_) => None,
        }
    }
}

/// Where a mail leads.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// With the one-time token in it.
    pub link: String,
    /// For how long it works, in words: "24 hours".
    pub valid_for: String,
}

/// Which address an account gets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAddress {
    /// As it was given.
    pub new_email: String,
}

/// What happened to an account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// A whole sentence: "A password was added."
    pub change: String,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Letter { [REDACTED] }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed() {
        let link = || Link { link: String::new(), valid_for: String::new() };
        let address = || NewAddress { new_email: String::new() };
        let all = [
            Content::VerifyEmail(link()),
            Content::ResetPassword(link()),
            Content::ConfirmEmailChange(link()),
            Content::EmailChangeRequested(address()),
            Content::EmailChanged(address()),
            Content::PasswordChanged,
            Content::SignInMethodChanged(Change { change: String::new() }),
        ];
        assert_eq!(all.map(|content| content.kind()), Content::KINDS);
    }
}
