//! Identifiers: UUIDv7 inside, so that they sort by age; outside a prefix such as `usr_` and 32 hexadecimal digits.

use std::{fmt, str::FromStr};

use uuid::{Builder, Uuid, fmt::Simple};

use super::{Invalid, Time, random};

/// A new UUIDv7, made at `now`.
fn uuid_v7(now: Time) -> Uuid {
    let millis = u64::try_from(now.micros() / 1000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &random::bytes()).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, made at `now`.
            pub fn generate(now: Time) -> Self {
                Self(uuid_v7(now))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In one piece, so that `to_string` allocates once: each validation writes two of these.
                const PREFIX: &str = concat!($prefix, "_");
                let mut text = [0; PREFIX.len() + Simple::LENGTH];
                let (prefix, digits) = text.split_at_mut(PREFIX.len());
                prefix.copy_from_slice(PREFIX.as_bytes());
                self.0.simple().encode_lower(digits);
                f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// Takes exactly the form that `Display` writes, so that an id has one spelling.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let invalid = || Invalid::new(concat!("not an id of the form ", $prefix, "_…"));
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(invalid)?;
                let canonical = digits.len() == 32
                    && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !canonical {
                    return Err(invalid());
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| invalid())
            }
        }
    };
}

id!(
    /// A user's id, `usr_…`.
    UserId,
    "usr"
);
id!(
    /// A session's id, `ses_…`: the `sid` claim of its access tokens.
    SessionId,
    "ses"
);
id!(
    /// An API key's id, `key_…`. It survives rotation.
    KeyId,
    "key"
);

id!(
    /// A waiting mail's id: `mail_…` in the log, and the left half of its Message-ID.
    MailId,
    "mail"
);
id!(
    /// An event's id, `evt_…`.
    EventId,
    "evt"
);

id!(
    /// An identity's id, `idt_…`.
    IdentityId,
    "idt"
);

/// An access token's id: its `jti` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenId(pub Uuid);

impl TokenId {
    /// A new id, made at `now`.
    pub fn generate(now: Time) -> Self {
        Self(uuid_v7(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = UserId::generate(Time::from_micros(1_700_000_000_000_000));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for bad in [
            text.to_uppercase(),
            text.replace("usr_", "ses_"),
            text.replace("usr_", ""),
            format!("{text}0"),
            text[..text.len() - 1].to_owned(),
            format!("usr_{}", id.0.hyphenated()),
            "usr_zz".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let time = |millis: i64| Time::from_micros(millis * 1000);
        assert!(SessionId::generate(time(1_000)) < SessionId::generate(time(1_001)));
    }
}
