//! `oauth.*`: providers by file and environment, which keys go with which kind, what a redirect URI is, and that the
//! providers' secrets stay hidden.

use super::*;

const GITHUB: &str =
    "[oauth.providers.github]\nkind = 'github'\nclient_id = 'id'\nclient_secret = 'c4n4ry'\n";

/// A provider `p` that lacks nothing but what `rest` has, further keys of it.
fn provider(kind: &str, rest: &str) -> Setup {
    Setup::new().toml(&format!(
        "[oauth.providers.p]\nkind = '{kind}'\nclient_id = 'id'\nclient_secret = 'c4n4ry'\n{rest}\n"
    ))
}

fn only(setup: &Setup) -> Provider {
    let mut providers: Vec<Provider> = setup.load().0.oauth.providers.into_values().collect();
    assert_eq!(providers.len(), 1);
    providers.remove(0)
}

#[test]
fn a_file_names_any_number_of_providers() {
    let setup = Setup::new().toml(&format!(
        "{GITHUB}scopes = ['read:user', 'user:email']\nauthorization_url = 'https://ghe.example.com/login/oauth/authorize'\n\
         token_url = 'https://ghe.example.com/login/oauth/access_token'\napi_url = 'https://ghe.example.com/api/v3'\n\
         [oauth]\nredirect_uris = ['https://app.example.com/callback', 'com.example.app:/callback']\nrequire_state = true\n\
         [oauth.providers.in]\nkind = 'linkedin'\nclient_id = 'in'\nclient_secret = 's'\n\
         [oauth.providers.my-idp_2]\nkind = 'oidc'\nclient_id = 'oi'\nclient_secret = 's'\n\
         issuer = 'http://127.0.0.1:4444/'\nallow_private_hosts = true\n"
    ));
    let oauth = setup.load().0.oauth;
    assert_eq!(oauth.redirect_uris, ["https://app.example.com/callback", "com.example.app:/callback"]);
    assert!(oauth.require_state);
    assert!(oauth.providers.keys().eq(["github", "in", "my-idp_2"]));

    let github = &oauth.providers["github"];
    assert_eq!((github.kind, github.client_id.as_str()), (ProviderKind::Github, "id"));
    assert_eq!(github.client_secret.expose_secret(), CANARY);
    assert_eq!(github.scopes, ["read:user", "user:email"]);
    let urls =
        [&github.authorization_url, &github.token_url, &github.api_url].map(|url| url.as_deref().unwrap());
    let ends = ["/login/oauth/authorize", "/login/oauth/access_token", "/api/v3"];
    assert_eq!(urls, ends.map(|end| format!("https://ghe.example.com{end}")));
    assert!(github.issuer.is_none() && !github.allow_private_hosts);

    let linkedin = &oauth.providers["in"];
    assert_eq!((linkedin.kind, &linkedin.issuer), (ProviderKind::Linkedin, &None));
    assert!(linkedin.scopes.is_empty() && linkedin.api_url.is_none());
    let oidc = &oauth.providers["my-idp_2"];
    assert_eq!(oidc.kind, ProviderKind::Oidc);
    assert_eq!(oidc.issuer.as_deref(), Some("http://127.0.0.1:4444/")); // Exactly as written (S48).
    assert!(oidc.allow_private_hosts);
}

#[test]
fn the_environment_names_providers_and_overrides_the_file_key_by_key() {
    let variable = |key: &str| format!("COUNTERSIGN_OAUTH__PROVIDERS__{key}");
    let alone = with(&variable("MY_IDP__KIND"), "oidc")
        .env(&variable("MY_IDP__CLIENT_ID"), "id")
        .env(&variable("MY_IDP__CLIENT_SECRET"), "s")
        .env(&variable("MY_IDP__SCOPES"), "openid, email")
        .env(&variable("MY_IDP__ISSUER"), "https://idp.example.com")
        .env("COUNTERSIGN_OAUTH__REDIRECT_URIS", "https://a.example/b,app:/c");
    let oauth = alone.load().0.oauth;
    assert!(oauth.providers.keys().eq(["my_idp"]));
    assert_eq!(oauth.providers["my_idp"].scopes, ["openid", "email"]);
    assert_eq!(oauth.redirect_uris, ["https://a.example/b", "app:/c"]);

    let both = Setup::new()
        .toml(GITHUB)
        .env(&variable("GITHUB__CLIENT_ID"), "other")
        .env(&variable("GITHUB__AUTHORIZATION_URL"), "https://example.com/authorize")
        .env(&variable("GITHUB__TOKEN_URL"), "https://example.com/token")
        .env(&variable("GITHUB__API_URL"), "https://api.example.com");
    let github = only(&both);
    assert_eq!((github.kind, github.client_id.as_str()), (ProviderKind::Github, "other"));
    assert_eq!(github.api_url.as_deref(), Some("https://api.example.com"));
    let settings = both.load().1;
    let origin = |key: &str| setting(&settings, &format!("oauth.providers.github.{key}")).origin.to_string();
    assert_eq!(origin("kind"), "countersign.toml");
    assert_eq!(origin("client_id"), variable("GITHUB__CLIENT_ID"));
    assert_eq!(origin("scopes"), "default");
}

#[test]
fn a_client_secret_can_be_read_from_a_file_and_is_never_shown() {
    // S57
    let name = "COUNTERSIGN_OAUTH__PROVIDERS__P__CLIENT_SECRET";
    let without = Setup::new().file("s", "c4n4ry\n").env("COUNTERSIGN_OAUTH__PROVIDERS__P__KIND", "linkedin");
    let without = without.env("COUNTERSIGN_OAUTH__PROVIDERS__P__CLIENT_ID", "id");
    let setups = [provider("github", ""), without.env(&format!("{name}_FILE"), "s")];
    let by_file = "oauth.providers.p = { kind = 'oidc', client_id = 'id', client_secret_file = 's', issuer = 'https://i' }";
    for setup in setups.into_iter().chain([Setup::new().file("s", CANARY).toml(by_file)]) {
        assert_eq!(only(&setup).client_secret.expose_secret(), CANARY);
        let (config, settings) = setup.load();
        assert_eq!(setting(&settings, "oauth.providers.p.client_secret").value, "********");
        let output = format!("{config:?}{settings:?}{}", Config::render(&settings));
        assert!(!output.contains(CANARY), "{output}");
        let faults = setup.env(name, "c4n4ry\n").faults();
        assert!(!faults.concat().contains(CANARY), "{faults:?}");
        assert!(faults[0].starts_with("oauth.providers.p.client_secret: "), "{faults:?}");
    }
    let twice = provider("github", "client_secret_file = 's'").file("s", "s");
    assert_eq!(
        twice.faults(),
        ["oauth.providers.p.client_secret: is given twice, as oauth.providers.p.client_secret and as \
          oauth.providers.p.client_secret_file: leave one out (countersign.toml)"]
    );
}

#[test]
fn providers_are_shown_by_name_in_the_order_of_their_table() {
    let setup = Setup::new().toml(&format!("{}\n{GITHUB}", GITHUB.replace("github", "another")));
    let setup = setup.env("COUNTERSIGN_OAUTH__PROVIDERS__ANOTHER__KIND", "linkedin");
    let text = Config::render(&setup.load().1);
    let table: toml::Table = text.parse().unwrap();
    let providers = &table["oauth"]["providers"];
    assert_eq!(providers["github"]["client_id"].as_str(), Some("id"));
    assert_eq!(providers["another"]["allow_private_hosts"].as_bool(), Some(false));
    assert_eq!(providers["another"]["scopes"].as_array().map(Vec::len), Some(0));
    let shown: Vec<&str> = text
        .lines()
        .map(|line| line.trim_start_matches("# ").split(' ').next().unwrap())
        .skip_while(|key| *key != "oauth.require_state")
        .take_while(|key| key.starts_with("oauth."))
        .collect();
    let expected = ["another", "github"]
        .into_iter()
        .flat_map(|name| keys::PROVIDER_KEYS.iter().map(move |key| keys::of_provider(name, key.name)));
    assert_eq!(shown[1..], expected.collect::<Vec<_>>());
}

#[test]
fn every_fault_of_every_provider_is_told_at_once() {
    let toml = "[oauth]\nredirect_uri = 'x'\nredirect_uris = ['*']\nrequire_state = 'yes'\n\
                [oauth.providers.a]\nknd = 'github'\n\
                [oauth.providers.b]\nkind = 'gitlab'\nclient_id = ''\nclient_secret = 5\nscope = ['a']\n\
                [oauth.providers.c]\nkind = 'oidc'\nclient_id = 'id'\nclient_secret = 's'\nscopes = ['a b']\n\
                token_url = 'https://c.example/token'\n\
                [oauth.providers.d]\n\
                [oauth.providers.Git-Hub]\nkind = 'github'\n\
                [oauth.providers.f.client_id]\nx = 'y'\n";
    let setup = Setup::new()
        .toml(toml)
        .env("COUNTERSIGN_OAUTH__PROVIDERS__E__CLIENT_ID", "id")
        .env("COUNTERSIGN_OAUTH__PROVIDERS__C__ALLOW_PRIVATE_HOSTS", "1")
        .env("COUNTERSIGN_OAUTH__PROVIDERS__C__URL", "https://c.example")
        .env("COUNTERSIGN_OAUTH__PROVIDERS__A__B__KIND", "github")
        .env("COUNTERSIGN_OAUTH__PROVIDERS__G", "github");
    let mut faults = setup.faults();
    faults.sort();
    let (file, variable) = ("(countersign.toml)", "(COUNTERSIGN_OAUTH__PROVIDERS__");
    let expected = [
        format!(
            "oauth.providers.Git-Hub: the name of a provider is 1 to 32 of a to z, 0 to 9, - and _ {file}"
        ),
        format!(
            "oauth.providers.a.b.kind: unknown key, did you mean oauth.providers.a.kind? {variable}A__B__KIND)"
        ),
        format!("oauth.providers.a.client_id: required {file}"),
        format!("oauth.providers.a.client_secret: required {file}"),
        format!("oauth.providers.a.kind: required {file}"),
        format!("oauth.providers.a.knd: unknown key, did you mean oauth.providers.a.kind? {file}"),
        format!("oauth.providers.b.client_id: \"\" is not a name of 1 to 255 bytes {file}"),
        format!("oauth.providers.b.client_secret: expected a string, found an integer {file}"),
        format!("oauth.providers.b.kind: \"gitlab\" is not github or linkedin or oidc {file}"),
        format!("oauth.providers.b.scope: unknown key, did you mean oauth.providers.b.scopes? {file}"),
        format!(
            "oauth.providers.c.allow_private_hosts: \"1\" is not true or false {variable}C__ALLOW_PRIVATE_HOSTS)"
        ),
        format!("oauth.providers.c.issuer: required with kind oidc {file}"),
        format!("oauth.providers.c.scopes: \"a b\" is not a scope, without spaces and commas {file}"),
        format!("oauth.providers.c.token_url: is only for kind github {file}"),
        format!("oauth.providers.c.url: unknown key {variable}C__URL)"),
        format!("oauth.providers.d: is a provider: set its kind, client_id and client_secret {file}"),
        format!("oauth.providers.e.client_secret: required {variable}E__CLIENT_ID)"),
        format!("oauth.providers.e.kind: required {variable}E__CLIENT_ID)"),
        format!("oauth.providers.f.client_id: expected a string, found a table {file}"),
        format!("oauth.providers.f.client_secret: required {file}"),
        format!("oauth.providers.f.kind: required {file}"),
        format!("oauth.providers.g: is a provider: set its kind, client_id and client_secret {variable}G)"),
        format!("oauth.redirect_uri: unknown key, did you mean oauth.redirect_uris? {file}"),
        format!("oauth.redirect_uris: \"*\" holds a wildcard, but is matched exactly: name each URI {file}"),
        format!("oauth.require_state: expected true or false, without quotes, found a string {file}"),
    ];
    assert_eq!(faults, expected);
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let issuer = "issuer = 'https://i.example'";
    let of_github =
        ["authorization_url", "token_url", "api_url"].map(|key| format!("{key} = 'https://a.example'"));
    provider("github", &of_github.join("\n")).load();
    provider("linkedin", issuer).load();
    provider("oidc", issuer).load();
    assert_eq!(
        provider("github", issuer).faults(),
        ["oauth.providers.p.issuer: is only for kind linkedin or oidc (countersign.toml)"]
    );
    for key in &of_github {
        for kind in ["linkedin", "oidc"] {
            let faults = provider(kind, &format!("{issuer}\n{key}")).faults();
            let [fault] = faults.as_slice() else { panic!("{faults:?}") };
            assert!(fault.ends_with(": is only for kind github (countersign.toml)"), "{fault}");
        }
    }
}

#[test]
fn every_url_is_https_unless_private_hosts_are_allowed() {
    // S50
    let keys =
        [("oidc", "issuer"), ("github", "authorization_url"), ("github", "token_url"), ("github", "api_url")];
    for (kind, key) in keys {
        let others = keys.iter().filter(|(of, other)| *of == kind && *other != key);
        let others: Vec<_> = others.map(|(_, other)| format!("{other} = 'https://b.example'")).collect();
        let others = others.join("\n");
        let url = |url: &str, rest: &str| provider(kind, &format!("{key} = '{url}'\n{others}\n{rest}"));
        url("https://a.example:8443/b", "").load();
        let fault = "must be https, unless allow_private_hosts is true (countersign.toml)";
        assert_eq!(url("http://a.example", "").faults(), [format!("oauth.providers.p.{key}: {fault}")]);
        assert_eq!(url("http://a.example", "allow_private_hosts = false").faults().len(), 1);
        assert!(only(&url("http://127.0.0.1:4444", "allow_private_hosts = true")).allow_private_hosts);
        for bad in
            ["", "a.example", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example/#b"]
        {
            let faults = url(bad, "allow_private_hosts = true").faults();
            let known = format!("oauth.providers.p.{key}: \"{bad}\" is not a URL ");
            assert!(faults.len() == 1 && faults[0].starts_with(&known), "{key} {bad}: {faults:?}");
        }
    }
    // Issuers are compared, and paths put behind the API's URL: neither has a query, and the latter no slash at the end.
    let urls = "authorization_url = 'https://a.example/a?b=c'\ntoken_url = 'https://a.example/t?b=c'\n";
    provider("github", &format!("{urls}api_url = 'https://a.example'")).load();
    // One GitHub's people by another's numbers would be somebody else (S45).
    assert_eq!(
        provider("github", urls).faults(),
        ["oauth.providers.p.api_url: required where another URL of the three is set (countersign.toml)"]
    );
    assert_eq!(provider("oidc", "issuer = 'https://a.example/?b'").faults().len(), 1);
    assert_eq!(provider("github", "api_url = 'https://a.example/?b'").faults().len(), 1);
    assert_eq!(provider("github", "api_url = 'https://a.example/'").faults().len(), 1);
}

#[test]
fn a_redirect_uri_is_absolute_and_has_neither_wildcard_nor_fragment() {
    // S49: matched exactly, so kept exactly.
    let list = |uri: &str| Setup::new().toml(&format!("oauth.redirect_uris = ['{uri}']"));
    for uri in [
        "https://app.example.com",
        "https://App.example.com:443/a/../b/?c=d%2C&e",
        "http://localhost:3000/callback",
        "http://[::1]:3000/callback",
        "com.example.app:/callback",
        "com.example.app://callback",
    ] {
        assert_eq!(list(uri).load().0.oauth.redirect_uris, [uri]);
    }
    for (uri, problem) in [
        ("", "is not a URI like"),
        ("/callback", "is not a URI like"),
        ("//app.example.com/callback", "is not a URI like"),
        ("app.example.com/callback", "is not a URI like"),
        ("localhost:3000/callback", "is not a URI like"),
        ("1st:/callback", "is not a URI like"),
        ("https:/app.example.com", "is not a URI like"),
        ("https://", "is not a URI like"),
        ("https://u@app.example.com/", "is not a URI like"),
        ("https://*.example.com/", "holds a wildcard"),
        ("https://app.example.com/a b", "is not a URI like"),
        ("https://app.example.com/ä", "is not a URI like"),
        ("https://app.example.com/{tenant}", "is not a URI like"),
        ("https://app.example.com/*", "holds a wildcard"),
        ("https://app.example.com/#", "holds a fragment"),
        ("com.example.app:/a,b", "holds a comma"),
    ] {
        let faults = list(uri).faults();
        assert!(faults.len() == 1 && faults[0].contains(problem), "{uri}: {faults:?}");
    }
}

#[test]
fn names_of_providers_have_bounds() {
    let named =
        |name: &str| Setup::new().toml(&GITHUB.replace("providers.github", &format!("providers.'{name}'")));
    for name in ["a", "0", "my-idp", "my_idp", &"a".repeat(32)] {
        assert!(named(name).load().0.oauth.providers.keys().eq([name]));
    }
    for name in ["", "A", "a b", "ä", "a/b", &"a".repeat(33)] {
        let faults = named(name).faults();
        assert!(faults.len() == 1 && faults[0].starts_with("oauth.providers."), "{name}: {faults:?}");
    }
}
