//! The question that other services ask: whose credential is this, and what may it do? Rate limits are in
//! `keys`.

use std::time::Duration;

use countersign::api::pb::{self, CredentialStatus as S};
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::{
    common::{Database, Kind},
    on_both,
    support::{
        EMAIL, PASSWORD, Server, Setup, after_start, api_key, bearer, expect_invalid, expect_status, reason,
    },
};

const SCOPES: (&str, &str) = ("ACCOUNTS__DEFAULT_SCOPES", "read,write");

async fn with_scopes(database: Kind) -> Server {
    Setup::new(database).await.set(SCOPES.0, SCOPES.1).start().await
}

fn question(credential: &str, scopes: &[&str]) -> pb::ValidateCredentialRequest {
    pb::ValidateCredentialRequest {
        credential: credential.to_owned(),
        required_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

async fn batch(
    server: &Server,
    requests: Vec<pb::ValidateCredentialRequest>,
) -> Result<Vec<pb::ValidateCredentialResponse>, Status> {
    let request = pb::BatchValidateCredentialsRequest { requests };
    Ok(server.auth().batch_validate_credentials(request).await?.into_inner().responses)
}

/// A key with everything that can be set.
async fn limited_key(server: &Server, token: &str, expire_time: Timestamp) -> pb::CreateKeyResponse {
    let per = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = pb::CreateKeyRequest {
        name: "test".to_owned(),
        scopes: vec!["read".to_owned()],
        expire_time: Some(expire_time),
        rate_limit: Some(pb::RateLimit { requests: 1, per }),
    };
    server.keys().create_key(bearer(token, request)).await.unwrap().into_inner()
}

on_both! {
    async fn a_valid_one_says_whose_it_is_and_until_when(database: Kind) {
        let server = with_scopes(database).await;
        let tokens = server.register().await;
        let user_id = tokens.user.unwrap().id;
        let answer = server.validate(&tokens.access_token).await;
        let session_id = answer.principal.clone().unwrap().session_id;
        assert!(session_id.starts_with("ses_"));
        let expected = pb::ValidateCredentialResponse {
            status: S::Valid.into(),
            principal: Some(pb::Principal {
                r#type: pb::PrincipalType::User.into(),
                user_id: user_id.clone(),
                session_id,
                key_id: String::new(),
                scopes: vec!["read".to_owned(), "write".to_owned()],
            }),
            expire_time: Some(after_start(900)),
            missing_scopes: Vec::new(),
            retry_after: None,
            cacheable_until_time: Some(after_start(1)),
        };
        assert_eq!(answer, expected);
        assert_eq!(server.validate_for(&tokens.access_token, &["write", "read"]).await, expected);

        let key = server.create_key(&tokens.access_token, &["read"]).await;
        let expected = pb::ValidateCredentialResponse {
            principal: Some(pb::Principal {
                r#type: pb::PrincipalType::ApiKey.into(),
                user_id,
                session_id: String::new(),
                key_id: key.key.unwrap().id,
                scopes: vec!["read".to_owned()],
            }),
            expire_time: None,
            ..expected
        };
        assert_eq!(server.validate(&key.secret).await, expected);
    }
}

on_both! {
    async fn an_answer_is_kept_for_a_second_and_never_past_expiry(database: Kind) {
        let server = with_scopes(database).await;
        let token = server.register().await.access_token;
        server.clock.advance(Duration::from_millis(899_500));
        // A second from when the database was last asked: that has to be after the clock was moved.
        let expected = Some(after_start(900));
        for _ in 0..2000 {
            if server.validate(&token).await.cacheable_until_time == expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = server.validate(&token).await;
        assert_eq!((answer.status(), answer.cacheable_until_time), (S::Valid, expected));
        // Only what is valid is kept.
        let answer = server.validate_for(&token, &["other"]).await;
        assert_eq!((answer.status(), answer.cacheable_until_time), (S::InsufficientScope, None));
        server.clock.advance(Duration::from_millis(500));
        let answer = server.validate(&token).await;
        assert_eq!((answer.status(), answer.cacheable_until_time), (S::Expired, None));
        assert_eq!((answer.principal, answer.expire_time), (None, Some(after_start(900))));
    }
}

on_both! {
    async fn an_invalid_one_never_says_why(database: Kind) {
        // S24, S25, S26, S27, S29, S31, S36
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let token = &tokens.access_token;
        let secret = server.create_key(token, &[]).await.secret;
        // Another service's, with a signing key of its own.
        let stranger = Server::start(database).await;
        let foreign = stranger.register().await.access_token;
        let foreign_key = stranger.create_key(&foreign, &[]).await.secret;
        // Of another use, though sealed under our own master key.
        let sealed = server.database.query_text("SELECT secret_sealed FROM signing_keys").await.remove(0);
        assert!(sealed.starts_with("v4.local."));

        let parts: Vec<_> = token.split('.').collect();
        let foreign_parts: Vec<_> = foreign.split('.').collect();
        let mut credentials = vec![
            String::new(),
            " ".to_owned(),
            "nonsense".to_owned(),
            "\u{1f980}".to_owned(),
            "nul\0".to_owned(),
            "v4.public.".to_owned(),
            "v4.public.e30.e30".to_owned(),
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            foreign.clone(),
            // Their signature under our key's id, and the other way round.
            format!("v4.public.{}.{}", foreign_parts[2], parts[3]),
            format!("v4.public.{}.{}", parts[2], foreign_parts[3]),
            format!("v4.public.{}", parts[2]),
            format!("{token}."),
            format!("{token}.{token}"),
            format!(" {token}"),
            format!("{token}\n"),
            format!("Bearer {token}"),
            token.replace("v4.public.", "v3.public."),
            token.replace("v4.public.", "v2.public."),
            token.replace("v4.public.", "v4.local."),
            sealed,
            tokens.refresh_token.clone(),
            format!("{token}{}", "A".repeat(4096)),
            "A".repeat(60 * 1024),
            foreign_key.clone(),
            format!("{secret}0"),
            secret[..51].to_owned(),
            format!(" {secret}"),
            secret.replace("ak_", "AK_"),
            format!("ak_{}", "A".repeat(60 * 1024)),
            format!("ak_{}", "\u{1f980}".repeat(13)),
        ];
        for at in (10..token.len()).step_by(9).chain(token.len() - 3..token.len()) {
            credentials.push(with_another_char(token, at));
        }
        for at in 0..secret.len() {
            credentials.push(with_another_char(&secret, at));
        }
        let expected = pb::ValidateCredentialResponse { status: S::Invalid.into(), ..Default::default() };
        for credentials in credentials.chunks(50) {
            let questions = credentials.iter().map(|credential| question(credential, &[])).collect();
            // Two of them are larger than a message may be together.
            let answers = batch(&server, questions).await;
            for (at, credential) in credentials.iter().enumerate() {
                let answer = match &answers {
                    Ok(answers) => answers[at].clone(),
                    Err(_) => server.validate(credential).await,
                };
                assert_eq!(answer, expected, "{credential}");
            }
        }
        assert_eq!(server.status_of(token).await, S::Valid);
        assert_eq!(server.status_of(&secret).await, S::Valid);
        assert_eq!(stranger.status_of(&foreign_key).await, S::Valid);
    }
}

fn with_another_char(text: &str, at: usize) -> String {
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

on_both! {
    async fn a_token_for_another_audience_or_of_another_issuer_is_invalid(database: Kind) {
        // S25
        let server = Server::start(database).await;
        let mut ours = server.register().await.access_token;
        let clock = server.clock.clone();
        let mut database: Database = server.stop().await;
        for (key, value) in
            [("TOKENS__AUDIENCE", "other"), ("SERVER__PUBLIC_URL", "https://other.example.com")]
        {
            // The same keys sign for both.
            let other = Setup::on(database, clock.clone()).set(key, value).start().await;
            assert_eq!(other.status_of(&ours).await, S::Invalid, "{key}");
            let theirs = other.login(EMAIL, PASSWORD).await.unwrap().access_token;
            assert_eq!(other.status_of(&theirs).await, S::Valid);
            let server = Setup::on(other.stop().await, clock.clone()).start().await;
            assert_eq!(server.status_of(&theirs).await, S::Invalid, "{key}");
            assert_eq!(server.status_of(&ours).await, S::Valid);
            ours = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
            database = server.stop().await;
        }
    }
}

on_both! {
    async fn of_several_reasons_the_first_is_told_for_a_key(database: Kind) {
        let server = with_scopes(database).await;
        let token = server.register().await.access_token;
        let secret = limited_key(&server, &token, after_start(3600)).await.secret;
        assert_eq!(server.status_of(&secret).await, S::Valid);
        // Now all of them hold; then one after the other goes.
        let all = "UPDATE api_keys SET revoke_time = create_time, expire_time = create_time;
            UPDATE users SET disabled_time = create_time";
        server.change_beside(all).await;
        let (narrow, wide) = (&["read"][..], &["read", "write"][..]);
        for (gone, required, expected) in [
            ("", wide, S::Expired),
            ("UPDATE api_keys SET expire_time = NULL", wide, S::Disabled),
            ("UPDATE users SET disabled_time = NULL", wide, S::Revoked),
            ("UPDATE api_keys SET revoke_time = NULL", wide, S::InsufficientScope),
            ("", narrow, S::RateLimited),
            ("UPDATE api_keys SET rate_requests = NULL, rate_per_micros = NULL", narrow, S::Valid),
        ] {
            if !gone.is_empty() {
                server.change_beside(gone).await;
            }
            let answer = server.validate_for(&secret, required).await;
            assert_eq!(answer.status(), expected);
            // Who it is, is told only of a credential that holds.
            let told = matches!(expected, S::InsufficientScope | S::RateLimited | S::Valid);
            assert_eq!(answer.principal.is_some(), told, "{answer:?}");
            assert_eq!(answer.missing_scopes.is_empty(), expected != S::InsufficientScope, "{answer:?}");
            assert_eq!(answer.retry_after.is_some(), expected == S::RateLimited, "{answer:?}");
            assert_eq!(answer.cacheable_until_time.is_some(), expected == S::Valid, "{answer:?}");
            let broken = with_another_char(&secret, 51);
            assert_eq!(server.validate_for(&broken, required).await.status(), S::Invalid);
        }
    }
}

on_both! {
    async fn of_several_reasons_the_first_is_told_for_a_token(database: Kind) {
        let server = with_scopes(database).await;
        let expired = server.register().await.access_token;
        server.advance(900);
        let ended = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        server.logout(&ended).await.unwrap();
        let alive = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        server.change_beside("UPDATE users SET disabled_time = create_time").await;
        for (gone, token, expected) in [
            ("", &expired, S::Expired),
            ("", &ended, S::Disabled),
            ("", &alive, S::Disabled),
            ("UPDATE users SET disabled_time = NULL", &ended, S::Revoked),
            ("", &alive, S::InsufficientScope),
        ] {
            if !gone.is_empty() {
                server.change_beside(gone).await;
            }
            let answer = server.validate_for(token, &["read", "other"]).await;
            assert_eq!(answer.status(), expected);
            assert_eq!(answer.principal.is_some(), expected == S::InsufficientScope);
        }
    }
}

on_both! {
    async fn missing_scopes_are_named_and_compared_exactly(database: Kind) {
        let server = with_scopes(database).await;
        let token = server.register().await.access_token;
        let secret = server.create_key(&token, &["read"]).await.secret;
        for (credential, required, missing) in [
            (&token, &["read"][..], &[][..]),
            (&token, &["read", "read"], &[]),
            (&token, &["other", "read", "admin"], &["admin", "other"]),
            (&token, &["Read"], &["Read"]),
            (&token, &["rea"], &["rea"]),
            (&token, &["read:all"], &["read:all"]),
            (&token, &["*"], &["*"]),
            (&secret, &["read"], &[]),
            (&secret, &["read", "write"], &["write"]),
        ] {
            let answer = server.validate_for(credential, required).await;
            assert_eq!(answer.missing_scopes, missing, "{required:?}");
            let expected = if missing.is_empty() { S::Valid } else { S::InsufficientScope };
            assert_eq!(answer.status(), expected, "{required:?}");
            let scopes = answer.principal.unwrap().scopes;
            assert!(scopes.iter().any(|scope| scope == "read"), "{scopes:?}");
        }
        for malformed in ["", "a b", "a\"", "\u{e9}", &"x".repeat(65)] {
            let answer = server.auth().validate_credential(question(&token, &[malformed])).await;
            expect_invalid(answer, "required_scopes");
        }
        let many: Vec<_> = (0..65).map(|n| format!("s{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        expect_invalid(server.auth().validate_credential(question(&token, &many)).await, "required_scopes");
    }
}

on_both! {
    async fn what_the_user_has_lost_neither_token_nor_key_may_do(database: Kind) {
        // S34
        let server = with_scopes(database).await;
        let token = server.register().await.access_token;
        let secret = server.create_key(&token, &["read", "write"]).await.secret;
        server.change_beside("UPDATE users SET scopes = 'new read'").await;
        for credential in [&token, &secret] {
            let answer = server.validate_for(credential, &["read", "write"]).await;
            assert_eq!(answer.status(), S::InsufficientScope);
            assert_eq!(answer.missing_scopes, ["write"]);
            assert_eq!(answer.principal.unwrap().scopes, ["read"]);
            // What the user has gained, they were not made with.
            assert_eq!(server.validate_for(credential, &["new"]).await.status(), S::InsufficientScope);
            assert_eq!(server.validate_for(credential, &["read"]).await.status(), S::Valid);
        }
        let token = server.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(token.scopes, ["new", "read"]);
        assert_eq!(server.validate_for(&token.access_token, &["new"]).await.status(), S::Valid);
        server.change_beside("UPDATE users SET scopes = ''").await;
        assert!(server.validate(&secret).await.principal.unwrap().scopes.is_empty());
        server.change_beside("UPDATE users SET scopes = 'read write'").await;
        assert_eq!(server.validate_for(&secret, &["write"]).await.status(), S::Valid);
    }
}

on_both! {
    async fn a_disabled_users_credentials_are_disabled(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let secret = server.create_key(&tokens.access_token, &[]).await.secret;
        server.change_beside("UPDATE users SET disabled_time = create_time").await;
        for credential in [&tokens.access_token, &secret] {
            assert_eq!(server.status_of(credential).await, S::Disabled);
            assert_eq!(server.get_me(credential).await.unwrap_err().code(), Code::PermissionDenied);
        }
        let me = server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await;
        assert_eq!(reason(&me.unwrap_err()), "ACCOUNT_DISABLED");
        // Nor can new ones be had.
        let refreshed = server.refresh(&tokens.refresh_token).await;
        expect_status(refreshed, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    }
}

on_both! {
    async fn a_batch_is_answered_in_order(database: Kind) {
        let server = with_scopes(database).await;
        let tokens = server.register().await;
        let secret = limited_key(&server, &tokens.access_token, after_start(3600)).await.secret;
        let questions = vec![
            question(&tokens.access_token, &[]),
            question("nonsense", &[]),
            question(&secret, &["write"]),
            question(&tokens.access_token, &["other"]),
            question(&secret, &["read"]),
            question("", &[]),
        ];
        let statuses = |answers: Vec<pb::ValidateCredentialResponse>| {
            answers.iter().map(pb::ValidateCredentialResponse::status).collect::<Vec<_>>()
        };
        let answers = batch(&server, questions).await.unwrap();
        assert_eq!(answers[4].principal.as_ref().unwrap().r#type(), pb::PrincipalType::ApiKey);
        let expected =
            [S::Valid, S::Invalid, S::InsufficientScope, S::InsufficientScope, S::Valid, S::Invalid];
        assert_eq!(statuses(answers), expected);

        assert!(batch(&server, Vec::new()).await.unwrap().is_empty());
        let hundred = vec![question("nonsense", &[]); 100];
        assert_eq!(statuses(batch(&server, hundred).await.unwrap()), [S::Invalid; 100]);
        expect_invalid(batch(&server, vec![question("nonsense", &[]); 101]).await, "requests");
    }
}

on_both! {
    async fn while_the_database_cannot_answer_only_what_needs_none_is_answered(database: Kind) {
        // S36, S64
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let secret = server.create_key(&token, &[]).await.secret;
        server.database.execute("ALTER TABLE api_key_secrets RENAME TO elsewhere").await;
        let broken = with_another_char(&secret, 51);
        assert_eq!(server.status_of(&broken).await, S::Invalid);
        let status = server.auth().validate_credential(question(&secret, &[])).await.unwrap_err();
        assert!(matches!(status.code(), Code::Internal | Code::Unavailable), "{status:?}");
        assert!(!status.message().contains("secret") && !status.message().contains("table"), "{status:?}");
        // Closed, and one that cannot be answered leaves the others be.
        let questions = [&token, &secret, &broken].map(|credential| question(credential, &[]));
        let answers = batch(&server, questions.to_vec()).await.unwrap();
        let statuses: Vec<_> = answers.iter().map(pb::ValidateCredentialResponse::status).collect();
        assert_eq!(statuses, [S::Valid, S::Unspecified, S::Invalid]);
        assert_eq!(answers[1], pb::ValidateCredentialResponse::default());
        let me = server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await.unwrap_err();
        assert!(matches!(me.code(), Code::Internal | Code::Unavailable), "{me:?}");
    }
}
