"""gRPC-web from a page in headless Chromium, on another origin than the service: the page of tests/clients/browser."""

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from chromium import chromium
from conftest import PASSWORD, ROOT, new_email


@pytest.fixture
def page():
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 900, "height": 900})
        page.set_default_timeout(30_000)
        yield page


def fill_in(page: Page, email: str, password: str):
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)


def test_a_page_signs_up_signs_in_and_validates(server, listed_origin, page):
    email = new_email()
    message, status, principal = (page.locator(selector) for selector in ("#message", "#status", "#principal"))
    page.goto(f"{listed_origin}/?server={server.base}")

    fill_in(page, email, PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(message).to_have_text("Welcome, Ada Lovelace.")
    expect(status).to_have_text("VALID")
    expect(principal).to_contain_text(re.compile(r"USER.*usr_.*ses_.*jobs:read jobs:write"))
    first_session = principal.text_content()

    fill_in(page, email, "not the password")
    page.get_by_role("button", name="Sign in").click()
    # The text is the server's, so the page could read the error's headers across origins.
    expect(message).to_have_class("error")
    expect(message).to_contain_text("password")

    fill_in(page, email, PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(message).to_have_text("Welcome, Ada Lovelace.")
    expect(status).to_have_text("VALID")
    assert principal.text_content() != first_session
    page.screenshot(path=ROOT / f"target/browser-{server.database}.png")

    page.get_by_role("button", name="Sign out").click()
    expect(status).to_have_text("REVOKED")


def test_a_page_of_an_unlisted_origin_is_kept_out(server, unlisted_origin, page):
    email = new_email()
    console = []
    page.on("console", lambda message: console.append(message.text))
    page.goto(f"{unlisted_origin}/?server={server.base}")
    fill_in(page, email, PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.locator("#message")).to_have_class("error")
    expect(page.locator("#answer")).to_be_hidden()
    assert any("blocked by CORS policy" in line for line in console), console
    # Nor did the call come through unseen: the address is still free.
    r = requests.post(f"{server.base}/api/v1/auth/register", json={"email": email, "password": PASSWORD, "name": "Ada"})
    assert r.status_code == 200
