"""How the report looks: labels apart from each other, nothing cut off, at every width; the system's colours."""

from collections.abc import Callable
from typing import Any

import pytest

import foldlog
from report_browser import click, has_no_sideways_scroll, text_of, until
from report_runs import fill_at_once, fill_deep, fill_family, fill_hostile, fill_many

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains

pytestmark = pytest.mark.sqlite("a page is the same, wherever its store is")

Look = Callable[..., Any]
RUNS = {
    "family": fill_family,
    "deep-session-with-a-rather-long-name": fill_deep,
    "hostile": fill_hostile,
    "many": lambda store: fill_many(store, 5000),
    "wide": lambda store: fill_at_once(store, 1000),
}

# The words of a picture that lie over each other, or over its edge; and bars whose pattern is behind a word.
COLLISIONS = """
const found = [];
for (const picture of document.querySelectorAll('.timeline svg, .chart svg')) {
  const frame = picture.getBoundingClientRect();
  const words = [...picture.querySelectorAll('text')].filter((word) => word.textContent)
    .map((word) => [word.textContent, word.getBoundingClientRect()]);
  words.forEach(([text, box], at) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push([text, 'over the edge']);
    for (const [other, its] of words.slice(at + 1))
      if (box.left < its.right - 1 && its.left < box.right - 1 && box.top < its.bottom - 2 && its.top < box.bottom - 2)
        found.push([text, other]);
  });
  for (const bar of picture.querySelectorAll('g.is-below')) {
    const name = bar.querySelector('text').getBoundingClientRect();
    for (const part of bar.querySelectorAll('rect')) {
      const box = part.getBoundingClientRect();
      if (name.left < box.right && box.left < name.right && name.top < box.bottom - 2 && box.top < name.bottom - 2)
        found.push([bar.textContent, 'over its bar']);
    }
  }
  for (const word of picture.querySelectorAll('g:is(.is-error, .is-interrupted, .is-running) > .bar-text'))
    if (!word.previousElementSibling.matches('.plate')) found.push([word.textContent, 'on a pattern']);
}
return found;
"""
# Words of the page that are cut off, or narrower than a word is.
CUT = """
return [...document.querySelectorAll('.tile-value, .session-name, .session-facts, button, h1, h2')]
  .filter((one) => one.offsetParent
    && (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflow === 'hidden'
    || (one.textContent.length > 3 && one.getBoundingClientRect().width < 20 && one.getBoundingClientRect().width > 1)))
  .map((one) => one.textContent);
"""


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("run", RUNS)
def test_no_label_lies_over_another(store: foldlog.Store, look: Look, run: str, width: int) -> None:
    RUNS[run](store)
    browser = look(run, width=width, theme="dark" if width == 390 else "light")
    until(browser, "document.querySelector('.timeline g.bar')")
    assert browser.execute_script(COLLISIONS) == []
    if run != "hostile":  # whose names are longer than any place for them
        assert browser.execute_script(CUT) == []
    assert has_no_sideways_scroll(browser)
    for _ in range(3):
        click(browser, "//section[@id='timeline']//button[.='+']")
        assert browser.execute_script(COLLISIONS) == []


def test_deep_sessions_keep_their_names(store: foldlog.Store, look: Look) -> None:
    fill_deep(store, 20)
    browser = look("deep-session-with-a-rather-long-name")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('#side .session-name')].slice(1).map((one) => one.offsetHeight)"
    )
    assert len(heights) == 19
    assert set(heights) == {heights[0]}  # one line each
    assert "call 2 in child-0001/child-0001 " in text_of(browser, "#errors")
    assert "deep-session" not in text_of(browser, "#errors .error-rows")


def test_the_curve_has_as_many_as_ran(store: foldlog.Store, look: Look) -> None:
    fill_at_once(store, 10_000)
    browser = look("wide")
    until(browser, "document.querySelector('.timeline .curve')")
    assert "up to 5,000 at once · drawn as how many ran" in text_of(browser, ".timeline")
    # 48 is more lanes than fit; of those that went wrong, more than are drawn.
    assert browser.execute_script("return document.querySelectorAll('.timeline g.bar:not(.is-turn)').length") == 0


def test_a_curve_shows_what_did_not_end_well(store: foldlog.Store, look: Look) -> None:
    with store.start_session(id="top") as session:
        for number in range(60):
            session.add_call("leaf", started_at="2026-11-22T00:00:00Z", ended_at="2026-11-22T00:01:00Z", status="ok")
            if number % 30 == 0:
                session.add_call(
                    "leaf", started_at="2026-11-22T00:00:30Z", ended_at="2026-11-22T00:02:00Z", status="error"
                )
    browser = look("top")
    assert until(browser, "document.querySelector('.timeline .curve')")
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.timeline .lane-label')].map((one) => one.textContent)"
    )
    assert labels == ["callsup to 62 at once · drawn as how many ran", "callsthose with an error"]
    bar = browser.find_element("css selector", ".timeline g.is-error")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", bar)
    ActionChains(browser).move_to_element(bar).perform()
    assert "call 2 · leaf · error" in text_of(browser, ".tip")
    ActionChains(browser).click().perform()
    assert until(browser, "document.activeElement.id === 'call-2'")


def test_every_colour_of_a_plot_is_named(store: foldlog.Store, look: Look) -> None:
    fill_at_once(store, 10_000)
    browser = look("wide")
    named = browser.execute_script(
        "const paints = (all) => [...new Set([...all].map((one) => one.classList[0]))].sort();"
        "const card = document.querySelectorAll('#usage .card')[1];"
        "return [paints(card.querySelectorAll('.chart .area')), paints(card.querySelectorAll('.legend rect'))]"
    )
    assert named[0] == named[1] == [f"fill-series-{number}" for number in range(5)]


def test_a_part_of_the_curve_is_drawn_as_bars(store: foldlog.Store, look: Look) -> None:
    fill_many(store, 5000)
    browser = look("many")
    assert "one at a time · drawn as how many ran" in until(browser, "document.querySelector('.timeline').textContent")
    bars = "document.querySelectorAll('.timeline g.bar:not(.is-turn)').length"
    assert browser.execute_script(f"return {bars}") == 5  # those that went wrong
    timeline = browser.find_element("css selector", ".timeline")
    click(browser, "//section[@id='timeline']//button[.='+']")
    for _ in range(4):
        click(browser, "//section[@id='timeline']//button[.='←']")
    assert browser.execute_script(f"return {bars}") > 1000
    assert not browser.find_elements("css selector", ".timeline .curve")
    ticks = browser.execute_script("return [...document.querySelectorAll('.timeline .tick')].map((t) => t.textContent)")
    assert len(set(ticks)) == len(ticks) > 3
    timeline.send_keys("++++++")
    ticks = browser.execute_script("return [...document.querySelectorAll('.timeline .tick')].map((t) => t.textContent)")
    assert len(set(ticks)) == len(ticks) > 3


def test_calls_are_told_apart_from_calls_to_a_model(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    notes = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.tile')].map((tile) => "
        "[tile.querySelector('dt').textContent, tile.querySelector('.tile-note')?.textContent]))"
    )
    assert notes["Calls"] == "4 of its own, 5 to a model"
    assert notes["Input tokens"] == "known for 3 of 5 model calls"


def test_an_address_that_leads_nowhere_says_so(store: foldlog.Store, look: Look) -> None:
    fill_many(store, 5000)
    browser = look("many", hash="#s=many&call=4998")
    assert text_of(browser, "#notice") == (
        "There is no call 4998 of many in this file. 1,000 calls are not in it one by one: "
        "the foot of the page says how to get them."
    )
    assert browser.execute_script("return document.getElementById('notice').getBoundingClientRect().top < innerHeight")
    browser.execute_script("location.hash = '#s=nobody'")
    assert until(browser, "document.getElementById('notice')?.textContent.includes('no session nobody')")
    browser.execute_script("location.hash = '#s=many&call=5000'")  # which failed, and is listed
    assert until(browser, "document.activeElement.id === 'call-5000'")
    assert not browser.find_elements("id", "notice")


def test_a_deep_link_is_in_sight_below_a_long_timeline(store: foldlog.Store, look: Look) -> None:
    with store.start_session(id="top") as session, session.turn() as turn:
        for _ in range(40):
            with session.start_child(turn_id=turn.id) as child:
                child.add_call("leaf", status="ok", started_at="2026-11-22T00:00:00Z", ended_at="2026-11-22T00:00:01Z")
    browser = look("top", hash="#s=top&call=7")
    until(browser, "document.querySelector('.timeline g.bar')")
    top = browser.execute_script("return document.getElementById('call-7').getBoundingClientRect().top")
    assert 0 < top < 200


def test_buttons_say_what_is_left(store: foldlog.Store, look: Look) -> None:
    with store.start_session(id="top") as session, session.batch():
        for _ in range(250):
            session.add_call("leaf", status="error", error="no")
    browser = look("top")
    more = "#errors .more"
    assert text_of(browser, more) == "Show 100 of the other 238 places"
    click(browser, "//section[@id='errors']//button[starts-with(., 'Show')]")
    click(browser, "//section[@id='errors']//button[starts-with(., 'Show')]")
    assert text_of(browser, more) == "Show the other 38 places"
    click(browser, "//section[@id='errors']//button[starts-with(., 'Show')]")
    assert not browser.find_element("css selector", more).is_displayed()
    click(browser, "//section[@id='errors']//a[.='call 250']")
    assert until(browser, "document.activeElement.id === 'call-250'")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_the_script_the_colours_are_the_systems(store: foldlog.Store, look: Look, theme: str) -> None:
    fill_family(store)
    browser = look("family", theme=theme)
    back = "return getComputedStyle(document.body).backgroundColor"
    by_script = browser.execute_script(back)
    browser.execute_script("document.documentElement.removeAttribute('data-theme')")
    assert (
        browser.execute_script(back) == by_script == {"light": "rgb(245, 245, 242)", "dark": "rgb(18, 20, 24)"}[theme]
    )
