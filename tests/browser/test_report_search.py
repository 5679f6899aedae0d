"""Search in the report: it finds what is folded away, leads there and back, and is kept to by the keyboard."""

from collections.abc import Callable
from typing import Any

import pytest

import foldlog
from report_browser import text_of, until
from report_runs import fill_at_once, fill_family, fill_hostile

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.sqlite("a page is the same, wherever its store is")

Look = Callable[..., Any]

# The texts that are marked as found, and whether the first of them is in sight.
MARKED = "[...(CSS.highlights.get('found') ?? [])].map((range) => range.toString())"
IN_SIGHT = """(() => {
  const [range] = CSS.highlights.get('found');
  const at = range.getBoundingClientRect();
  const box = (range.startContainer.parentElement.closest('.text') ?? document.body).getBoundingClientRect();
  return at.height > 0 && at.top >= Math.max(box.top, 50) && at.bottom <= Math.min(box.bottom, innerHeight);
})()"""


def ask(browser: Any, text: str, said: str) -> Any:
    """Type into the field, and wait for what is said; the field."""
    browser.find_element("tag name", "body").send_keys("/")
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "query"
    field.clear()
    field.send_keys(text)
    assert until(browser, f"document.querySelector('#found h2')?.textContent === '{said}'")
    return field


def said(browser: Any) -> str:
    return browser.execute_script("return document.getElementById('said').textContent")


def test_it_finds_in_every_session_and_leads_there(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    field = ask(browser, "NEEDLE in", "1 found")
    assert text_of(browser, "#found mark") == "needle in"
    assert said(browser) == "1 found"
    field.send_keys(Keys.ENTER)
    assert text_of(browser, "h1") == "child-0002"
    assert browser.execute_script("return location.hash") == "#s=family%2Fchild-0002&call=2"
    assert said(browser) == "1 of 1 found"
    assert browser.execute_script(f"return {MARKED}") == ["needle in"]
    assert until(browser, IN_SIGHT)
    assert browser.execute_script("return document.activeElement.id") == "query"
    field.send_keys(Keys.ESCAPE)
    assert until(browser, "document.getElementById('found').hidden")
    assert browser.execute_script("return [document.activeElement.id, CSS.highlights.size]") == ["call-2", 0]
    browser.back()
    assert until(browser, "document.querySelector('h1').textContent === 'family'")


def test_what_is_typed_is_text_and_no_pattern(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    for text in ("<script>", "needle.in", "((", "[a-z]+", "\\\\", "\\d"):
        ask(browser, text, "Nothing found")
    ask(browser, "1 / 0)", "1 found")


def test_enter_goes_from_hit_to_hit_and_around(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    field = ask(browser, "zerodivision", "2 found")
    seen = []
    for keys in ((Keys.ENTER,), (Keys.ENTER,), (Keys.ENTER,), (Keys.SHIFT, Keys.ENTER)):
        field.send_keys(*keys)
        seen.append((said(browser), browser.execute_script("return location.hash")))
        assert until(browser, IN_SIGHT)
    first, second = ("1 of 2 found", "#s=family&eval=1"), ("2 of 2 found", "#s=family&message=4")
    assert seen == [first, second, first, second]
    browser.find_element("css selector", "#found button[aria-label^='Previous']").click()
    assert said(browser) == "1 of 2 found"
    browser.find_element("css selector", "#found button[aria-label^='Close']").click()
    assert until(browser, "document.activeElement.id === 'eval-1'")


def test_the_list_is_walked_by_arrows_and_opens_one(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    field = ask(browser, "zerodivision", "2 found")
    field.send_keys(Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert until(browser, "document.activeElement.id === 'message-4'")
    assert browser.execute_script("return document.querySelector('#message-4 details').open")
    assert not browser.find_element("css selector", "#found ol").is_displayed()


def test_it_unfolds_what_it_finds(store: foldlog.Store, look: Look) -> None:
    """In a long text far below, in a turn's final value, in one of many calls, in what is shown by a button only."""
    with store.start_session(id="top", prompt="look for me") as session:
        with session.turn() as turn:
            turn.message("observation", "hay\n" * 900 + "first needle")
            for number in range(130):
                turn.message("user", f"hello {number}")
            for number in range(30):
                turn.call("leaf", query="second needle" if number == 29 else "hay").__enter__().ok()
            turn.final({"value": "third needle"})
        with session.turn() as turn:
            turn.message("assistant", "fourth needle")
    browser = look("top")
    field = ask(browser, "needle", "5 found")
    for number, wanted in enumerate(("", "&turn=1", "&message=1", "&call=30", "&message=132"), 1):
        field.send_keys(Keys.ENTER)
        assert said(browser) == f"{number} of 5 found"
        assert browser.execute_script("return location.hash") == f"#s=top{wanted}"
        assert browser.execute_script(f"return {MARKED}") == ["needle"]
        assert until(browser, IN_SIGHT)
    ask(browser, "look for", "1 found").send_keys(Keys.ENTER)
    assert until(browser, IN_SIGHT)


def test_what_is_shown_by_a_name_is_found_by_it(store: foldlog.Store, look: Look) -> None:
    fill_hostile(store)
    browser = look("hostile")
    ask(browser, "⟨U+202E⟩gnp", "7 found")
    assert text_of(browser, "#found mark") == "⟨U+202E⟩gnp"


def test_ten_thousand_calls_are_searched(store: foldlog.Store, look: Look) -> None:
    fill_at_once(store, 10_000)
    browser = look("wide")
    field = ask(browser, "why 77", "12 found")
    assert "Searched is what this file holds, not what it leaves out." in text_of(browser, "#found")
    field.send_keys(Keys.SHIFT, Keys.ENTER)
    assert browser.execute_script("return location.hash") == "#s=wide&call=7800"
    assert browser.execute_script(f"return {MARKED}") == ["why 77"]
    assert until(browser, IN_SIGHT)
