"""Headless Chromium, for the tests that need a browser."""

import contextlib
import shutil

from playwright.sync_api import sync_playwright

PATH = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
# Alone and quiet: no sandbox as root, and no calls home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def chromium():
    """A browser of its own, with nothing stored."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=FLAGS)
        yield browser
        browser.close()
