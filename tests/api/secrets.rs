//! What is kept, and what is logged, holds no secret.

use base64::{Engine, engine::general_purpose::STANDARD};
use countersign::api::pb;
use sha2::{Digest, Sha256};

use crate::{
    common::Kind,
    log::Log,
    on_both,
    support::{EMAIL, MASTER_KEY, PASSWORD, Server, bearer, hex},
};

on_both! {
    async fn no_secret_is_found_in_the_database_or_in_the_log(database: Kind) {
        // S16, S32, S57, S58
        let log = Log::start();
        let server = Server::start(database).await;
        let first = server.register().await;
        let second = server.refresh(&first.refresh_token).await.unwrap();
        let repeated = server.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(repeated.refresh_token, second.refresh_token);
        let third = server.login(EMAIL, PASSWORD).await.unwrap();
        let key = server.create_key(&third.access_token, &[]).await;
        let request = pb::RotateKeyRequest { key_id: key.key.unwrap().id, grace_period: None };
        let rotated = server.keys().rotate_key(bearer(&third.access_token, request)).await.unwrap();
        let rotated = rotated.into_inner().secret;
        let new_password = "canary in the new password";
        server.change_password(&third.access_token, PASSWORD, new_password).await.unwrap();

        // And in everything that is refused.
        let canary = "canary-in-a-field";
        server.login(EMAIL, canary).await.unwrap_err();
        server.login(canary, canary).await.unwrap_err();
        server.refresh(canary).await.unwrap_err();
        server.validate(canary).await;
        server.get_me(canary).await.unwrap_err();
        server.logout(canary).await.unwrap_err();
        server.change_password(&third.access_token, canary, new_password).await.unwrap_err();
        let token = || canary.to_owned();
        let mut auth = server.auth();
        auth.verify_email(pb::VerifyEmailRequest { token: token() }).await.unwrap_err();
        let reset = pb::ResetPasswordRequest { token: token(), new_password: token() };
        auth.reset_password(reset).await.unwrap_err();
        auth.confirm_email_change(pb::ConfirmEmailChangeRequest { token: token() }).await.unwrap_err();
        auth.forgot_password(pb::ForgotPasswordRequest { email: token() }).await.unwrap_err();
        auth.resend_verification(pb::ResendVerificationRequest { email: token() }).await.unwrap_err();
        for new_email in [canary, "else@example.com"] {
            let request = pb::RequestEmailChangeRequest { new_email: new_email.to_owned(), password: Some(token()) };
            auth.request_email_change(bearer(&third.access_token, request)).await.unwrap_err();
        }
        let broken = format!("{}x", &rotated[..51]);
        server.validate(&broken).await;
        server.refresh(&first.refresh_token).await.unwrap_err();

        let dump = server.database.dump().await;
        let dump = dump.iter().map(|(column, value)| format!("{column} {value}\n")).collect::<Vec<_>>().concat();
        // What is kept of a refresh token and of a key's secret is their digest.
        for secret in [&third.refresh_token, &key.secret, &rotated] {
            assert!(dump.contains(&hex(Sha256::digest(secret))), "{dump}");
        }
        server.stop().await;
        let log = log.text();
        assert!(log.contains("sign_in succeeded"), "the log is read");
        for secret in [
            PASSWORD,
            new_password,
            canary,
            &first.access_token,
            &second.access_token,
            &third.access_token,
            &first.refresh_token,
            &second.refresh_token,
            &third.refresh_token,
            &key.secret,
            &rotated,
            &broken,
            MASTER_KEY,
        ] {
            assert!(!dump.contains(secret) && !dump.contains(&hex(secret)), "{secret} in {dump}");
            for line in log.lines() {
                assert!(!line.contains(secret), "{secret} in {line}");
            }
        }
        assert!(!dump.contains(&hex(STANDARD.decode(MASTER_KEY).unwrap())));
        // Nor does the log name people otherwise than by id.
        assert!(!log.contains(EMAIL));
    }
}
