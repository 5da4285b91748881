//! Changing a password that is known.

use countersign::api::pb::{self, CredentialStatus as S};
use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, bearer, expect_invalid, expect_status, reason},
};

const NEW: &str = "staple the battery";

on_both! {
    async fn the_new_password_signs_in_and_the_old_does_not(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        server.advance(60);
        server.change_password(&tokens.access_token, PASSWORD, NEW).await.unwrap();
        expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        let user = server.login(EMAIL, NEW).await.unwrap().user.unwrap();
        assert_eq!(user.update_time.unwrap(), crate::support::after_start(60));
    }
}

on_both! {
    async fn it_takes_the_current_password(database: Kind) {
        // S7
        let server = Server::start(database).await;
        let tokens = server.register().await;
        for current in ["", NEW, "correct horse batterY"] {
            let answer = server.change_password(&tokens.access_token, current, NEW).await;
            expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        }
        server.login(EMAIL, PASSWORD).await.unwrap();

        // An account without a password accepts none.
        server.database.execute("UPDATE users SET password_hash = NULL").await;
        for current in ["", PASSWORD] {
            let answer = server.change_password(&tokens.access_token, current, NEW).await;
            expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        }
    }
}

on_both! {
    async fn the_new_password_obeys_the_rules_of_registering(database: Kind) {
        // S1, S2, S4
        let server = Server::start(database).await;
        let tokens = server.register_as("margaret@thimbleworks.example").await;
        let request = pb::UpdateMeRequest { name: Some("Featherstone".to_owned()), ..Default::default() };
        server.auth().update_me(bearer(&tokens.access_token, request)).await.unwrap();
        for new in [String::new(), "zq7 kf0".to_owned(), "x".repeat(129)] {
            expect_invalid(server.change_password(&tokens.access_token, PASSWORD, &new).await, "new_password");
        }
        for new in ["password1", "1 margaret 1", "in thimbleworks", "featherstone!"] {
            let answer = server.change_password(&tokens.access_token, PASSWORD, new).await;
            expect_status(answer, Code::InvalidArgument, "PASSWORD_TOO_COMMON");
        }
        server.login("margaret@thimbleworks.example", PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn every_other_session_ends(database: Kind) {
        // S21
        let server = Server::start(database).await;
        let others = [server.register().await, server.login(EMAIL, PASSWORD).await.unwrap()];
        let own = server.login(EMAIL, PASSWORD).await.unwrap();
        let key = server.create_key(&own.access_token, &[]).await.secret;
        server.change_password(&own.access_token, PASSWORD, NEW).await.unwrap();
        for other in others {
            assert_eq!(server.status_of(&other.access_token).await, S::Revoked);
            let answer = server.refresh(&other.refresh_token).await;
            expect_status(answer, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        }
        assert_eq!(server.status_of(&own.access_token).await, S::Valid);
        server.refresh(&own.refresh_token).await.unwrap();
        // Keys are no sessions.
        assert_eq!(server.status_of(&key).await, S::Valid);
        assert_eq!(server.changes().await, ["session_ended"; 2]);
    }
}

on_both! {
    async fn a_sign_in_at_the_same_time_does_not_outlive_it(database: Kind) {
        // S21
        let server = Server::start(database).await;
        let own = server.register().await;
        let client = server.auth();
        let sign_ins: Vec<_> = (0..12)
            .map(|_| {
                let mut client = client.clone();
                let request = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
                tokio::spawn(async move { client.login(request).await })
            })
            .collect();
        server.change_password(&own.access_token, PASSWORD, NEW).await.unwrap();
        for sign_in in sign_ins {
            // Before the change it was right, after it wrong; either way nothing of it is left.
            match sign_in.await.unwrap() {
                Ok(tokens) => {
                    let tokens = tokens.into_inner();
                    assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
                    server.refresh(&tokens.refresh_token).await.unwrap_err();
                }
                Err(status) => assert_eq!(reason(&status), "WRONG_EMAIL_OR_PASSWORD"),
            }
        }
        assert_eq!(server.status_of(&own.access_token).await, S::Valid);
        assert_eq!(server.database.query_text("SELECT ip_address FROM sessions").await.len(), 1);
    }
}

on_both! {
    async fn of_two_at_the_same_time_one_wins(database: Kind) {
        // S7
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let passwords = ["staple number one", "staple number two"];
        let change = |new| server.change_password(&tokens.access_token, PASSWORD, new);
        let (first, second) = tokio::join!(change(passwords[0]), change(passwords[1]));
        let winner = usize::from(first.is_err());
        let loser = if winner == 0 { second } else { first };
        expect_status(loser, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        server.login(EMAIL, passwords[winner]).await.unwrap();
        server.login(EMAIL, passwords[1 - winner]).await.unwrap_err();
    }
}
