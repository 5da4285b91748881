//! Reads `oauth.*`, the keys of each provider by the same lines, and holds those of one provider against each other.

use super::{BOOL, Oauth, PROVIDER_KIND, Provider, ProviderKind, keys, parse, reader::Reader};

impl Oauth {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let provider = |r: &mut Reader<'_>, name: String| Some((name.clone(), Provider::read(r, &name)?));
        Self {
            redirect_uris: r.list("oauth.redirect_uris", parse::redirect_uri),
            require_state: r.get("oauth.require_state", parse::one_of(BOOL)),
            providers: r.providers().into_iter().filter_map(|name| provider(r, name)).collect(),
        }
    }
}

impl Provider {
    /// `None` only after a fault.
    fn read(r: &mut Reader<'_>, name: &str) -> Option<Self> {
        let key = |key| keys::of_provider(name, key);
        let kind = r.required(&key("kind"), parse::one_of(PROVIDER_KIND));
        let client_id = r.required(&key("client_id"), parse::name);
        let client_secret = r.required(&key("client_secret"), parse::secret);
        let scopes = r.list(&key("scopes"), parse::foreign_scope);
        let issuer = r.optional(&key("issuer"), parse::issuer);
        let authorization_url = r.optional(&key("authorization_url"), parse::endpoint);
        let token_url = r.optional(&key("token_url"), parse::endpoint);
        let api_url = r.optional(&key("api_url"), parse::base_url);
        let allow_private_hosts = r.get(&key("allow_private_hosts"), parse::one_of(BOOL));

        let github = kind == Some(ProviderKind::Github);
        let urls = [
            ("issuer", &issuer, !github, "is only for kind linkedin or oidc"),
            ("authorization_url", &authorization_url, github, "is only for kind github"),
            ("token_url", &token_url, github, "is only for kind github"),
            ("api_url", &api_url, github, "is only for kind github"),
        ];
        for (name, url, of_kind, only) in urls {
            let Some(url) = url else { continue };
            r.check(&[&key(name), &key("kind")], of_kind, only);
            r.check(
                &[&key(name), &key("allow_private_hosts")],
                allow_private_hosts || url.starts_with("https://"),
                "must be https, unless allow_private_hosts is true",
            );
        }
        // One GitHub's people by another's numbers would be somebody else: all three, or none.
        let of_github =
            [("authorization_url", &authorization_url), ("token_url", &token_url), ("api_url", &api_url)];
        for (name, url) in of_github {
            r.check(
                &[&key(name), &key("authorization_url"), &key("token_url"), &key("api_url")],
                url.is_some() || of_github.iter().all(|(_, other)| other.is_none()),
                "required where another URL of the three is set",
            );
        }
        r.check(
            &[&key("issuer"), &key("kind")],
            issuer.is_some() || kind != Some(ProviderKind::Oidc),
            "required with kind oidc",
        );
        Some(Self {
            kind: kind?,
            client_id: client_id?,
            client_secret: client_secret?,
            scopes,
            issuer,
            authorization_url,
            token_url,
            api_url,
            allow_private_hosts,
        })
    }
}
