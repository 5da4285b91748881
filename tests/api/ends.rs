//! What ends which credential: event by credential, as one table (S21).

use countersign::{
    api::pb::{self, CredentialStatus},
    domain::{Administrator, Domain, admin::What},
};
use tonic::Status;

use crate::{
    common::Kind,
    idp::Idp,
    on_both,
    provider::{configure, link, sign_in, started},
    support::{PASSWORD, Server, bearer, reason},
};

const NEW_PASSWORD: &str = "staple the battery";

/// What happens to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    ChangePassword,
    /// Of an address that was proven before.
    Reset,
    ResetAsFirstProof,
    Disable,
    DisableAndEnable,
    Delete,
    SignOut,
    RevokeOther,
    RevokeAll,
    RevokeAllButOwn,
    ReuseRefreshToken,
    RevokeKey,
    ChangeEmail,
    VerifyEmail,
    SignInAsFirstProof,
    LinkIdentity,
    UnlinkIdentity,
    RevokeCredentials,
    DeleteByAdministrator,
    LockOut,
}

use Event as E;

/// What a credential is worth afterwards: that it lives, or by which status or reason it is refused.
type Worth = &'static str;

const LIVES: Worth = "lives";
const REVOKED: Worth = "REVOKED";
const SHUT: Worth = "DISABLED";
const GONE: Worth = "INVALID";
const ENDED: Worth = "REFRESH_TOKEN_INVALID";
const VOID: Worth = "ONE_TIME_TOKEN_INVALID";
const WRONG: Worth = "WRONG_EMAIL_OR_PASSWORD";
const CLOSED: Worth = "ACCOUNT_DISABLED";
const HELD: Worth = "TOO_MANY_ATTEMPTS";

/// What every other replica is told: sessions that ended, keys that ended, and whether the user changed.
type Told = [usize; 3];

/// S21. The session that acts is the own one. A mailed token proves the address, resets the password or changes the address;
/// one that was used is void, and who has proven the address has none to prove it. The first row is vaultwarden
/// CVE-2026-43911: a refresh token that outlived a change of the password.
#[rustfmt::skip] // A table is read by its columns.
const MATRIX: [(Event, [Worth; 9], Told); 20] = [
    //                     own session      another session    API      token that was mailed      password  ended sessions,
    //                     access   refresh access   refresh   key      proves   resets   changes  before    keys; user changed
    (E::ChangePassword,    [LIVES,   LIVES, REVOKED, ENDED,    LIVES,   LIVES,   VOID,    VOID,    WRONG ],  [1, 0, 0]),
    (E::Reset,             [REVOKED, ENDED, REVOKED, ENDED,    LIVES,   VOID,    VOID,    VOID,    WRONG ],  [2, 0, 0]),
    (E::ResetAsFirstProof, [REVOKED, ENDED, REVOKED, ENDED,    REVOKED, VOID,    VOID,    VOID,    WRONG ],  [2, 1, 0]),
    (E::Disable,           [SHUT,    ENDED, SHUT,    ENDED,    SHUT,    VOID,    VOID,    VOID,    CLOSED],  [2, 1, 1]),
    (E::DisableAndEnable,  [REVOKED, ENDED, REVOKED, ENDED,    REVOKED, VOID,    VOID,    VOID,    LIVES ],  [2, 1, 2]),
    (E::Delete,            [REVOKED, ENDED, REVOKED, ENDED,    GONE,    VOID,    VOID,    VOID,    WRONG ],  [2, 1, 1]),
    (E::SignOut,           [REVOKED, ENDED, LIVES,   LIVES,    LIVES,   LIVES,   LIVES,   LIVES,   LIVES ],  [1, 0, 0]),
    (E::RevokeOther,       [LIVES,   LIVES, REVOKED, ENDED,    LIVES,   LIVES,   LIVES,   LIVES,   LIVES ],  [1, 0, 0]),
    (E::RevokeAll,         [REVOKED, ENDED, REVOKED, ENDED,    LIVES,   LIVES,   LIVES,   VOID,    LIVES ],  [2, 0, 0]),
    (E::RevokeAllButOwn,   [LIVES,   LIVES, REVOKED, ENDED,    LIVES,   LIVES,   LIVES,   VOID,    LIVES ],  [1, 0, 0]),
    (E::ReuseRefreshToken, [REVOKED, ENDED, LIVES,   LIVES,    LIVES,   LIVES,   LIVES,   LIVES,   LIVES ],  [1, 0, 0]),
    (E::RevokeKey,         [LIVES,   LIVES, LIVES,   LIVES,    REVOKED, LIVES,   LIVES,   LIVES,   LIVES ],  [0, 1, 0]),
    (E::ChangeEmail,       [LIVES,   LIVES, LIVES,   LIVES,    LIVES,   VOID,    VOID,    VOID,    LIVES ],  [0, 0, 0]),
    (E::VerifyEmail,       [LIVES,   LIVES, LIVES,   LIVES,    LIVES,   VOID,    LIVES,   LIVES,   LIVES ],  [0, 0, 0]),
    (E::SignInAsFirstProof,[REVOKED, ENDED, REVOKED, ENDED,    REVOKED, VOID,    VOID,    VOID,    WRONG ],  [2, 1, 0]),
    (E::LinkIdentity,      [LIVES,   LIVES, LIVES,   LIVES,    LIVES,   VOID,    LIVES,   LIVES,   LIVES ],  [0, 0, 0]),
    (E::UnlinkIdentity,    [LIVES,   LIVES, LIVES,   LIVES,    LIVES,   VOID,    LIVES,   LIVES,   LIVES ],  [0, 0, 0]),
    (E::RevokeCredentials, [REVOKED, ENDED, REVOKED, ENDED,    REVOKED, LIVES,   LIVES,   VOID,    LIVES ],  [2, 1, 0]),
    (E::DeleteByAdministrator, [REVOKED, ENDED, REVOKED, ENDED, GONE,   VOID,    VOID,    VOID,    WRONG ],  [2, 1, 1]),
    (E::LockOut,           [LIVES,   LIVES, LIVES,   LIVES,    LIVES,   LIVES,   LIVES,   LIVES,   HELD  ],  [0, 0, 0]),
];

/// An account with one credential of each kind, and two sessions.
struct Account {
    email: String,
    own: pb::TokenResponse,
    other: pb::TokenResponse,
    key: String,
    key_id: String,
    verify: String,
    reset: String,
    change: String,
}

/// The token in the mail to this address; other mails are not looked at.
async fn mailed(server: &Server, to: &str) -> String {
    let mails = server.new_mails().await;
    let with_token = mails.iter().find(|mail| mail.to == to && mail.text.contains("token="));
    with_token.unwrap_or_else(|| panic!("no token for {to}: {mails:#?}")).token()
}

impl Account {
    /// A fresh one, so that the rows of the table do not touch each other.
    async fn before(event: Event, server: &Server) -> Self {
        let email = format!("{event:?}@example.com").to_lowercase();
        let own = server.register_as(&email).await;
        let verify = mailed(server, &email).await;
        if matches!(event, E::Reset | E::LinkIdentity | E::UnlinkIdentity) {
            server.verify_email(&verify).await.unwrap();
        }
        let other = server.login(&email, PASSWORD).await.unwrap();
        let key = server.create_key(&own.access_token, &[]).await;
        server.forgot_password(&email).await.unwrap();
        let reset = mailed(server, &email).await;
        let new_email = format!("new.{email}");
        server.request_email_change(&own.access_token, &new_email, Some(PASSWORD)).await.unwrap();
        let change = mailed(server, &new_email).await;
        Self { email, own, other, key: key.secret, key_id: key.key.unwrap().id, verify, reset, change }
    }

    /// Lets it happen.
    async fn suffer(&mut self, event: Event, server: &Server, idp: &Idp, operator: &Domain) {
        let own = self.own.access_token.clone();
        let id = self.own.user.as_ref().unwrap().id.parse().unwrap();
        match event {
            E::ChangePassword => server.change_password(&own, PASSWORD, NEW_PASSWORD).await.unwrap(),
            E::Reset | E::ResetAsFirstProof => {
                server.reset_password(&self.reset, NEW_PASSWORD).await.unwrap();
            }
            E::Disable => {
                operator.disable_user(id, &Administrator::operator()).await.unwrap();
                server.wait_for_status(&self.key, CredentialStatus::Disabled).await;
                server.wait_for_status(&self.own.access_token, CredentialStatus::Disabled).await;
            }
            E::RevokeCredentials => {
                let what = What { sessions: true, keys: true };
                operator.revoke_credentials(id, what, &Administrator::operator()).await.unwrap();
                server.wait_for_status(&self.key, CredentialStatus::Revoked).await;
                server.wait_for_status(&self.own.access_token, CredentialStatus::Revoked).await;
            }
            E::DeleteByAdministrator => {
                operator.delete_user(id, &Administrator::operator()).await.unwrap();
                server.wait_for_status(&self.key, CredentialStatus::Invalid).await;
                server.wait_for_status(&self.own.access_token, CredentialStatus::Revoked).await;
            }
            E::DisableAndEnable => {
                operator.disable_user(id, &Administrator::operator()).await.unwrap();
                operator.enable_user(id, &Administrator::operator()).await.unwrap();
                server.wait_for_status(&self.key, CredentialStatus::Revoked).await;
                server.wait_for_status(&self.own.access_token, CredentialStatus::Revoked).await;
            }
            E::Delete => {
                let request = pb::DeleteMeRequest { password: Some(PASSWORD.to_owned()) };
                server.auth().delete_me(bearer(&own, request)).await.unwrap();
            }
            E::SignOut => server.logout(&own).await.unwrap(),
            E::RevokeOther => {
                let session_id =
                    server.validate(&self.other.access_token).await.principal.unwrap().session_id;
                let request = pb::RevokeSessionRequest { session_id };
                server.auth().revoke_session(bearer(&own, request)).await.unwrap();
            }
            E::RevokeAll | E::RevokeAllButOwn => {
                let request = pb::RevokeAllSessionsRequest { keep_current: event == E::RevokeAllButOwn };
                server.auth().revoke_all_sessions(bearer(&own, request)).await.unwrap();
            }
            E::ReuseRefreshToken => {
                let used = self.own.refresh_token.clone();
                self.own = server.refresh(&used).await.unwrap();
                server.advance(11); // Past the grace (S17).
                assert_eq!(worth(server.refresh(&used).await), "REFRESH_TOKEN_REUSED");
            }
            E::RevokeKey => server.revoke_key(&own, &self.key_id).await.unwrap(),
            E::ChangeEmail => {
                self.email = server.confirm_email_change(&self.change).await.unwrap().email;
            }
            E::VerifyEmail => drop(server.verify_email(&self.verify).await.unwrap()),
            E::SignInAsFirstProof => {
                let owner = sign_in(server, idp, |claims| claims["email"] = self.email.as_str().into());
                owner.await.unwrap();
            }
            E::LinkIdentity | E::UnlinkIdentity => {
                let identity = link(server, idp, &own, &format!("{event:?}")).await.unwrap();
                if event == E::UnlinkIdentity {
                    let request = pb::UnlinkRequest { identity_id: identity.id };
                    server.auth().unlink(bearer(&own, request)).await.unwrap();
                }
            }
            E::LockOut => {
                for _ in 0..5 {
                    assert_eq!(worth(server.login(&self.email, "not it at all").await), WRONG);
                }
            }
        }
    }

    /// What each credential is worth now, in the order of the table.
    async fn judge(&self, server: &Server) -> [String; 9] {
        let [own_access, own_refresh, other_access, other_refresh, key] = self.judge_kept(server).await;
        let password = worth(server.login(&self.email, PASSWORD).await);
        // A password that is refused does not use the token up, which would void the others.
        let reset = match worth(server.reset_password(&self.reset, "password1").await) {
            refused if refused == "PASSWORD_TOO_COMMON" => LIVES.to_owned(),
            worth => worth,
        };
        let verify = worth(server.verify_email(&self.verify).await);
        let change = worth(server.confirm_email_change(&self.change).await);
        [own_access, own_refresh, other_access, other_refresh, key, verify, reset, change, password]
    }

    /// Of those that programs keep.
    async fn judge_kept(&self, server: &Server) -> [String; 5] {
        let status = async |credential: &str| match server.status_of(credential).await {
            CredentialStatus::Valid => LIVES.to_owned(),
            status => status.as_str_name().trim_start_matches("CREDENTIAL_STATUS_").to_owned(),
        };
        [
            status(&self.own.access_token).await,
            worth(server.refresh(&self.own.refresh_token).await),
            status(&self.other.access_token).await,
            worth(server.refresh(&self.other.refresh_token).await),
            status(&self.key).await,
        ]
    }
}

fn worth<T>(answer: Result<T, Status>) -> String {
    answer.map_or_else(|status| reason(&status), |_| LIVES.to_owned())
}

/// How many of each kind.
fn told(changes: &[String]) -> Told {
    ["session_ended", "key_ended", "user_changed"]
        .map(|kind| changes.iter().filter(|change| *change == kind).count())
}

on_both! {
    async fn a_key_that_comes_too_late_is_not_made(database: Kind) {
        // S21: made while a reset, or a disabling, waits for the account's row, it would be left behind
        let server = Server::start(database).await;
        let tokens = server.register_as("late@example.com").await;
        let operator = server.replica().domain().await;
        let id = tokens.user.unwrap().id.parse().unwrap();
        let call = || {
            let request = pb::CreateKeyRequest { name: "late".to_owned(), ..Default::default() };
            let request = bearer(&tokens.access_token, request);
            let mut keys = server.keys();
            async move { keys.create_key(request).await.map(|answer| answer.into_inner().secret) }
        };
        let makes = futures_util::future::join_all((0..50).map(|_| call()));
        let by = Administrator::operator();
        let (made, disabled) = tokio::join!(makes, operator.disable_user(id, &by));
        disabled.unwrap();
        operator.enable_user(id, &Administrator::operator()).await.unwrap();
        for secret in made.into_iter().flatten() {
            server.wait_for_status(&secret, CredentialStatus::Revoked).await;
        }
    }
}

on_both! {
    async fn what_ends_which_credential_vaultwarden_cve_2026_43911(database: Kind) {
        // S21
        let (server, idp) = started(database).await;
        let operator = server.replica().domain().await;
        let bystander = server.register_as("bystander@example.com").await;
        let bystanders_key = server.create_key(&bystander.access_token, &[]).await.secret;
        let mut accounts = Vec::new();
        for (event, expected, expected_told) in MATRIX {
            let mut account = Account::before(event, &server).await;
            let before = server.changes().await.len();
            account.suffer(event, &server, &idp, &operator).await;
            let changes = server.changes().await.split_off(before);
            assert_eq!((told(&changes), changes.len()), (expected_told, expected_told.iter().sum()), "{event:?}");
            assert_eq!(account.judge(&server).await, expected, "{event:?}");
            if matches!(event, E::ChangePassword | E::Reset | E::ResetAsFirstProof) {
                server.login(&account.email, NEW_PASSWORD).await.unwrap();
            }
            accounts.push((event, account, expected));
        }
        for credential in [&bystander.access_token, &bystanders_key] {
            assert_eq!(server.status_of(credential).await, CredentialStatus::Valid);
        }

        // What has ended stays so (S19). What lived was used since.
        let again = configure(server.replica(), &idp);
        server.stop().await;
        let server = again.start().await;
        for (event, account, expected) in accounts {
            for (now, expected) in account.judge_kept(&server).await.iter().zip(expected) {
                assert!(expected == LIVES || now == expected, "{event:?}: {now}, not {expected}");
            }
        }
    }
}
