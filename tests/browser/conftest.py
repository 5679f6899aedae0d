"""A real browser, for the tests that look at a page; they are skipped where there is none."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--hide-scrollbars", "--window-size=1400,900",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("there is no chromium with its chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(60)
    yield driver
    with contextlib.suppress(Exception):
        driver.quit()


@pytest.fixture
def look(browser: Any, store: foldlog.Store, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a session's report; at the end, the page must not have complained of anything."""

    def look(session_id: str, *, width: int = 1400, theme: str = "light", hash: str = "") -> Any:
        path = store.report(session_id, tmp_path / "report.html")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = {
            "features": [
                {"name": "prefers-color-scheme", "value": theme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        }
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # of an earlier test
        browser.get(path.as_uri() + hash)
        browser.execute_script("localStorage.clear()")
        assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
        return browser

    yield look
    assert browser.get_log("browser") == []
