//! A person's own account: read and renamed.

use countersign::api::pb;
use prost_types::FieldMask;
use tonic::Status;

use crate::{
    common::Kind,
    on_both,
    support::{PASSWORD, Server, after_start, bearer, expect_invalid},
};

async fn update_me(
    server: &Server,
    access_token: &str,
    name: Option<&str>,
    mask: Option<&[&str]>,
) -> Result<pb::User, Status> {
    let paths = |paths: &[&str]| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let request = pb::UpdateMeRequest { name: name.map(str::to_owned), update_mask: mask.map(paths) };
    server.auth().update_me(bearer(access_token, request)).await.map(tonic::Response::into_inner)
}

on_both! {
    async fn the_mask_says_what_changes(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        for (name, mask, expected) in [
            // Without a mask, what is set.
            (Some("Ann"), None, "Ann"),
            (None, None, "Ann"),
            (Some("Bea"), Some(&[][..]), "Bea"),
            (None, Some(&[]), "Bea"),
            (Some("Cy"), Some(&["name"]), "Cy"),
            (Some("Dee"), Some(&["*"]), "Dee"),
            // Masked and unset: cleared.
            (None, Some(&["name"]), ""),
            (Some("Eve"), Some(&["name", "name"]), "Eve"),
            (None, Some(&["*"]), ""),
        ] {
            let user = update_me(&server, &token, name, mask).await.unwrap();
            assert_eq!(user.name, expected, "{name:?} {mask:?}");
            assert_eq!(server.get_me(&token).await.unwrap(), user);
        }
    }
}

on_both! {
    async fn nothing_but_the_name_can_be_changed(database: Kind) {
        // S42
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let before = server.get_me(&token).await.unwrap();
        for path in ["email_verified", "email", "scopes", "id", "password", "Name", "name.first", ""] {
            expect_invalid(update_me(&server, &token, Some("x"), Some(&[path])).await, "update_mask");
            expect_invalid(update_me(&server, &token, Some("x"), Some(&["name", path])).await, "update_mask");
        }
        for name in ["a\r\nb", "a\nb", "a\0b", &"x".repeat(201)] {
            expect_invalid(update_me(&server, &token, Some(name), None).await, "name");
        }
        assert_eq!(server.get_me(&token).await.unwrap(), before);
    }
}

on_both! {
    async fn a_change_moves_the_update_time(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        server.advance(7);
        let unchanged = update_me(&server, &token, None, None).await.unwrap();
        assert_eq!(unchanged.update_time, Some(after_start(0)));
        let changed = update_me(&server, &token, Some("Ann"), None).await.unwrap();
        assert_eq!(changed.update_time, Some(after_start(7)));
        assert_eq!(changed.create_time, Some(after_start(0)));
        // Signing in changes nothing of the account.
        server.advance(7);
        let user = server.login(&changed.email, PASSWORD).await.unwrap().user.unwrap();
        assert_eq!(user, changed);
    }
}
