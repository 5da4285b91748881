"""The three pages where the links in mails lead, in headless Chromium: what they send, and what they say came of it.

Each is followed once from a mail to what it does to the account. Everywhere else the service only serves the pages; what it
answers to their calls is put in its place by `answers` and `held`, in the contract's shapes. Whatever a test does, its page must
keep to its policy and keep the token to itself: `visit` looks after that.
"""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from chromium import chromium
from conftest import PASSWORD, ROOT, new_email
from mail_server import Mail

TOKEN = "vt_qR5sT8uV1wX4yZ7aB0cD3eF6gH9iJ2kL5mN8oP1qR4s"
PHONE = {"viewport": {"width": 375, "height": 667}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}

# For each page: its button, and what it says when all went well.
PAGES = {
    "verify-email": ("Verify e-mail address", "is verified"),
    "reset-password": ("Set new password", "new password is set"),
    "confirm-email-change": ("Confirm new address", "e-mail address is changed"),
}
# The browser's own word about a call that was refused or came to nothing.
CALL_FAILED = "Failed to load resource"
every_page = pytest.mark.parametrize("name", PAGES)

WATCH_POLICY = """
    window.violations = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective }) => violations.push(violatedDirective));
"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@dataclass
class Visit:
    """A page that was opened by a mailed link, and what became of it."""

    page: Page
    name: str
    url: str
    posts: list[dict] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    @property
    def token(self) -> str | None:
        return parse_qs(urlsplit(self.url).query).get("token", [None])[0]

    @property
    def button(self) -> Locator:
        return self.page.get_by_role("button", name=PAGES[self.name][0])

    @property
    def password(self) -> Locator:
        return self.page.get_by_label("New password")

    @property
    def outcome(self) -> Locator:
        return self.page.get_by_role("status")

    def submit(self, password=PASSWORD):
        if self.name == "reset-password":
            self.password.fill(password)
        self.button.click()


@pytest.fixture
def visit(server, browser: Browser):
    """Opens pages as a mailed link does, and then makes sure that none broke its policy or gave the token away."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def visit(name: str, query=f"?token={TOKEN}", base=server.base, before=lambda page: None, **options) -> Visit:
        context = browser.new_context(**(PHONE | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.add_init_script(WATCH_POLICY)
        opened = Visit(page, name, f"{base}/{name}{query}")
        page.on("request", lambda request: watch(opened, request))
        page.on("console", lambda message: opened.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: opened.console.append(f"error: {error}"))
        before(page)
        page.goto(opened.url)
        visits.append(opened)
        return opened

    def watch(opened: Visit, request):
        opened.urls.append(request.url)
        if request.method == "POST":
            sent = {"path": request.url.removeprefix(server.base), "type": request.headers["content-type"], "referer": request.headers.get("referer", "")}
            opened.posts.append(sent | {"body": request.post_data_json})

    yield visit
    for opened in visits:
        assert opened.page.evaluate("violations") == []
        assert [line for line in opened.console if line.startswith(("error", "warning")) and CALL_FAILED not in line] == []
        if token := opened.token:
            assert token not in opened.page.content()
            assert token not in "".join(opened.console) and token not in server.log
            assert [url for url in opened.urls if token in url] == [opened.url]
        assert opened.page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    for context in contexts:
        context.close()


def follow(visit, mail: Mail, name: str) -> Visit:
    """Opens the link of a mail, which must lead to this page, and waits until all has been done that is done without a click."""
    opened = visit(name, f"?token={mail.token}")
    assert opened.url == mail.link
    expect(opened.button).to_be_enabled()
    opened.page.wait_for_load_state("networkidle")
    return opened


def used_up(visit, mail: Mail, name: str):
    """A second visit ends in a word about it."""
    opened = follow(visit, mail, name)
    opened.submit()
    expect(opened.outcome).to_contain_text("has been used or has expired")


def test_a_mailed_link_verifies(visit, server, mail_server):
    email = new_email()
    token = server.register(email)["access_token"]
    mail = mail_server.read(email, "Confirm your e-mail address")
    opened = follow(visit, mail, "verify-email")
    # S41
    assert not server.me(token)["email_verified"]
    opened.submit()
    expect(opened.outcome).to_contain_text("is verified")
    assert server.me(token)["email_verified"]
    used_up(visit, mail, "verify-email")


def test_a_mailed_link_sets_a_password(visit, server, mail_server, person):
    email = person["user"]["email"]
    server.call("forgot-password", {"email": email})
    mail = mail_server.read(email, "Set a new password")
    opened = follow(visit, mail, "reset-password")
    opened.submit("password1")
    expect(opened.outcome).to_have_text("Not accepted: the password is one of the most common.")
    # That has done nothing, nor has it used the link up.
    assert server.me(person["access_token"])["email"] == email
    opened.submit("ünïcode copper lantern")
    expect(opened.outcome).to_contain_text("new password is set")
    assert server.call("login", {"email": email, "password": PASSWORD}).status_code == 401
    assert server.call("login", {"email": email, "password": "ünïcode copper lantern"}).status_code == 200
    used_up(visit, mail, "reset-password")


def test_a_mailed_link_confirms_another_address(visit, server, mail_server, person):
    email, new, token = person["user"]["email"], new_email(), person["access_token"]
    assert server.call("change-email", {"new_email": new, "password": PASSWORD}, token).status_code == 200
    mail = mail_server.read(new, "Confirm your new e-mail address")
    opened = follow(visit, mail, "confirm-email-change")
    # S41
    assert server.me(token)["email"] == email
    opened.submit()
    expect(opened.outcome).to_contain_text("e-mail address is changed")
    me = server.me(token)
    assert (me["email"], me["email_verified"]) == (new, True)
    used_up(visit, mail, "confirm-email-change")


def answers(visit: Visit, status: int, body: dict):
    """From now on the service's answer to the page's call is this."""
    kind = "application/json" if status == 200 else "application/problem+json"
    visit.page.unroute_all()
    visit.page.route("**/api/v1/**", lambda route: route.fulfill(status=status, content_type=kind, body=json.dumps(body)))


def succeeds(visit: Visit):
    answers(visit, 200, {} if visit.name == "reset-password" else {"id": "usr_1", "email": "ada@example.com", "email_verified": True})


def fails(visit: Visit, status: int, reason: str, *violations: str):
    """A problem of RFC 9457, with violations of `new_password`."""
    problem = {"type": f"urn:countersign:error:{reason}", "title": "A title", "status": status, "detail": "A detail", "reason": reason}
    if violations:
        problem["field_violations"] = [{"field": "new_password", "description": text} for text in violations]
    answers(visit, status, problem)


def held(visit: Visit) -> list[Route]:
    """The page's calls, which are not answered until the test does so."""
    calls = []
    visit.page.route("**/api/v1/**", lambda route: calls.append(route))
    return calls


@every_page
def test_a_click_sends_the_token_and_nothing_else_does(visit, name):
    # S41
    opened = visit(name)
    succeeds(opened)
    expect(opened.button).to_be_enabled()
    opened.page.wait_for_load_state("networkidle")
    assert opened.posts == []
    opened.submit()
    expect(opened.outcome).to_contain_text(PAGES[name][1])
    expect(opened.outcome).to_be_focused()
    expect(opened.button).to_have_count(0)
    body = {"token": TOKEN} | ({"new_password": PASSWORD} if name == "reset-password" else {})
    assert opened.posts == [{"path": f"/api/v1/auth/{name}", "type": "application/json", "referer": "", "body": body}]


@every_page
def test_one_click_is_one_call_however_often_it_is_pressed(visit, name):
    opened = visit(name)
    calls = held(opened)
    opened.submit()
    expect(opened.button).to_be_disabled()
    opened.button.dblclick(force=True)
    if name == "reset-password":
        opened.password.press("Enter")
    assert len(opened.posts) == len(calls) == 1
    calls[0].fulfill(status=200, content_type="application/json", body="{}")
    expect(opened.outcome).to_contain_text(PAGES[name][1])
    assert len(opened.posts) == 1


@every_page
def test_a_link_that_was_used_is_the_end(visit, name):
    opened = visit(name)
    fails(opened, 400, "ONE_TIME_TOKEN_INVALID")
    opened.submit()
    expect(opened.outcome).to_contain_text("has been used or has expired")
    expect(opened.outcome).to_be_focused()
    expect(opened.button).to_have_count(0)


@every_page
def test_a_link_without_a_token_says_so(visit, name):
    for query in ["", "?token=", "?other=1"]:
        opened = visit(name, query)
        expect(opened.outcome).to_contain_text("link is not complete")
        expect(opened.button).to_have_count(0)
        assert opened.posts == []


def test_an_address_that_was_taken_meanwhile(visit):
    opened = visit("confirm-email-change")
    fails(opened, 409, "EMAIL_ALREADY_REGISTERED")
    opened.submit()
    expect(opened.outcome).to_contain_text("Another account has this e-mail address")
    expect(opened.button).to_have_count(0)


def test_a_password_that_is_refused_can_be_chosen_anew(visit):
    opened = visit("reset-password")
    refusals = [
        ("short", "INVALID_FIELD", "at least 8 characters"),
        ("password1", "PASSWORD_TOO_COMMON", "the password is one of the most common"),
    ]
    for password, reason, text in refusals:
        fails(opened, 400, reason, text)
        opened.submit(password)
        expect(opened.outcome).to_contain_text(text)
        # A screen reader says both, as the field has the focus and the text describes it.
        expect(opened.password).to_be_focused()
        expect(opened.password).to_have_accessible_description(re.compile(text))
    succeeds(opened)
    opened.password.fill("  spaces and ünïcode stay ")
    opened.password.press("Enter")
    expect(opened.outcome).to_contain_text("new password is set")
    sent = [post["body"]["new_password"] for post in opened.posts]
    assert sent == ["short", "password1", "  spaces and ünïcode stay "]


def test_no_password_is_not_sent(visit):
    opened = visit("reset-password")
    opened.button.click()
    expect(opened.password).to_be_focused()
    assert opened.posts == []


def test_a_password_can_be_looked_at(visit):
    opened = visit("reset-password")
    assert opened.password.get_attribute("autocomplete") == "new-password"
    for checked, shown in [(False, "password"), (True, "text"), (False, "password")]:
        opened.page.get_by_label("Show password").set_checked(checked)
        expect(opened.password).to_have_attribute("type", shown)


@every_page
def test_without_a_network_it_can_be_tried_again(visit, name):
    opened = visit(name)
    opened.page.context.set_offline(True)
    opened.submit()
    expect(opened.outcome).to_contain_text("try again")
    expect(opened.button).to_be_focused()
    opened.page.context.set_offline(False)
    succeeds(opened)
    opened.button.click()
    expect(opened.outcome).to_contain_text(PAGES[name][1])


def test_whatever_else_goes_wrong_can_be_tried_again(visit):
    opened = visit("verify-email")
    bodies = [
        lambda: fails(opened, 503, "STORAGE_UNAVAILABLE"),
        lambda: fails(opened, 429, "TOO_MANY_ATTEMPTS"),
        lambda: opened.page.route("**/api/v1/**", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>")),
        # Somebody's sign-in page in between, say.
        lambda: opened.page.route("**/api/v1/**", lambda route: route.fulfill(status=200, body="<h1>Welcome to our Wi-Fi</h1>")),
    ]
    for body in bodies:
        body()
        opened.submit()
        expect(opened.outcome).to_contain_text("try again")
        expect(opened.button).to_be_enabled()
    assert len(opened.posts) == len(bodies)


def test_a_call_that_is_never_answered_is_given_up(visit):
    hasten = "const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => timeout(ms / 1000);"
    opened = visit("verify-email", before=lambda page: page.add_init_script(hasten))
    calls = held(opened)
    opened.submit()
    expect(opened.outcome).to_contain_text("try again")
    assert len(calls) == 1


def test_its_policy_holds(visit):
    # S55. Also shows that `visit` sees a violation.
    opened = visit("verify-email")
    attack = "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    opened.page.evaluate(attack)
    opened.page.evaluate("document.body.append(Object.assign(new Image(), { src: '/x.png' }))")
    opened.page.wait_for_function("violations.length == 2")
    assert opened.page.evaluate("[window.ran, ...violations.splice(0)]") == [None, "script-src-elem", "img-src"]
    assert len(opened.console) == 2
    opened.console.clear()


def test_it_works_under_a_path_of_a_proxy(visit, server):
    base = f"{server.base}/accounts"

    def proxied(page: Page):
        page.route(f"{base}/*", lambda route: route.fulfill(response=route.fetch(url=route.request.url.replace("/accounts", ""))))

    opened = visit("verify-email", base=base, before=proxied)
    opened.page.route(f"{base}/api/v1/auth/verify-email", lambda route: route.fulfill(status=200, body="{}"))
    opened.submit()
    expect(opened.outcome).to_contain_text("is verified")
    assert [post["path"] for post in opened.posts] == ["/accounts/api/v1/auth/verify-email"]


@every_page
def test_without_scripts_it_says_what_is_missing(visit, name):
    opened = visit(name, java_script_enabled=False)
    # Not by its text: Playwright skips what is in <noscript> there.
    expect(opened.page.locator("noscript p")).to_contain_text("needs JavaScript")
    expect(opened.page.locator("noscript p")).to_be_visible()
    expect(opened.button).to_have_count(0)


@every_page
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["phone", "desktop"])
def test_it_can_be_read(visit, name, screen, scheme):
    opened = visit(name, color_scheme=scheme, **{"phone": PHONE, "desktop": DESKTOP}[screen])
    picture = f"target/page-{name}-{screen}-{scheme}"
    opened.page.screenshot(path=ROOT / f"{picture}.png")
    fails(opened, 400, "PASSWORD_TOO_COMMON", "the password is one of the most common")
    opened.submit("password1")
    expect(opened.outcome).not_to_be_empty()
    assert_readable(opened.page, scheme)
    opened.page.screenshot(path=ROOT / f"{picture}-refused.png")
    succeeds(opened)
    opened.submit()
    expect(opened.outcome).to_contain_text(PAGES[name][1])
    assert_readable(opened.page, scheme)
    opened.page.screenshot(path=ROOT / f"{picture}-done.png")


def assert_readable(page: Page, scheme: str):
    """Nothing to scroll sideways, letters of a fair size, and contrast as WCAG 2 AA asks."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth && innerWidth == screen.width")
    seen = page.evaluate("""() => [...document.querySelectorAll("h1, p, label, input, button")]
        .filter((element) => element.checkVisibility() && element.type != "checkbox")
        .map((element) => {
            const style = getComputedStyle(element);
            let behind = element;
            while (getComputedStyle(behind).backgroundColor == "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [element.outerHTML, parseFloat(style.fontSize), style.color, getComputedStyle(behind).backgroundColor];
        })""")
    assert len(seen) >= 2
    for element, size, ink, ground in seen:
        assert size >= 16, element
        light, dark = sorted([luminance(ink), luminance(ground)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, element
        if not element.startswith("<button"):
            assert (luminance(ground) < 0.05) == (scheme == "dark"), element


def luminance(color: str) -> float:
    """Of WCAG 2, for what `getComputedStyle` calls `rgb(…)`."""
    channels = [int(channel) / 255 for channel in re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color).groups()]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
