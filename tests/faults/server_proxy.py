"""A way to a PostgreSQL server that can be cut at any message: a unix socket in a folder of its own.

It counts what clients send, statement by statement. `Cut` says at which of them a connection ends: before the
server has it, after the server has answered it and before the client hears of that, or in the middle of the
answer; for both sides, or for the client alone, as when a network is gone and the server has not noticed.
"""

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from postgres_server import PostgresServer

BEFORE, ANSWERED, MIDDLE = WHENS = ("before", "answered", "middle")
_NAME = ".s.PGSQL.5432"


@dataclass
class Cut:
    """Where to cut: at the statement of this number from now on, 0 the next, of those that have `sql` in them."""

    number: int
    when: str
    sql: str = ""
    is_half: bool = False
    fired: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Connections to a server; `sent` is what was sent, `cut` where the next cut is."""

    def __init__(self, server: PostgresServer) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fl-px-", dir="/tmp"))
        self.sent: list[str] = []
        self.cut: Cut | None = None
        self._target = str(server.folder / _NAME)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_refusing = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / _NAME))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, schema_url: str, server: PostgresServer) -> str:
        """A store's URL, by this way."""
        return schema_url.replace(quote(str(server.folder), safe=""), quote(str(self.folder), safe=""))

    def begin(self, cut: Cut | None = None) -> None:
        """Forget what was sent; cut there."""
        with self._lock:
            self.sent, self.cut = [], cut

    def refuse(self, is_refusing: bool) -> None:
        """End every connection and take no new ones; or take them again."""
        with self._lock:
            self._is_refusing = is_refusing
            sockets, self._sockets = (self._sockets, []) if is_refusing else ([], self._sockets)
        for one in sockets:
            _end(one)

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            _end(one)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._is_refusing:
                    _end(client)
                    continue
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._target)
                except OSError:
                    _end(client)
                    continue
                self._sockets += [client, server]
                _Way(self, client, server)

    def at(self, sql: str) -> Cut | None:
        """Hear of a statement; the cut that is to be made there."""
        with self._lock:
            self.sent.append(sql)
            cut = self.cut
            if cut is None or cut.sql not in sql:
                return None
            cut.number -= 1
            if cut.number >= 0:
                return None
            self.cut = None
            return cut


class _Way:
    """One connection: what goes there and what comes back, each in a thread."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._held: Cut | None = None
        self._statements: dict[bytes, str] = {}
        threading.Thread(target=self._there, daemon=True).start()
        threading.Thread(target=self._back, daemon=True).start()

    def _there(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._server.sendall(_exactly(self._client, 4, is_length=True))  # the startup message has no letter
            for letter, message in _messages(self._client):
                sql = self._statement(letter, message[5:])
                cut = self._proxy.at(sql) if sql is not None else None
                if cut is not None:
                    if cut.when == BEFORE:
                        self._end(cut)
                        return
                    self._held = cut
                self._server.sendall(message)
        if self._held is None:
            _end(self._server)

    def _back(self) -> None:
        held = b""
        with contextlib.suppress(OSError, EOFError):
            for letter, message in _messages(self._server):
                if self._held is None:
                    self._client.sendall(message)
                    continue
                held += message
                if letter == b"Z":
                    if self._held.when == MIDDLE:
                        self._client.sendall(held[: len(held) // 2])
                    self._end(self._held)
                    return
        _end(self._client)

    def _end(self, cut: Cut) -> None:
        _end(self._client)
        if not cut.is_half:
            _end(self._server)
        cut.fired.set()

    def _statement(self, letter: bytes, body: bytes) -> str | None:
        """The statement that a message has the server run, if it does."""
        if letter == b"Q":
            return body[:-1].decode()
        if letter == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._statements[name] = sql.decode()
        elif letter == b"B":
            return self._statements.get(body.split(b"\0", 2)[1], "?")
        return None


def _messages(source: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    while True:
        letter = _exactly(source, 1)
        yield letter, letter + _exactly(source, 4, is_length=True)


def _exactly(source: socket.socket, count: int, *, is_length: bool = False) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data + _exactly(source, struct.unpack("!I", data)[0] - 4) if is_length else data


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def proxied(server: PostgresServer) -> Iterator[Proxy]:
    """A way to a server, gone when the block ends."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
