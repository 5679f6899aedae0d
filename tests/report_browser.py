"""What the tests of the report do with a browser: wait for a script, click, read."""

from typing import Any

WAIT_S = 20


def until(browser: Any, script: str) -> Any:
    """What a script returns, as soon as that is something."""
    from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415  (may not be installed)

    return WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(
        lambda _: browser.execute_script(f"return {script}")
    )


def click(browser: Any, path: str) -> None:
    """Click what an XPath leads to, away from what sticks to the top."""
    found = browser.find_element("xpath", path)
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", found)
    found.click()


def text_of(browser: Any, selector: str) -> str:
    return browser.find_element("css selector", selector).text


def has_no_sideways_scroll(browser: Any) -> bool:
    return browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
