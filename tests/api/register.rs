//! Registering: who may, with what, and that one address has one account.

use countersign::api::pb;
use tonic::{Code, Status};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, after_start, expect_invalid, expect_status, reason},
};

async fn register(
    server: &Server,
    email: &str,
    password: &str,
    name: &str,
) -> Result<pb::TokenResponse, Status> {
    let request =
        pb::RegisterRequest { email: email.to_owned(), password: password.to_owned(), name: name.to_owned() };
    server.auth().register(request).await.map(tonic::Response::into_inner)
}

on_both! {
    async fn a_person_registers_and_is_signed_in(database: Kind) {
        let server =
            Setup::new(database).await.set("ACCOUNTS__DEFAULT_SCOPES", "read,write").start().await;
        let answer = register(&server, " User@Example.com ", PASSWORD, "Ann").await.unwrap();
        assert_eq!((answer.token_type.as_str(), answer.expires_in), ("Bearer", 900));
        assert_eq!(answer.scopes, ["read", "write"]);
        assert_eq!(answer.access_token.split('.').count(), 4);
        // S16: 256 bits, in base64url.
        assert!(answer.refresh_token.len() >= 43, "{}", answer.refresh_token);

        let user = answer.user.unwrap();
        assert_eq!(user.id.len(), 36);
        assert!(user.id.starts_with("usr_"));
        assert_eq!((user.email.as_str(), user.name.as_str()), ("User@Example.com", "Ann"));
        assert!(!user.email_verified);
        assert_eq!(user.scopes, ["read", "write"]);
        assert_eq!((user.create_time, user.update_time), (Some(after_start(0)), Some(after_start(0))));
        assert_eq!(server.get_me(&answer.access_token).await.unwrap(), user);
        server.refresh(&answer.refresh_token).await.unwrap();
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn a_hundred_at_once_make_one_account(database: Kind) {
        let server = Server::start(database).await;
        let client = server.auth();
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let mut client = client.clone();
                // Spelt differently: it is one address all the same.
                let email = if n % 2 == 0 { EMAIL.to_owned() } else { EMAIL.to_uppercase() };
                let request =
                    pb::RegisterRequest { email, password: PASSWORD.to_owned(), name: String::new() };
                tokio::spawn(async move { client.register(request).await })
            })
            .collect();
        let mut accounts = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(_) => accounts += 1,
                Err(status) => {
                    assert_eq!(
                        (status.code(), reason(&status).as_str()),
                        (Code::AlreadyExists, "EMAIL_ALREADY_REGISTERED")
                    );
                }
            }
        }
        assert_eq!(accounts, 1);
        assert_eq!(server.database.query_text("SELECT email_normalized FROM users").await, [EMAIL]);
        assert_eq!(server.database.query_text("SELECT ip_address FROM sessions").await.len(), 1);
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn spellings_of_an_address_are_one_account(database: Kind) {
        // S9
        let server = Server::start(database).await;
        for spellings in [
            ["user@example.com", "USER@EXAMPLE.COM", "  user@Example.com\t"],
            ["u@b\u{fc}cher.example", "U@B\u{dc}CHER.example", "u@xn--bcher-kva.example"],
            ["\u{fc}ser@example.com", "\u{dc}ser@example.com", "\u{fc}ser@EXAMPLE.com"],
        ] {
            let id = server.register_as(spellings[0]).await.user.unwrap().id;
            for spelling in spellings {
                expect_status(
                    register(&server, spelling, PASSWORD, "").await,
                    Code::AlreadyExists,
                    "EMAIL_ALREADY_REGISTERED",
                );
                assert_eq!(server.login(spelling, PASSWORD).await.unwrap().user.unwrap().id, id);
            }
        }
    }
}

on_both! {
    async fn nobody_registers_where_registration_is_closed(database: Kind) {
        let server =
            Setup::new(database).await.set("ACCOUNTS__REGISTRATION", "closed").start().await;
        expect_status(
            register(&server, EMAIL, PASSWORD, "").await,
            Code::PermissionDenied,
            "REGISTRATION_CLOSED",
        );
        assert!(server.database.query_text("SELECT email FROM users").await.is_empty());
        expect_status(
            server.login(EMAIL, PASSWORD).await,
            Code::Unauthenticated,
            "WRONG_EMAIL_OR_PASSWORD",
        );
    }
}

on_both! {
    async fn a_password_has_8_to_128_code_points_of_any_kind(database: Kind) {
        // S1, S2, S3
        let server = Server::start(database).await;
        let accepted = [
            "zq7 kf0v".to_owned(),
            "\u{1f980}\u{1f419}\u{1f991}\u{1f990}\u{1f99e}\u{1f41a}\u{1f40c}\u{1f98b}".to_owned(),
            "zq7kf0vw".repeat(8),
            "zq7kf0vw".repeat(16),
            "\u{1f980}".repeat(128),
            " leading, trailing\t\n".to_owned(),
            "nul\0inside it".to_owned(),
        ];
        for (n, password) in accepted.iter().enumerate() {
            let email = format!("u{n}@example.com");
            register(&server, &email, password, "").await.unwrap();
            server.login(&email, password).await.unwrap();
        }
        let refused = [
            String::new(),
            "zq7 kf0".to_owned(),
            // 28 bytes.
            "\u{1f980}".repeat(7),
            // Eight code points as received, four in NFC.
            "e\u{301}".repeat(4),
            format!("{}x", "zq7kf0vw".repeat(16)),
            "\u{1f980}".repeat(129),
            "x".repeat(1025),
        ];
        for password in refused {
            expect_invalid(register(&server, EMAIL, &password, "").await, "password");
        }
        // Never truncated.
        let cut = "zq7kf0vw".repeat(16)[..127].to_owned();
        expect_status(
            server.login("u3@example.com", &cut).await,
            Code::Unauthenticated,
            "WRONG_EMAIL_OR_PASSWORD",
        );
    }
}

on_both! {
    async fn the_shortest_password_is_the_operators_to_say(database: Kind) {
        // S1
        let server = Setup::new(database).await.set("PASSWORDS__MIN_LENGTH", "15").start().await;
        expect_invalid(register(&server, EMAIL, "zq7 kf0 vw9 r2", "").await, "password");
        register(&server, EMAIL, "zq7 kf0 vw9 r2x", "").await.unwrap();
    }
}

on_both! {
    async fn common_passwords_and_words_of_ones_own_are_refused(database: Kind) {
        // S4
        let server = Server::start(database).await;
        for (password, name) in [
            ("password1", ""),
            ("PassWord1", ""),
            ("iloveyou1", ""),
            ("qwertyuiop", ""),
            ("1234567890", ""),
            ("0987 margaret 1234", ""),
            ("0987 MARGARET 1234", ""),
            ("at thimbleworks", ""),
            ("hello Featherstone!", "Jo Featherstone"),
        ] {
            expect_status(
                register(&server, "margaret.x@thimbleworks.example", password, name).await,
                Code::InvalidArgument,
                "PASSWORD_TOO_COMMON",
            );
        }
        // Words of fewer than four code points, and other people's, do not count.
        register(&server, "al.ben@x.example", "al ben and margaret", "Jo Ann").await.unwrap();
    }
}

on_both! {
    async fn a_password_is_kept_as_argon2id_with_a_salt_of_its_own(database: Kind) {
        // S5
        let server = Server::start(database).await;
        server.register_as("a@example.com").await;
        server.register_as("b@example.com").await;
        let hashes = server.database.query_text("SELECT password_hash FROM users").await;
        assert_eq!(hashes.len(), 2);
        let salts = hashes.iter().map(|hash| {
            let rest = hash.strip_prefix("$argon2id$v=19$m=19456,t=2,p=1$").expect(hash);
            rest.split_once('$').unwrap().0
        });
        let salts: Vec<_> = salts.collect();
        // 16 bytes in base64.
        assert_eq!((salts[0].len(), salts[1].len()), (22, 22));
        assert_ne!(salts[0], salts[1]);
    }
}

on_both! {
    async fn fields_that_are_not_acceptable_are_named(database: Kind) {
        // S42
        let server = Server::start(database).await;
        let label = "b".repeat(63);
        let of_254_bytes = format!("{}@{label}.{label}.{}.com", "a".repeat(64), "b".repeat(57));
        let long = of_254_bytes.replace(".com", "b.com");
        assert_eq!((of_254_bytes.len(), long.len()), (254, 255));
        let two_lines = "a@example.com\r\nBcc: x@example.com";
        for email in ["", "user", "@example.com", "user@", "a b@example.com", two_lines, &long] {
            expect_invalid(register(&server, email, PASSWORD, "").await, "email");
        }
        for name in ["a\r\nb", "a\nb", "a\0b", "\u{7f}", &"x".repeat(201)] {
            expect_invalid(register(&server, EMAIL, PASSWORD, name).await, "name");
        }
        assert!(server.database.query_text("SELECT email FROM users").await.is_empty());
        register(&server, &of_254_bytes, PASSWORD, &"\u{e9}".repeat(200)).await.unwrap();
    }
}
