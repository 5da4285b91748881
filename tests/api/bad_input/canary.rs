//! A secret in any field of any call is kept and told nowhere (S57): not in the log, an error, an event or a table, but in
//! the columns that are there for what a field holds that is no secret.

use countersign::api::pb;

use super::{
    Besieged,
    fields::{string_fields, with_text},
};
use crate::{
    common::Kind,
    log::Log,
    on_both,
    provider::{complete, nonce, returned, sign_in, start, started},
    wire::{DOORS, Door, rpcs},
};

/// For what is no secret: addresses, names and scopes that were accepted.
const MEANT: [&str; 7] = [
    "api_keys.name",
    "api_keys.scopes",
    "one_time_tokens.email",
    "users.email",
    "users.email_normalized",
    "users.name",
    "users.scopes",
];

/// A text that the field might accept, with this canary in it.
fn acceptable(path: &str, canary: &str) -> String {
    match path.rsplit('/').next() {
        Some("email" | "new_email") => format!("{canary}@example.com"),
        Some("token") => format!("ot_{canary:A<43}"),
        Some("refresh_token") => format!("rt_{canary:A<43}"),
        Some("credential") => format!("ak_{canary:A<49}"),
        Some("0") => canary.to_owned(),
        _ => format!("{canary} quite long"),
    }
}

on_both! {
    async fn a_canary_in_every_field_is_found_nowhere_else(database: Kind) {
        // S57
        let log = Log::start();
        let besieged = Besieged::start(database).await;
        let authorization = besieged.authorization();
        let mut canaries = Vec::new();
        for rpc in rpcs() {
            for path in string_fields(&rpc.input(), "") {
                for door in DOORS {
                    if door == Door::Rest && path.starts_with("/update_mask") {
                        continue;
                    }
                    let number = canaries.len();
                    let canary = format!("canary{number}x");
                    let message = with_text(rpc.name(), number, &path, &acceptable(&path, &canary));
                    let headers = [("authorization", authorization.as_str())];
                    let headers = if rpc.name() == "Logout" { &[][..] } else { &headers };
                    let answer = besieged.server.call(door, rpc.name(), headers, &message).await;
                    // A scope that is missing is named.
                    if answer.result.is_err() && !path.ends_with("scopes/0") {
                        assert!(!format!("{answer:?}").contains(&canary), "{} {path}: {answer:?}", rpc.name());
                    }
                    canaries.push(canary);
                }
            }
        }
        // Mails that were asked for go out, and their rows with them.
        besieged.server.new_mails().await;
        let kept = besieged.server.database.dump().await;
        let told = log.text();
        assert!(canaries.len() > 100 && kept.len() > 100 && told.contains("sign_in failed"));
        let mut meant = 0;
        for canary in &canaries {
            for (column, value) in kept.iter().filter(|(_, value)| value.contains(canary.as_str())) {
                assert!(MEANT.contains(&column.as_str()), "{canary} in {column}: {value}");
                meant += 1;
            }
            for line in told.lines() {
                assert!(!line.contains(canary.as_str()), "{line}");
            }
        }
        assert!(meant > 10, "what was accepted is kept");
        besieged.assert_well().await;
    }
}

on_both! {
    async fn an_access_token_and_a_mailed_one_are_kept_as_digests_only(database: Kind) {
        // S37, S57
        let besieged = Besieged::start(database).await;
        let server = &besieged.server;
        server.forgot_password(crate::support::EMAIL).await.unwrap();
        let mails = server.new_mails().await;
        let mut secrets: Vec<_> = mails.iter().map(crate::mailbox::Mail::token).collect();
        assert_eq!(secrets.len(), 2);
        secrets.extend([besieged.token.clone(), besieged.key.clone()]);
        for (column, value) in server.database.dump().await {
            for secret in &secrets {
                assert!(!value.contains(secret.as_str()), "{column}");
            }
        }
    }
}

on_both! {
    async fn what_proves_a_sign_in_by_a_provider_is_kept_in_no_clear_form_and_told_nowhere(database: Kind) {
        // S43, S57, S58
        let log = Log::start();
        let (server, idp) = started(database).await;
        let flow = start(&server).await;
        let nonce = nonce(&flow);
        let refused = pb::CompleteOAuthRequest { code: "the canary code".to_owned(), ..returned(&flow) };
        complete(&server, refused).await.unwrap_err();
        let under_way = start(&server).await;
        let signed_in = sign_in(&server, &idp, |_| {}).await.unwrap();
        let id_token = idp.token.lock().unwrap().clone().unwrap();
        let told = log.text();
        assert!(told.contains("a provider did not say who somebody is"));
        for secret in [
            &flow.state,
            &flow.flow_secret,
            &nonce,
            &under_way.state,
            &under_way.flow_secret,
            "the canary code",
            "the client secret",
            &id_token,
            &signed_in.access_token,
            &signed_in.refresh_token,
        ] {
            assert!(!told.contains(secret), "{secret}");
            for (column, value) in server.database.dump().await {
                assert!(!value.contains(secret), "{secret} in {column}");
            }
        }
    }
}
