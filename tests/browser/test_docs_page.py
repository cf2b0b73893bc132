"""The page of the API's description in a real browser."""

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
