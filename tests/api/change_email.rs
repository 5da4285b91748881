//! Giving an account another address.

use tonic::Code;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, expect_invalid, expect_status},
};

const NEW: &str = "new@example.com";

/// Registers `EMAIL` and asks for another address. Returns the access token and the mailed one.
async fn asked(server: &Server) -> (String, String) {
    let access_token = server.register().await.access_token;
    let token = server.mailed_token().await;
    server.verify_email(&token).await.unwrap();
    server.request_email_change(&access_token, NEW, Some(PASSWORD)).await.unwrap();
    let mails = server.new_mails().await;
    let link = mails.iter().find(|mail| mail.to == NEW).unwrap().token();
    (access_token, link)
}

on_both! {
    async fn the_new_mailbox_confirms_and_the_old_is_told(database: Kind) {
        let server = Server::start(database).await;
        let access_token = server.register().await.access_token;
        server.new_mail().await;
        server.advance(1);
        server.request_email_change(&access_token, "New@EXAMPLE.com", Some(PASSWORD)).await.unwrap();
        let mut mails = server.new_mails().await;
        mails.sort_by_key(|mail| mail.to.clone());
        let [to_new, to_old] = &mails[..] else { panic!("{mails:?}") };
        assert_eq!((to_new.to.as_str(), to_old.to.as_str()), ("New@example.com", EMAIL));
        assert!(to_new.link().starts_with("https://auth.example.com/confirm-email-change?token=ot_"));
        assert!(to_old.text.contains("New@EXAMPLE.com") && !to_old.text.contains("token="), "{to_old:?}");
        // Nothing has changed yet.
        assert_eq!(server.get_me(&access_token).await.unwrap().email, EMAIL);

        server.advance(1);
        let user = server.confirm_email_change(&to_new.token()).await.unwrap();
        assert!(user.email == "New@EXAMPLE.com" && user.email_verified, "{user:?}");
        let notice = server.new_mail().await;
        assert!(notice.to == EMAIL && notice.text.contains("New@EXAMPLE.com"), "{notice:?}");
        expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        server.advance(1);
        server.login(NEW, PASSWORD).await.unwrap();
        // The session lives on.
        let events = server.events(&access_token).await;
        assert_eq!(
            events,
            ["SIGN_IN SUCCEEDED", "CHANGE_EMAIL SUCCEEDED", "REQUEST_EMAIL_CHANGE SUCCEEDED", "REGISTER SUCCEEDED"]
        );
        let again = server.confirm_email_change(&to_new.token()).await;
        expect_status(again, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
    }
}

on_both! {
    async fn it_takes_the_password_of_an_account_that_has_one(database: Kind) {
        // S7, S8
        let server = Server::start(database).await;
        let access_token = server.register().await.access_token;
        server.new_mail().await;
        expect_invalid(server.request_email_change(&access_token, NEW, None).await, "password");
        for _ in 0..5 {
            let answer = server.request_email_change(&access_token, NEW, Some("not it at all")).await;
            expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        }
        let answer = server.request_email_change(&access_token, NEW, Some(PASSWORD)).await;
        expect_status(answer, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
        assert!(server.new_mails().await.is_empty());

        server.database.execute("UPDATE users SET password_hash = NULL").await;
        server.request_email_change(&access_token, NEW, None).await.unwrap();
        assert_eq!(server.new_mails().await.len(), 2);
    }
}

on_both! {
    async fn a_taken_address_is_refused_when_asked_for_and_when_confirmed(database: Kind) {
        let server = Server::start(database).await;
        let (access_token, token) = asked(&server).await;
        for email in [EMAIL, "USER@Example.com", "new", "a@b\r\nBcc: c@example.com"] {
            let answer = server.request_email_change(&access_token, email, Some(PASSWORD)).await;
            expect_invalid(answer, "new_email");
        }
        server.register_as("NEW@example.com").await;
        let answer = server.request_email_change(&access_token, NEW, Some(PASSWORD)).await;
        expect_status(answer, Code::AlreadyExists, "EMAIL_ALREADY_REGISTERED");
        let answer = server.confirm_email_change(&token).await;
        expect_status(answer, Code::AlreadyExists, "EMAIL_ALREADY_REGISTERED");
        assert_eq!(server.get_me(&access_token).await.unwrap().email, EMAIL);
    }
}

on_both! {
    async fn of_two_who_confirm_the_same_address_at_once_one_gets_it(database: Kind) {
        let server = Server::start(database).await;
        let (_, one) = asked(&server).await;
        let other = server.register_as("other@example.com").await.access_token;
        server.new_mail().await;
        server.request_email_change(&other, NEW, Some(PASSWORD)).await.unwrap();
        let mails = server.new_mails().await;
        let two = mails.iter().find(|mail| mail.to == NEW).unwrap().token();
        let answers = tokio::join!(server.confirm_email_change(&one), server.confirm_email_change(&two));
        let lost = match answers {
            (Ok(_), lost) | (lost, Ok(_)) => lost,
            both => panic!("{both:?}"),
        };
        expect_status(lost, Code::AlreadyExists, "EMAIL_ALREADY_REGISTERED");
    }
}

on_both! {
    async fn what_was_mailed_to_the_old_address_is_void(database: Kind) {
        // S37, S39
        let server = Server::start(database).await;
        let (access_token, token) = asked(&server).await;
        server.forgot_password(EMAIL).await.unwrap();
        let reset = server.mailed_token().await;
        server.confirm_email_change(&token).await.unwrap();
        let answer = server.reset_password(&reset, "a brand new one").await;
        expect_status(answer, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");

        // And a change of the password voids a pending change of address.
        server.new_mails().await;
        server.request_email_change(&access_token, "third@example.com", Some(PASSWORD)).await.unwrap();
        let mails = server.new_mails().await;
        let pending = mails.iter().find(|mail| mail.to == "third@example.com").unwrap().token();
        server.change_password(&access_token, PASSWORD, "staple the battery").await.unwrap();
        let answer = server.confirm_email_change(&pending).await;
        expect_status(answer, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
    }
}
