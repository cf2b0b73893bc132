"""The page of the API's description in a real browser."""

import re
from typing import Literal

import pytest
from playwright.sync_api import expect

from support.calls.console import Console
from webapp.http.operation import GROUPS

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_shows_the_calls_under_their_headings_in_the_colours_of_the_system(
    console: Console, colours: Literal["light", "dark"]
) -> None:
    page = console.page
    page.emulate_media(color_scheme=colours)
    console.open("/docs")
    headings = page.locator(".opblock-tag a")
    expect(headings).to_have_text(list(GROUPS))
    expect(page.get_by_text("Post a message", exact=True)).to_be_visible()
    is_dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
    assert is_dark == (colours == "dark")
    assert console.complaints == []


def test_its_bar_leads_back_to_the_console(console: Console) -> None:
    console.open("/docs")
    bar = console.page.get_by_role("navigation", name="Pages")
    expect(bar.get_by_role("link", name="Operations")).to_be_visible()
    bar.get_by_role("link", name="Chat").click()
    expect(console.page).to_have_url(re.compile(r"://[^/]+/$"))


def test_its_example_can_be_sent_with_a_token_that_outlasts_a_reload(
    console: Console, browser_token: str
) -> None:
    page = console.page
    console.open("/docs")
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    page.get_by_label("bearer-value").or_(page.locator(".auth-container input")).first.fill(
        browser_token
    )
    page.locator(".auth-btn-wrapper button.authorize").click()
    page.reload()
    call = page.locator("#operations-Messages-post_message")
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    answered = call.locator(".live-responses-table")
    expect(answered).to_contain_text("200")
    expect(answered).to_contain_text("Shall we go sailing on Saturday?")
    assert console.complaints == []
