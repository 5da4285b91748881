//! From configuration to identity providers.

use std::collections::BTreeMap;

use super::StartError;
use crate::{
    config::{self, Config, ProviderKind},
    provider::{Kind, Provider, Settings},
};

/// LinkedIn's name of itself.
const LINKEDIN: &str = "https://www.linkedin.com/oauth";

/// All that are configured, by name.
pub(super) fn providers(config: &Config) -> Result<BTreeMap<String, Provider>, StartError> {
    let provider = |(name, configured): (&String, &config::Provider)| {
        let made = Provider::new(settings(configured));
        let problem =
            |problem| StartError::Config { key: "oauth.providers", problem: format!("{name}: {problem}") };
        Ok((name.clone(), made.map_err(problem)?))
    };
    config.oauth.providers.iter().map(provider).collect()
}

fn settings(configured: &config::Provider) -> Settings {
    let or = |own: &Option<String>, default: &str| own.clone().unwrap_or_else(|| default.to_owned());
    let kind = match configured.kind {
        ProviderKind::Github => Kind::Github {
            authorization_url: or(&configured.authorization_url, "https://github.com/login/oauth/authorize"),
            token_url: or(&configured.token_url, "https://github.com/login/oauth/access_token"),
            api_url: or(&configured.api_url, "https://api.github.com"),
        },
        ProviderKind::Linkedin => {
            Kind::Oidc { issuer: or(&configured.issuer, LINKEDIN), pkce_and_nonce: false }
        }
        ProviderKind::Oidc => Kind::Oidc { issuer: or(&configured.issuer, ""), pkce_and_nonce: true },
    };
    Settings {
        kind,
        client_id: configured.client_id.clone(),
        client_secret: configured.client_secret.clone(),
        scopes: configured.scopes.clone(),
        allow_private_hosts: configured.allow_private_hosts,
    }
}
