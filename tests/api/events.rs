//! The audit trail (S56): what a person is shown of it, and that the log tells the same.

use countersign::{
    api::pb,
    app,
    domain::{Administrator, Domain},
    types::{Scopes, Time, event::Action},
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    common::Kind,
    log::Log,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, api_key, bearer, expect_status},
    wire::{Door, Failure},
};

const NEW_PASSWORD: &str = "staple the battery";
const NEW_EMAIL: &str = "new@example.com";

async fn list(
    server: &Server,
    access_token: &str,
    page_size: i32,
    page_token: &str,
) -> Result<pb::ListMyEventsResponse, Status> {
    let request = pb::ListMyEventsRequest { page_size, page_token: page_token.to_owned() };
    server.auth().list_my_events(bearer(access_token, request)).await.map(tonic::Response::into_inner)
}

async fn session_id(server: &Server, access_token: &str) -> String {
    server.wait_for_status(access_token, pb::CredentialStatus::Valid).await;
    server.validate(access_token).await.principal.unwrap().session_id
}

/// Who is signed in.
struct SignedIn {
    access_token: String,
    refresh_token: String,
    session_id: String,
}

/// What the trail must tell of.
#[derive(Debug, PartialEq)]
struct Told {
    /// `SIGN_IN SUCCEEDED`
    what: String,
    time: Time,
    session_id: String,
    key_id: String,
    ip_address: String,
    user_agent: String,
}

impl Told {
    fn of(event: &pb::Event) -> Self {
        let time = event.create_time.unwrap();
        let (action, outcome) = (event.action().as_str_name(), event.outcome().as_str_name());
        Self {
            what: format!(
                "{} {}",
                action.trim_start_matches("EVENT_ACTION_"),
                outcome.trim_start_matches("EVENT_OUTCOME_")
            ),
            time: Time::from_micros(time.seconds * 1_000_000 + i64::from(time.nanos) / 1000),
            session_id: event.session_id.clone(),
            key_id: event.key_id.clone(),
            ip_address: event.ip_address.clone(),
            user_agent: event.user_agent.clone(),
        }
    }

    /// Whether this line of the log tells the same of this user.
    fn is_logged_by(&self, line: &str, user_id: &str) -> bool {
        let (action, outcome) = self.what.split_once(' ').unwrap();
        let (action, outcome) = (action.to_lowercase(), outcome.to_lowercase());
        let field = |name: &str, value: &str| match value {
            "" => !line.contains(&format!(" {name}=")),
            value => format!("{line} ").contains(&format!(" {name}={value} ")),
        };
        line.contains(&format!("{action} {outcome} "))
            && field("action", &format!("{action:?}"))
            && field("outcome", &format!("{outcome:?}"))
            && field("user_id", user_id)
            && field("session_id", &self.session_id)
            && field("key_id", &self.key_id)
            && field("address", &self.ip_address)
    }
}

/// What happens to an account, a step a second, each step by a client of its own.
struct Story {
    server: Server,
    step: u8,
    told: Vec<Told>,
}

impl Story {
    async fn call(&mut self, rpc: &str, access_token: &str, message: Value) -> Result<Value, Failure> {
        self.step += 1;
        self.server.advance(1);
        let (address, agent) = (self.address(), self.agent());
        let authorization = format!("Bearer {access_token}");
        let mut headers = vec![("x-forwarded-for", address.as_str()), ("user-agent", &agent)];
        if !access_token.is_empty() {
            headers.push(("authorization", &authorization));
        }
        self.server.call(Door::Rest, rpc, &headers, &message).await.result
    }

    async fn succeeds(&mut self, rpc: &str, access_token: &str, message: Value) -> Value {
        self.call(rpc, access_token, message).await.unwrap_or_else(|failure| panic!("{rpc}: {failure:?}"))
    }

    async fn fails(&mut self, rpc: &str, access_token: &str, message: Value) {
        let answer = self.call(rpc, access_token, message).await;
        assert!(answer.is_err(), "{rpc}: {answer:?}");
    }

    async fn signs_in(&mut self, rpc: &str, email: &str, password: &str) -> SignedIn {
        let answer = self.succeeds(rpc, "", json!({"email": email, "password": password})).await;
        let [access_token, refresh_token] =
            ["access_token", "refresh_token"].map(|field| answer[field].as_str().unwrap().to_owned());
        let session_id = session_id(&self.server, &access_token).await;
        self.tells(if rpc == "Login" { "SIGN_IN SUCCEEDED" } else { "REGISTER SUCCEEDED" }, &session_id, "");
        SignedIn { access_token, refresh_token, session_id }
    }

    /// The step before is told like this.
    fn tells(&mut self, what: &str, session_id: &str, key_id: &str) {
        let (ip_address, user_agent) = (self.address(), self.agent());
        self.tells_of(what, session_id, key_id, ip_address, user_agent);
    }

    fn tells_of(&mut self, what: &str, session: &str, key: &str, ip_address: String, user_agent: String) {
        let time = self.server.clock.now();
        let (session_id, key_id) = (session.to_owned(), key.to_owned());
        let told = Told { what: what.to_owned(), time, session_id, key_id, ip_address, user_agent };
        self.told.insert(0, told);
    }

    fn address(&self) -> String {
        format!("203.0.113.{}", self.step)
    }

    fn agent(&self) -> String {
        format!("step {}", self.step)
    }

    /// The operator's use cases, as `countersign user` has them.
    async fn operator(&self) -> Domain {
        let config = self.server.replica().config();
        let store = app::connect(&config, self.server.clock.clone()).await.unwrap();
        app::domain(&config, store, self.server.clock.clone(), None).await.unwrap()
    }

    async fn sessions(&mut self, own: &SignedIn) {
        let second = self.signs_in("Login", EMAIL, PASSWORD).await;
        self.fails("Login", "", json!({"email": EMAIL, "password": "wrong horse battery"})).await;
        self.tells("SIGN_IN FAILED", "", "");
        let message = json!({"session_id": second.session_id});
        self.succeeds("RevokeSession", &own.access_token, message.clone()).await;
        self.tells("REVOKE_SESSION SUCCEEDED", &second.session_id, "");
        // What changed nothing is no event.
        self.fails("RevokeSession", &own.access_token, message).await;

        let third = self.signs_in("Login", EMAIL, PASSWORD).await;
        let refresh = json!({"refresh_token": third.refresh_token});
        self.succeeds("Refresh", "", refresh.clone()).await;
        self.server.advance(10);
        self.fails("Refresh", "", refresh).await;
        self.tells("REFRESH FAILED", &third.session_id, "");

        let fourth = self.signs_in("Login", EMAIL, PASSWORD).await;
        self.succeeds("Logout", &fourth.access_token, json!({})).await;
        self.tells("SIGN_OUT SUCCEEDED", &fourth.session_id, "");
        let fifth = self.signs_in("Login", EMAIL, PASSWORD).await;
        self.succeeds("Logout", "", json!({"refresh_token": fifth.refresh_token})).await;
        self.tells("SIGN_OUT SUCCEEDED", &fifth.session_id, "");
        self.succeeds("Logout", "", json!({"refresh_token": fifth.refresh_token})).await;

        self.succeeds("RevokeAllSessions", &own.access_token, json!({"keep_current": true})).await;
        self.tells("REVOKE_ALL_SESSIONS SUCCEEDED", &own.session_id, "");
    }

    async fn keys(&mut self, own: &SignedIn) {
        let made = self.succeeds("CreateKey", &own.access_token, json!({"name": "test"})).await;
        let key_id = made["key"]["id"].as_str().unwrap().to_owned();
        self.tells("CREATE_KEY SUCCEEDED", &own.session_id, &key_id);
        for (rpc, message, what) in [
            ("UpdateKey", json!({"key_id": key_id, "name": "new"}), "UPDATE_KEY SUCCEEDED"),
            ("RotateKey", json!({"key_id": key_id}), "ROTATE_KEY SUCCEEDED"),
            ("RevokeKey", json!({"key_id": key_id}), "REVOKE_KEY SUCCEEDED"),
        ] {
            self.succeeds(rpc, &own.access_token, message).await;
            self.tells(what, &own.session_id, &key_id);
        }
        self.succeeds("RevokeKey", &own.access_token, json!({"key_id": key_id})).await;
        self.fails("UpdateKey", &own.access_token, json!({"key_id": key_id, "name": "late"})).await;
    }

    /// What takes the password: first a wrong one.
    async fn account(&mut self, own: &SignedIn) {
        self.succeeds("UpdateMe", &own.access_token, json!({"name": "Ann"})).await;
        self.tells("UPDATE_PROFILE SUCCEEDED", &own.session_id, "");
        let change = |password: &str| json!({"current_password": password, "new_password": NEW_PASSWORD});
        self.fails("ChangePassword", &own.access_token, change("wrong horse battery")).await;
        self.tells("CHANGE_PASSWORD FAILED", &own.session_id, "");
        self.succeeds("ChangePassword", &own.access_token, change(PASSWORD)).await;
        self.tells("CHANGE_PASSWORD SUCCEEDED", &own.session_id, "");
        self.fails("DeleteMe", &own.access_token, json!({"password": PASSWORD})).await;
        self.tells("DELETE_ACCOUNT FAILED", &own.session_id, "");
    }

    async fn mails(&mut self, own: &SignedIn) {
        self.server.new_mails().await;
        self.succeeds("ResendVerification", "", json!({"email": EMAIL})).await;
        let token = self.server.mailed_token().await;
        self.tells("REQUEST_VERIFICATION SUCCEEDED", "", "");
        self.succeeds("VerifyEmail", "", json!({"token": token})).await;
        self.tells("VERIFY_EMAIL SUCCEEDED", "", "");
        // Of whom this would be is not known.
        self.fails("VerifyEmail", "", json!({"token": token})).await;

        let change = |password: &str| json!({"new_email": NEW_EMAIL, "password": password});
        self.fails("RequestEmailChange", &own.access_token, change(PASSWORD)).await;
        self.tells("REQUEST_EMAIL_CHANGE FAILED", &own.session_id, "");
        self.succeeds("RequestEmailChange", &own.access_token, change(NEW_PASSWORD)).await;
        self.tells("REQUEST_EMAIL_CHANGE SUCCEEDED", &own.session_id, "");
        let mails = self.server.new_mails().await;
        let token = mails.iter().find(|mail| mail.to == NEW_EMAIL).unwrap().token();
        self.succeeds("ConfirmEmailChange", "", json!({"token": token})).await;
        self.tells("CHANGE_EMAIL SUCCEEDED", "", "");
        self.server.new_mails().await;

        self.succeeds("ForgotPassword", "", json!({"email": NEW_EMAIL})).await;
        let token = self.server.mailed_token().await;
        self.tells("REQUEST_PASSWORD_RESET SUCCEEDED", "", "");
        self.succeeds("ResetPassword", "", json!({"token": token, "new_password": PASSWORD})).await;
        self.tells("RESET_PASSWORD SUCCEEDED", "", "");
    }
}

on_both! {
    async fn whatever_is_done_with_an_account_is_shown_to_its_owner_and_logged(database: Kind) {
        // S56
        let log = Log::start();
        let server = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.0/8").start().await;
        let mut story = Story { server, step: 0, told: Vec::new() };
        let own = story.signs_in("Register", EMAIL, PASSWORD).await;
        let user_id = story.server.get_me(&own.access_token).await.unwrap().id;
        story.sessions(&own).await;
        story.keys(&own).await;
        story.account(&own).await;
        story.mails(&own).await;

        let operator = story.operator().await;
        story.server.advance(1);
        operator.grant_scopes(user_id.parse().unwrap(), &Scopes::parse(["a"]).unwrap(), &Administrator::operator()).await.unwrap();
        story.tells_of("CHANGE_SCOPES SUCCEEDED", "", "", String::new(), String::new());
        story.server.advance(1);
        operator.disable_user(user_id.parse().unwrap(), &Administrator::operator()).await.unwrap();
        story.tells_of("DISABLE_ACCOUNT SUCCEEDED", "", "", String::new(), String::new());
        story.fails("Login", "", json!({"email": NEW_EMAIL, "password": PASSWORD})).await;
        story.tells("SIGN_IN FAILED", "", "");
        story.server.advance(1);
        operator.enable_user(user_id.parse().unwrap(), &Administrator::operator()).await.unwrap();
        story.tells_of("ENABLE_ACCOUNT SUCCEEDED", "", "", String::new(), String::new());
        let own = story.signs_in("Login", NEW_EMAIL, PASSWORD).await;

        let page = list(&story.server, &own.access_token, 200, "").await.unwrap();
        assert_eq!(page.next_page_token, "");
        for (event, told) in page.events.iter().zip(&story.told) {
            assert_eq!(Told::of(event), *told);
        }
        assert_eq!(page.events.len(), story.told.len());
        let ids: Vec<_> = page.events.iter().map(|event| event.id.as_str()).collect();
        assert!(ids.iter().all(|id| id.starts_with("evt_")) && ids.is_sorted_by(|one, other| one > other));
        assert_eq!(by_pages(&story.server, &own.access_token, 4).await, page.events);

        story.succeeds("DeleteMe", &own.access_token, json!({"password": PASSWORD})).await;
        story.tells("DELETE_ACCOUNT SUCCEEDED", &own.session_id, "");
        // Nobody is left to be shown it. It is kept all the same.
        let last = "SELECT action || ' ' || outcome || ' ' || ip_address FROM events ORDER BY id DESC LIMIT 1";
        let expected = format!("delete_account succeeded {}", story.address());
        assert_eq!(story.server.database.query_text(last).await, [expected]);

        // Each in a line of its own, in the same order.
        let text = log.text();
        let mut lines = text.lines();
        for told in story.told.iter().rev() {
            assert!(lines.any(|line| told.is_logged_by(line, &user_id)), "{told:?} in {text}");
        }
        let action = |told: &Told| told.what.split(' ').next().unwrap().to_lowercase();
        let mut actions: Vec<_> = story.told.iter().map(action).collect();
        // These take a provider: tests/api/oauth.rs. And these an administrator: tests/api/admin.
        let elsewhere = [
            Action::LinkIdentity,
            Action::UnlinkIdentity,
            Action::RevokeCredentials,
            Action::CreateServiceAccount,
            Action::ImportAccount,
        ];
        let here = Action::ALL.iter().filter(|action| !elsewhere.contains(action));
        let mut all: Vec<_> = here.map(|action| action.as_str().to_owned()).collect();
        actions.sort_unstable();
        actions.dedup();
        all.sort_unstable();
        assert_eq!(actions, all, "every action has its step");
    }
}

/// All of a person's events, so many a page.
async fn by_pages(server: &Server, access_token: &str, page_size: i32) -> Vec<pb::Event> {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(server, access_token, page_size, &page_token).await.unwrap();
        assert!(page.events.len() <= usize::try_from(page_size).unwrap());
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return events;
        }
    }
}

on_both! {
    async fn anothers_are_not_shown(database: Kind) {
        // S33
        let server = Server::start(database).await;
        let own = server.register().await.access_token;
        let stranger = server.register_as("stranger@example.com").await.access_token;
        for _ in 0..3 {
            server.advance(1);
            server.login("stranger@example.com", "wrong horse battery").await.unwrap_err();
            // Of whom this would be is nobody's.
            server.login("nobody@example.com", "wrong horse battery").await.unwrap_err();
        }
        assert_eq!(server.events(&own).await, ["REGISTER SUCCEEDED"]);
        assert_eq!(server.events(&stranger).await.len(), 4);
        assert_eq!(by_pages(&server, &stranger, 1).await.len(), 4);
        // Nor by a page token of theirs.
        let theirs = list(&server, &stranger, 1, "").await.unwrap().next_page_token;
        assert_eq!(list(&server, &own, 0, &theirs).await.unwrap(), list(&server, &own, 0, "").await.unwrap());
        let nobodys = "SELECT action || ' ' || outcome FROM events WHERE user_id IS NULL";
        assert_eq!(server.database.query_text(nobodys).await, ["sign_in failed"; 3]);
    }
}

on_both! {
    async fn those_of_an_account_that_is_gone_are_not_the_next_ones(database: Kind) {
        let server = Server::start(database).await;
        let first = server.register().await.access_token;
        let request = pb::DeleteMeRequest { password: Some(PASSWORD.to_owned()) };
        server.auth().delete_me(bearer(&first, request)).await.unwrap();
        server.advance(1);
        let second = server.register().await.access_token;
        assert_eq!(server.events(&second).await, ["REGISTER SUCCEEDED"]);
    }
}

on_both! {
    async fn they_are_shown_by_access_token_alone(database: Kind) {
        // S35
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        let key = server.create_key(&token, &[]).await.secret;
        let mut auth = server.auth();
        let answer = auth.list_my_events(api_key(&key, pb::ListMyEventsRequest::default())).await;
        expect_status(answer, Code::PermissionDenied, "SESSION_REQUIRED");
        let answer = auth.list_my_events(pb::ListMyEventsRequest::default()).await;
        expect_status(answer, Code::Unauthenticated, "MISSING_CREDENTIAL");
        server.logout(&token).await.unwrap();
        expect_status(list(&server, &token, 0, "").await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
    }
}

on_both! {
    async fn a_page_has_at_most_as_many_as_were_asked_for(database: Kind) {
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        for _ in 1..205 {
            let request = pb::UpdateMeRequest { name: Some("Ann".to_owned()), update_mask: None };
            server.auth().update_me(bearer(&token, request)).await.unwrap();
        }
        for (page_size, expected) in [(0, 50), (1, 1), (200, 200), (500, 200), (i32::MAX, 200)] {
            let page = list(&server, &token, page_size, "").await.unwrap();
            assert_eq!(page.events.len(), expected);
            let rest = list(&server, &token, 200, &page.next_page_token).await.unwrap();
            assert_eq!(rest.events.len(), 200.min(205 - expected));
        }
    }
}
