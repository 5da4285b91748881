//! What `build.rs` generated from `proto/`, and how the messages print that carry secrets.
#![expect(clippy::pedantic, clippy::allow_attributes, reason = "generated code")]

tonic::include_proto!("countersign.v1");

/// What Envoy asks, by the path of its packages.
pub mod envoy {
    /// `envoy.config`
    pub mod config {
        /// `envoy.config.core`
        pub mod core {
            /// `envoy.config.core.v3`
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    /// `envoy.service`
    pub mod service {
        /// `envoy.service.auth`
        pub mod auth {
            /// `envoy.service.auth.v3`
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }
    /// `envoy.type`
    pub mod r#type {
        /// `envoy.type.v3`
        pub mod v3 {
            tonic::include_proto!("envoy.r#type.v3");
        }
    }
}
use envoy::{config::core::v3::HeaderValue, service::auth::v3::attribute_context::HttpRequest};

/// The encoded `FileDescriptorSet` of all protos, with their annotations and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `Debug` without the fields (S57), for what `build.rs` made none for.
macro_rules! redacted {
    ($($message:ident)*) => {
        $(impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " { [REDACTED] }"))
            }
        })*

        /// The name of each, and how it prints when it is decoded.
        #[cfg(test)]
        const REDACTED: &[(&str, fn(&[u8]) -> String)] =
            &[$((stringify!($message), tests::print::<$message>)),*];
    };
}

redacted! {
    ChangePasswordRequest CompleteLinkRequest CompleteOAuthRequest ConfirmEmailChangeRequest CreateKeyResponse DeleteMeRequest ImportedUser LoginRequest LogoutRequest
    RefreshRequest RegisterRequest RequestEmailChangeRequest ResetPasswordRequest RotateKeyResponse StartOAuthResponse TokenResponse
    ValidateCredentialRequest VerifyEmailRequest
    HeaderValue HttpRequest
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use prost::Message;
    use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, Value};

    use super::*;

    const CANARY: &str = "canary";

    pub(super) fn print<M: Message + Default + Debug>(encoded: &[u8]) -> String {
        format!("{:?}", tonic::Request::new(M::decode(encoded).unwrap()))
    }

    fn is_secret(field: &FieldDescriptor) -> bool {
        if !matches!(field.kind(), Kind::String) {
            return false;
        }
        let name = field.name();
        // A page token is an id.
        ["token", "code", "state"].contains(&name)
            || ["password", "password_hash", "access_token", "refresh_token", "credential", "secret"]
                .iter()
                .any(|s| name.ends_with(s))
    }

    #[test]
    fn messages_with_secrets_print_without_them() {
        // S57
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        for message in pool.all_messages().filter(|message| message.fields().any(|f| is_secret(&f))) {
            let row = REDACTED.iter().find(|(name, _)| *name == message.name());
            let (_, print) = row.unwrap_or_else(|| panic!("{message:?} needs a row in `redacted!`"));
            let mut filled = DynamicMessage::new(message.clone());
            for field in message.fields().filter(is_secret) {
                filled.set_field(&field, Value::String(CANARY.to_owned()));
            }
            let encoded = filled.encode_to_vec();
            assert!(String::from_utf8_lossy(&encoded).contains(CANARY));
            let printed = print(&encoded);
            assert!(printed.contains("[REDACTED]") && !printed.contains(CANARY), "{printed}");
        }
        let inner = ValidateCredentialRequest { credential: CANARY.to_owned(), required_scopes: Vec::new() };
        let header = HeaderValue { key: "x-api-key".into(), value: CANARY.into(), raw_value: CANARY.into() };
        let headers = [("x-api-key".to_owned(), CANARY.into())].into();
        let http = HttpRequest { headers, header_map: None };
        for printed in [format!("{header:?}"), format!("{http:?}")] {
            assert!(printed.contains("[REDACTED]") && !printed.contains(CANARY), "{printed}");
        }
        let batch = format!("{:?}", BatchValidateCredentialsRequest { requests: vec![inner] });
        assert!(batch.contains("[REDACTED]") && !batch.contains(CANARY), "{batch}");
    }
}
