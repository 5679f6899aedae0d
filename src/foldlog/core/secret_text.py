"""Common secrets in values: what they look like, and a scrub hook that replaces them.

Pure, on decoded values. When the hook is run, and how what it removed is marked in the event, is in
`foldlog.session.scrubbing`.

Each pattern has hints, text without which it cannot match: most events hold none, and are looked at once.
The expressions give back nothing they have matched (possessive), or are bounded, so that no text takes
more than time in proportion to its length.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from foldlog.core.errors import StoreError
from foldlog.core.refs import Ref

# A hook: an event's type (None for a value that becomes a blob) and its payload, to the payload to store.
Scrub = Callable[[str | None, Any], Any]

# What stands in the place of a secret; the names in it are what the event's marks say.
_MARK: Final = "[scrubbed:{}]"
_MARKS: Final = re.compile(r"\[scrubbed:([A-Za-z0-9_.-]{1,64})\]")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Pattern(NamedTuple):
    """A kind of secret: its name, lower-case text that is always near it, and the expression.

    Where the expression has a group `secret`, that is what is replaced, else all of the match.
    """

    name: str
    hints: tuple[bytes, ...]
    regex: re.Pattern[str]


def _pattern(name: str, hints: str, expression: str) -> Pattern:
    return Pattern(name, tuple(hints.encode().split()), re.compile(expression, re.ASCII))


# Named keys, as a whole or as the end of a longer name (`OPENAI_API_KEY`, `dbPassword`).
_KEY_ENDS: Final = (
    "password", "passwd", "passphrase", "secret", "apikey", "accesstoken", "refreshtoken", "authtoken",
    "sessiontoken", "bearertoken", "privatekey", "secretkey", "accesskey", "clientsecret", "authorization",
    "credential", "credentials", "cookie",
)  # fmt: skip
_KEY_HINTS: Final = tuple(end.encode() for end in _KEY_ENDS if end not in ("secretkey", "clientsecret", "credentials"))
_KEY_IN_TEXT: Final = (
    r"password|passwd|passphrase|(?:client[_-]?)?secret(?:[_-]?access)?(?:[_-]?key)?|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|(?:access|refresh|auth|session|bearer)[_-]?token"
)

PATTERNS: Final = (
    _pattern(
        "private_key", "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s\\:,.()]|-(?!----))*+"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    _pattern("url_password", "://", r"://[^\s/:@\"'<>\\]{0,256}:(?P<secret>[^\s/@\"'<>\\]{1,256})(?=@)"),
    _pattern("jwt", "eyj", r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]{6,}+\.[A-Za-z0-9_-]*+"),
    _pattern(
        "aws_access_key", "akia asia abia acca",
        r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",
    ),
    _pattern(
        "github_token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+",
    ),
    _pattern("gitlab_token", "glpat-", r"glpat-[A-Za-z0-9_-]{16,}+"),
    _pattern("slack_token", "xox xapp-", r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}+"),
    _pattern(
        "slack_webhook", "hooks.slack.com",
        r"hooks\.slack\.com/(?P<secret>(?:services|workflows)/[A-Za-z0-9/_-]{10,}+)",
    ),
    _pattern("anthropic_key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{10,}+"),
    _pattern("openai_key", "sk-", r"sk-(?<![A-Za-z0-9]sk-)(?!ant-)[A-Za-z0-9_-]{20,}+"),
    _pattern("stripe_key", "k_live_ k_test_ whsec_", r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,}+"),
    _pattern(
        "google_key", "aiza gocspx- ya29.",
        r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}+|ya29\.[A-Za-z0-9_-]{20,}+",
    ),
    _pattern("huggingface_token", "hf_", r"hf_(?<![A-Za-z0-9]hf_)[A-Za-z0-9]{30,}+"),
    _pattern("npm_token", "npm_", r"npm_[A-Za-z0-9]{36,}+"),
    _pattern("pypi_token", "pypi-", r"pypi-[A-Za-z0-9_-]{40,}+"),
    _pattern(
        "authorization", "bearer basic",
        r"(?i:(?<![a-z])(?:bearer|basic))\s{1,4}(?P<secret>[A-Za-z0-9._~+/=-]{16,}+)",
    ),
    # "api_key": "…" in JSON inside of text, password = '…' in code; then ?access_token=… in URLs, SECRET=… in a shell.
    _pattern(
        "assigned", " ".join(_KEY_ENDS),
        rf"(?i:{_KEY_IN_TEXT})(?:\\{{0,3}}[\"'])?\s{{0,4}}[:=]\s{{0,4}}\\{{0,3}}[\"']"
        r"(?P<secret>(?!\[scrubbed:)[^\s\"'\\]{6,512})",
    ),
    _pattern(
        "assigned", " ".join(_KEY_ENDS),
        rf"(?i:{_KEY_IN_TEXT})=(?P<secret>(?!\[scrubbed:)[A-Za-z0-9_~+/%=-]{{8,512}})(?![A-Za-z0-9_.(\[])",
    ),
)  # fmt: skip


def scrub_secrets(*, extra: Mapping[str, str | re.Pattern[str]] | None = None, without: Collection[str] = ()) -> Scrub:
    """A hook for `Config(scrub=…)` that replaces common secrets by `[scrubbed:<name>]`.

    Replaced are keys and tokens of well-known services, JWTs, private keys in PEM, passwords in URLs, what
    follows `Bearer` and `Basic`, what text assigns to a name such as `api_key` (`assigned`), and whatever a
    map holds under such a key (`key`). `extra`: more patterns by name, tried first; each must run in time in
    proportion to the text. `without`: names that are left alone.

    >>> hook = scrub_secrets(extra={"badge": r"badge-[0-9]{6}"})
    >>> hook("note", {"text": "badge-123456 of bob", "password": "hunter2"})
    {'text': '[scrubbed:badge] of bob', 'password': '[scrubbed:key]'}
    """
    known = {pattern.name for pattern in PATTERNS} | {"key"}
    unknown = set(without) - known
    if isinstance(without, str) or unknown:
        raise StoreError("scrub_secrets(without=…) names no pattern", hint=f"the names are {', '.join(sorted(known))}")
    chosen = [_own(name, expression) for name, expression in (extra or {}).items()]
    chosen += [pattern for pattern in PATTERNS if pattern.name not in without]
    return _Scrubber(tuple(chosen), by_key="key" not in without)


def _own(name: str, expression: str | re.Pattern[str]) -> Pattern:
    if type(name) is str and _NAME.fullmatch(name):
        try:
            return Pattern(name, (), re.compile(expression))
        except (re.error, TypeError):
            pass
    raise StoreError(
        f"scrub_secrets(extra=…): {name!r:.80} is no name with a regular expression of str",
        hint="use letters, digits, '.', '_' and '-' for the name, and what re.compile() takes",
    )


class _Scrubber:
    """The hook: changes no value in place, and copies none that holds no hint."""

    def __init__(self, patterns: tuple[Pattern, ...], *, by_key: bool) -> None:
        self._patterns = patterns
        self._by_key = by_key

    def __repr__(self) -> str:
        return "<foldlog.scrub_secrets()>"

    def __call__(self, event_type: str | None, payload: Any) -> Any:  # noqa: ARG002  (what a hook is given)
        """The payload without secrets; its type makes no difference."""
        # One look at all of its text; what a hint is not in need not be looked for.
        text = orjson.dumps(payload, default=_as_text, option=_LOOK).lower()
        named = text.translate(None, b"-_ ")
        names = {hint for hint in _KEY_HINTS if hint in named}
        hinted = [
            pattern
            for pattern in self._patterns
            if not pattern.hints
            or (names if pattern.name == "assigned" else any(hint in text for hint in pattern.hints))
        ]
        by_key = self._by_key and bool(names)
        return _Pass(hinted, by_key).value(payload, secret=False) if hinted or by_key else payload


_LOOK: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)


class _Pass:
    """One payload being scrubbed, by the patterns that may match in it."""

    def __init__(self, patterns: list[Pattern], by_key: bool) -> None:
        self._patterns = patterns
        self._by_key = by_key

    def value(self, value: Any, secret: bool) -> Any:
        """A value without secrets; `secret`: it stands under a key that says that it is one."""
        kind = type(value)
        if kind is str:
            return _hidden(value) if secret else self._text(value)
        if value is None or kind is bool:
            return value
        if kind is Ref:
            return {"kind": "inline", "value": _MARK.format("key")} if secret else value
        if kind is dict:
            return self._map(value, secret)
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            return kind(self.value(item, secret) for item in value)
        if kind is bytes:
            text = value.decode("latin-1")
            return (_hidden(text) if secret else self._text(text)).encode("latin-1")
        return _MARK.format("key") if secret else value

    def _map(self, value: dict[str, Any], secret: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, item in value.items():
            name, number = self._text(key), 1
            while name in out or (number > 1 and name in value):  # two secrets as keys
                number += 1
                name = f"{self._text(key)}-{number}"
            # What a reference is, is no secret: what it holds is.
            out[name] = self.value(item, (secret and key != "kind") or (self._by_key and _is_secret_key(key)))
        return out

    def _text(self, text: str) -> str:
        if len(text) < _SECRET_CHARS_MIN:
            return text
        for pattern in self._patterns:
            text = pattern.regex.sub(lambda match, name=pattern.name: _replaced(match, name), text)  # type: ignore[misc]
        return text


# The shortest that any pattern matches.
_SECRET_CHARS_MIN: Final = 6


def _replaced(match: re.Match[str], name: str) -> str:
    group: str | int = "secret" if "secret" in match.re.groupindex else 0
    start, stop = (at - match.start() for at in match.span(group))
    return match[0][:start] + _MARK.format(name) + match[0][stop:]


def _hidden(text: str) -> str:
    return text if not text or _MARKS.fullmatch(text) else _MARK.format("key")


@lru_cache(maxsize=4096)
def _is_secret_key(key: str) -> bool:
    if len(key) > _KEY_CHARS_MAX:
        return False
    squeezed = key.lower().replace("-", "").replace("_", "").replace(" ", "")
    return squeezed.endswith(_KEY_ENDS)


# Longer keys are text, and not kept.
_KEY_CHARS_MAX: Final = 100


def names_in(value: Any) -> list[str]:
    """The names that stand in a value in the place of secrets.

    >>> names_in("a [scrubbed:jwt] b")
    ['jwt']
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return sorted(set(_MARKS.findall(value))) if isinstance(value, str) else []
