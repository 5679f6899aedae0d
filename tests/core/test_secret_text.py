"""Common secrets: found wherever they stand, in time in proportion to the text; and nothing else is touched."""

import datetime as dt
import re
import time
from decimal import Decimal
from typing import Any

import pytest

from foldlog.core.errors import StoreError
from foldlog.core.refs import Ref
from foldlog.core.secret_text import PATTERNS, names_in, scrub_secrets

LONG = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7"
# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "private_key": f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}==\n-----END RSA PRIVATE KEY-----",
    "url_password": f"{LONG}%21",
    "jwt": f"eyJ{LONG}.eyJ{LONG}.{LONG}_-",
    "aws_access_key": "AK" + "IA" + "Q3EGRATNSFYB2XZ5",
    "github_token": "gh" + f"p_{LONG}abcdefghi",
    "gitlab_token": "glp" + f"at-{LONG}",
    "slack_token": "xo" + f"xb-123456789012-{LONG}",
    "slack_webhook": f"services/T0001/B0001/{LONG}",
    "anthropic_key": "sk-" + f"ant-api03-{LONG}_-{LONG}",
    "openai_key": "sk-" + f"proj-{LONG}",
    "stripe_key": "sk_" + f"live_{LONG}",
    "google_key": "AI" + f"za{LONG}aBcDeFgH",
    "huggingface_token": "h" + f"f_{LONG}abcdefgh",
    "npm_token": "np" + f"m_{LONG}abcdefghi",
    "pypi_token": "py" + f"pi-{LONG}{LONG}",
    "authorization": f"{LONG}/+==",
    "assigned": "hunter2-hunter3",
}
AROUND = {
    "url_password": "postgres://bob:{}@db/x",
    "slack_webhook": "https://hooks.slack.com/{}",
    "authorization": "Authorization: Bearer {}",
    "assigned": 'config = {{"api_key": "{}"}}',
}


def hide(payload: Any, **options: Any) -> Any:
    return scrub_secrets(**options)("note", payload)


def test_every_pattern_is_tried_here() -> None:
    assert {pattern.name for pattern in PATTERNS} == SECRETS.keys()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: f"before {text} after",
        lambda text: f"({text})",
        lambda text: {"deep": [{"x": text}]},
        lambda text: {text: 1},
        lambda text: text.encode(),
        lambda text: {text, "other"},
    ],
)
def test_a_secret_is_replaced_by_its_name_wherever_it_stands(name: str, wrap: Any) -> None:
    text = AROUND.get(name, "{}").format(SECRETS[name])
    found = repr(hide({"text": wrap(text)}))
    assert SECRETS[name] not in found
    assert LONG not in found
    assert f"[scrubbed:{name}]" in found


@pytest.mark.parametrize("name", SECRETS)
def test_scrubbing_twice_changes_no_more(name: str) -> None:
    once = hide({"text": AROUND.get(name, "{}").format(SECRETS[name])})
    assert hide(once) == once


@pytest.mark.parametrize(
    "key",
    ["password", "Password", "db_password", "apiKey", "api-key", "OPENAI_API_KEY", "Authorization", "client_secret",
     "accessToken", "refresh_token", "aws_secret_access_key", "Set-Cookie", "credentials"],
)  # fmt: skip
def test_what_stands_under_a_telling_key_is_replaced(key: str) -> None:
    assert hide({"a": {key: "x1"}}) == {"a": {key: "[scrubbed:key]"}}
    assert hide({key: 1234, "b": [key]}) == {key: "[scrubbed:key]", "b": [key]}
    assert hide({key: ["x1", {"user": "bob", "n": 5, "ok": True, "none": None}]}) == {
        key: ["[scrubbed:key]", {"user": "[scrubbed:key]", "n": "[scrubbed:key]", "ok": True, "none": None}]
    }
    ref = Ref({"kind": "blob", "hash": f"sha256:{'0' * 64}", "bytes": 5})
    assert hide({key: {"kind": "inline", "value": "x1"}}) == {key: {"kind": "inline", "value": "[scrubbed:key]"}}
    assert hide({key: ref}) == {key: {"kind": "inline", "value": "[scrubbed:key]"}}


def test_all_else_stays_as_it_is() -> None:
    payload = {
        "call": {
            "id": 1, "usage": {"input_tokens": 5, "max_tokens": 7}, "token_count": 3, "model": "m-1",
            "at": dt.datetime(2026, 11, 22, tzinfo=dt.UTC), "usd": Decimal("0.1"), "bytes": b"\xff\x00",
            "ref": Ref({"kind": "blob", "hash": f"sha256:{'0' * 64}", "bytes": 5}), "tags": {"a", (1, 2)},
            "text": "a task-list, risk-free; see https://example.org/a@b?x=1 and bob@example.org: sky-high",
            "request_id": "5f1d7a84-9c1e-4c59-8f6e-0f3f9e3f6a11", "digest": "0" * 64, "none": None, "on": True,
        }
    }  # fmt: skip
    assert hide(payload) == payload


@pytest.mark.parametrize(
    "text",
    [
        "the secret of a good password is its length", "password: required", "api_key = os.environ['API_KEY']",
        "api_key=config.key", "max_token=100", "token bearer of the ring", "the basic idea", "a tokenizer=bpe",
        "secret santa: 'bob'", "://host:8080/path user@host",
    ],
)  # fmt: skip
def test_prose_and_code_are_left_alone(text: str) -> None:
    assert hide({"text": text}) == {"text": text}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (r"{\"password\": \"hunter22\"}", r"{\"password\": \"[scrubbed:assigned]\"}"),
        ("https://x.org/?a=1&access_token=abcdef0123&b=2", "https://x.org/?a=1&access_token=[scrubbed:assigned]&b=2"),
        ("export AWS_SECRET_ACCESS_KEY=abcd/efgh+ij", "export AWS_SECRET_ACCESS_KEY=[scrubbed:assigned]"),
        ("PASSWD='let me in' ", "PASSWD='let me in' "),
        ("a: basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "a: basic [scrubbed:authorization]"),
    ],
)
def test_what_text_assigns_to_a_telling_name_is_replaced(text: str, left: str) -> None:
    assert hide({"text": text}) == {"text": left}


def test_two_secret_keys_stay_two_entries() -> None:
    found = hide({SECRETS["jwt"]: 1, SECRETS["jwt"] + "x": 2, "[scrubbed:jwt]": 3})
    assert sorted(found.values()) == [1, 2, 3]
    assert LONG not in repr(found)


def test_own_patterns_come_first_and_others_can_be_left_out() -> None:
    assert hide("badge-12", extra={"badge": "badge-[0-9]{2}"}) == "[scrubbed:badge]"
    assert hide("badge-12", extra={"badge": re.compile("badge-(?P<secret>[0-9]{2})")}) == "badge-[scrubbed:badge]"
    secret = {"text": SECRETS["jwt"], "password": "x1"}
    assert hide(secret, without=["jwt", "key"]) == secret


@pytest.mark.parametrize(
    "options",
    [
        {"without": ["nonsense"]}, {"without": "jwt"}, {"extra": {"a b": "x"}}, {"extra": {"a": "("}},
        {"extra": {"": "x"}}, {"extra": {5: "x"}},
    ],
)  # fmt: skip
def test_nonsense_is_refused(options: Any) -> None:
    with pytest.raises(StoreError):
        scrub_secrets(**options)


def test_the_names_in_a_text() -> None:
    assert names_in("[scrubbed:b] x [scrubbed:a] [scrubbed:b]") == ["a", "b"]
    assert names_in(b"[scrubbed:a]") == ["a"]
    assert names_in(5) == []


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_no_text_takes_long(pattern: Any) -> None:
    # Generous: what backtracks takes minutes here.
    units = [hint.decode() for hint in pattern.hints]
    units += [hint.upper() for hint in units]
    units += ["eyJaaaaaaa.", "://a:", "-----BEGIN PRIVATE KEY-----", "password='", "password=", 'api_key \\\\\\"', "a"]
    started = time.monotonic()
    for unit in units:
        pattern.regex.sub("", unit * (100_000 // len(unit)))
        pattern.regex.sub("", (unit + " ") * (100_000 // (len(unit) + 1)))
    assert time.monotonic() - started < 30
