"""The report in a real browser: it shows what the store says, leads where it says, and keeps to itself."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import foldlog
from report_browser import click, has_no_sideways_scroll, text_of, until
from report_runs import HOSTILE, fill_family, fill_hostile, fill_many

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.sqlite("a page is the same, wherever its store is")

Look = Callable[..., Any]


def tiles(browser: Any) -> dict[str, str]:
    found = browser.execute_script(
        "return [...document.querySelectorAll('.tile')].map((t) => "
        "[t.querySelector('dt').textContent, t.querySelector('.tile-value').textContent])"
    )
    return dict(found)


def call_ids(browser: Any) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#calls tr.call td:first-child')].map((cell) => cell.textContent)"
    )


def test_it_shows_the_numbers_of_the_store(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    assert browser.title == "family · foldlog report"
    usage = store.usage("family")
    assert tiles(browser) | {
        "Calls": "7",
        "Sessions below": "2",
        "Input tokens": f"{usage['total_tree']['input_tokens']['known']:,}",
        "Output tokens": f"{usage['total_tree']['output_tokens']['known']:,}",
        "Total tokens": "47",
        "Cost": "$0.50",
    } == tiles(browser)
    headings = [found.text for found in browser.find_elements(By.CSS_SELECTOR, "main h1, main h2")]
    assert headings[0] == "family"
    assert headings[-5:] == ["Timeline", "Tokens and cost", "Errors and interruptions", "Calls", "Transcript"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "main")) == 1
    sums = text_of(browser, "#usage tfoot .sum")
    assert "60" in sums
    assert "unknown" in sums
    assert until(browser, "document.querySelectorAll('.timeline g.bar').length") >= 8


def test_a_click_on_a_session_shows_its_calls_and_back_leads_back(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    assert call_ids(browser) == ["1", "2", "3", "4"]
    click(browser, "//nav[@id='side']//a[contains(., 'child-0002')]")
    assert until(browser, "document.querySelector('h1').textContent === 'child-0002'")
    assert call_ids(browser) == ["1", "2"]
    assert "child-0002" in text_of(browser, "#side [aria-current]")
    assert tiles(browser)["Input tokens"] == "10"
    browser.find_element(By.CSS_SELECTOR, ".crumbs a").click()
    assert until(browser, "document.querySelector('h1').textContent === 'family'")
    browser.back()
    assert until(browser, "document.querySelector('h1').textContent === 'child-0002'")


def test_a_link_leads_to_a_call_of_a_session_below(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family", hash="#s=family%2Fchild-0002&call=2")
    assert text_of(browser, "h1") == "child-0002"
    details = text_of(browser, "tr.under")
    assert "needle in the hay" in details
    assert browser.execute_script("return document.activeElement.id") == "call-2"
    click(browser, "//tr[@class='under']//a[.='turn 1']")
    assert until(browser, "document.activeElement.id === 'turn-1'")


def test_calls_messages_and_turns_lead_to_each_other(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    click(browser, "//article[@id='message-3']//a[.='call 1']")
    assert until(browser, "document.activeElement.id === 'call-1'")
    assert "I ask two others, and more" in text_of(browser, "tr.under")
    assert "characters are not in this file" in text_of(browser, "tr.under")
    click(browser, "//tr[@class='under']//dd//a[.='3']")
    assert until(browser, "document.activeElement.id === 'message-3'")
    click(browser, "//tr[@id='call-2']//a[.='child-0001']")
    assert until(browser, "document.querySelector('h1').textContent === 'child-0001'")


def test_the_timeline_leads_to_calls_by_pointer_and_by_keys(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    until(browser, "document.querySelector('.timeline g.bar')")
    browser.execute_script(
        "[...document.querySelectorAll('.timeline g.bar.is-running:not(.is-turn)')].at(-1)"
        ".dispatchEvent(new MouseEvent('click', { bubbles: true }))"
    )
    assert until(browser, "document.activeElement.id === 'call-4'")
    timeline = browser.find_element(By.CSS_SELECTOR, ".timeline")
    timeline.send_keys(Keys.ARROW_RIGHT)
    assert until(browser, "document.querySelector('.tip').textContent").startswith("turn 1")
    timeline.send_keys(Keys.ENTER)
    assert until(browser, "document.activeElement.id === 'turn-1'")


def test_a_part_of_the_timeline_is_seen_larger(store: foldlog.Store, look: Look) -> None:
    fill_many(store, 300)
    browser = look("many")
    width = "Number(document.querySelector('.timeline g.bar:not(.is-turn) rect').getAttribute('width'))"
    before = until(browser, width)
    timeline = browser.find_element(By.CSS_SELECTOR, ".timeline")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", timeline)
    ActionChains(browser).move_to_element(timeline).click_and_hold().move_by_offset(100, 0).release().perform()
    assert until(browser, width) > before * 5
    assert browser.execute_script("return location.hash") == ""  # drawn over, not clicked
    earlier = "[...document.querySelectorAll('#timeline button')].find((one) => one.textContent === '←')"
    first = "document.querySelector('.timeline .tick').textContent"
    shown = until(browser, first)
    browser.execute_script(f"{earlier}.click()")
    assert until(browser, first) != shown
    click(browser, "//section[@id='timeline']//button[.='All']")
    assert until(browser, width) == before
    timeline.send_keys("+")
    assert until(browser, width) > before
    timeline.send_keys("-")
    assert until(browser, width) == before


def test_status_is_told_by_more_than_colour(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    until(browser, "document.querySelector('.timeline g.bar')")
    assert browser.find_elements(By.CSS_SELECTOR, ".timeline g.is-running .bar-going")
    assert "running" in text_of(browser, "#call-4")
    assert "still running" in text_of(browser, "#timeline .legend")


def test_calls_are_sorted_and_narrowed_down(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    click(browser, "//section[@id='calls']//button[starts-with(., 'to a session')]")
    assert call_ids(browser) == ["2", "3"]
    click(browser, "//section[@id='calls']//button[starts-with(., 'all')]")
    button = browser.find_element(By.XPATH, "//section[@id='calls']//th/button[.='call']")
    button.click()
    button.click()
    assert call_ids(browser) == ["4", "3", "2", "1"]
    assert browser.find_element(By.CSS_SELECTOR, "#calls th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_the_transcript_has_everything_in_order(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    heads = browser.execute_script(
        "return [...document.querySelectorAll('#transcript .entry-name, #transcript h3, #transcript .call-entry > a')]"
        ".map((one) => one.textContent)"
    )
    assert heads == [
        "system", "Turn 1", "user", "call 1", "assistant", "call 2", "child-0001", "call 3", "child-0002", "code",
        "observation", "Turn 2", "call 4",
    ]  # fmt: skip


def test_code_and_observations_are_folded(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    folds = browser.find_elements(By.CSS_SELECTOR, "#eval-1 details, #message-4 details")
    assert [fold.get_attribute("open") for fold in folds] == [None, "true", None, None]  # the error is open
    click(browser, "//button[.='Unfold all']")
    assert all(fold.get_attribute("open") for fold in folds)
    assert "print(1 / 0)" in text_of(browser, "#eval-1 pre")


def test_light_dark_and_the_switch(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    back = "return getComputedStyle(document.body).backgroundColor"
    dark = look("family", theme="dark").execute_script(back)
    browser = look("family", theme="light")
    light = browser.execute_script(back)
    assert light != dark
    seen = []
    for _ in range(3):
        browser.find_element(By.ID, "theme").click()
        seen.append(
            (browser.execute_script("return document.documentElement.dataset.theme"), browser.execute_script(back))
        )
    assert seen == [("light", light), ("dark", dark), ("auto", light)]


CONTRAST = """
const luminance = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const backOf = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$/.test(color) && color.startsWith("rgb(")) return color;
  }
  return getComputedStyle(document.body).backgroundColor;
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || element.closest("svg, noscript, script, style, [hidden]") || !element.getClientRects().length) continue;
  const [a, b] = [luminance(getComputedStyle(element).color), luminance(backOf(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push([element.className, element.textContent.slice(0, 30), Math.round(ratio * 100) / 100]);
}
return found;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(store: foldlog.Store, look: Look, theme: str) -> None:
    fill_family(store)
    browser = look("family", theme=theme, hash="#s=family&call=1")
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 768, 1600])
@pytest.mark.parametrize("run", ["family", "hostile", "empty"])
def test_no_width_scrolls_sideways(store: foldlog.Store, look: Look, run: str, width: int) -> None:
    {"family": fill_family, "hostile": fill_hostile, "empty": lambda s: s.start_session(id="empty").close()}[run](store)
    browser = look(run, width=width, hash=f"#s={run}&call=1" if run != "empty" else "")
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert has_no_sideways_scroll(browser)


def test_a_phone_unfolds_the_sessions(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family", width=320)
    link = browser.find_element(By.XPATH, "//nav[@id='side']//a[contains(., 'child-0001')]")
    assert not link.is_displayed()
    browser.find_element(By.CSS_SELECTOR, ".side-fold").click()
    link.click()
    assert until(browser, "document.querySelector('h1').textContent === 'child-0001'")
    assert not link.is_displayed()
    assert has_no_sideways_scroll(browser)


def test_hostile_text_stays_text(store: foldlog.Store, look: Look) -> None:
    fill_hostile(store)
    browser = look("hostile", hash="#s=hostile&call=1")
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.title == "hostile · foldlog report"
    counted = browser.execute_script(
        "return ['script', 'img', 'iframe', 'svg[onload]', '[onerror]', '[onload]', 'a[href^=javascript]', 'main b']"
        ".map((one) => document.querySelectorAll(one).length)"
    )
    assert counted == [2, 0, 0, 0, 0, 0, 0, 0]
    shown = browser.execute_script("return document.querySelector('#message-1 pre').textContent")
    assert shown == HOSTILE.replace("\u202e", "⟨U+202E⟩").replace("\u202c", "⟨U+202C⟩").replace("\x00", "␀").replace(
        "\x1b", "␛"
    )
    assert "994," in text_of(browser, "#message-2 .left")
    field = browser.find_element(By.ID, "query")
    field.send_keys("<img src=x")
    assert until(browser, "document.querySelectorAll('#found mark').length") > 3
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert browser.title == "hostile · foldlog report"


def test_it_asks_nobody_for_anything(store: foldlog.Store, look: Look) -> None:
    fill_hostile(store)
    browser = look("hostile")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].partition(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data"}


def test_the_policy_stops_what_would_get_in(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family")
    stopped = browser.execute_async_script(
        "const done = arguments[0]; const seen = [];"
        "try { document.body.innerHTML = '<p>in'; } catch (error) { seen.push(error.name); }"
        "const image = new Image(); image.onerror = () => { seen.push('image'); done(seen); };"
        "image.onload = () => done(['loaded']); image.src = 'http://127.0.0.1:9/x.png';"
    )
    assert stopped == ["TypeError", "image"]
    assert {
        "violates" in entry["message"] or "requires" in entry["message"] for entry in browser.get_log("browser")
    } == {True}


def test_ten_thousand_calls(store: foldlog.Store, look: Look) -> None:
    fill_many(store, 10_000)
    browser = look("many")
    took_ms = browser.execute_script("return performance.getEntriesByType('navigation')[0].domComplete")
    assert took_ms < 30_000
    assert tiles(browser)["Calls"] == "10,000"
    assert tiles(browser)["Input tokens"] == f"{store.usage('many')['total_tree']['input_tokens']['known']:,}"
    assert "4,000 of 10,000 calls are listed one by one. The other 6,000 are bundled" in text_of(
        browser, "#calls .left"
    )
    until(browser, "document.querySelector('.timeline svg')")
    assert browser.execute_script("return document.querySelectorAll('*').length") < 20_000
    click(browser, "//section[@id='calls']//button[starts-with(., 'not ended well')]")
    assert call_ids(browser) == [str(number) for number in range(1000, 10_001, 1000)]
    browser.execute_script("location.hash = '#s=many&call=9000'")
    assert until(browser, "document.activeElement.id === 'call-9000'")


def test_an_empty_session_and_one_that_is_not_there(store: foldlog.Store, look: Look) -> None:
    with store.start_session(id="top") as session:
        session.add_call("child", child_session_id="top/child-0099", status="ok")
        session.start_child().close()
    browser = look("top")
    click(browser, "//nav[@id='side']//a[contains(., 'child-0099')]")
    assert until(browser, "document.querySelector('main').textContent.includes('is not in the store')")
    click(browser, "//nav[@id='side']//a[contains(., 'child-0100')]")
    assert until(browser, "document.querySelector('h1').textContent === 'child-0100'")
    assert tiles(browser)["Input tokens"] == "unknown"
    assert "No model calls yet." in text_of(browser, "#usage")


def test_print_shows_the_transcript_unfolded_and_whole(store: foldlog.Store, look: Look) -> None:
    with store.start_session(id="long") as session, session.batch():
        for number in range(150):
            session.add_message("observation", f"seen {number}")
        for _ in range(150):
            session.add_call("tool", status="ok")
    browser = look("long")
    folds = "document.querySelectorAll('#transcript details:not([open])').length"
    before = browser.execute_script(f"return [{folds}, document.querySelectorAll('#transcript article').length]")
    assert before == [100, 100]
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(f"return {folds}") == 0
    assert "seen 149" in text_of(browser, "#transcript")
    left = "getComputedStyle(document.querySelector('#calls .more'), '::after').content"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert "50 more rows" in browser.execute_script(f"return {left}")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(f"return {folds}") == 151  # 150 messages, and one fold of calls
    assert len(browser.print_page()) > 10_000


def test_print_is_on_white_with_the_timeline_and_without_the_controls(store: foldlog.Store, look: Look) -> None:
    fill_family(store)
    browser = look("family", theme="dark")
    until(browser, "document.querySelector('.timeline g.bar')")
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    shown = browser.execute_script(
        "return ['.timeline g.bar', '#timeline .legend g.bar', '#transcript', 'header.bar', '#side', '.chips']"
        ".map((one) => getComputedStyle(document.querySelector(one)).display !== 'none')"
    )
    assert shown == [True, True, True, False, False, False]
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
