"""A TCP proxy in front of a server that can go silent, as a frozen host or a broken path through a network does."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

_BYTES = 65_536


class SilentProxy:
    """Everything passes, until it does not: connections stay open, and what is sent is taken and never delivered."""

    def __init__(self, server_url: str) -> None:
        """Take the address of the server, and listen."""
        self._given = conninfo_to_dict(server_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._passing = threading.Event()
        self._passing.set()
        self._words: bytes | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the server by way of the proxy."""
        port = self._listener.getsockname()[1]
        parameters = {**self._given, "host": "127.0.0.1", "port": port}
        return "postgresql://?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parameters.items())

    def silence(self, *, forever: bool) -> None:
        """Let nothing pass of the connections that are open, and with ``forever`` of those to come."""
        self._passing.clear()
        self._passing = threading.Event()
        if not forever:
            self._passing.set()

    def silence_at(self, words: bytes) -> None:
        """Go silent when somebody says something."""
        self._words = words

    def close(self) -> None:
        """Cut every connection."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # The listener was closed.
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, target, self._passing), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._given.get("host", "127.0.0.1")), int(self._given.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _pump(self, source: socket.socket, target: socket.socket, passing: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BYTES):
                if self._words and self._words in data:
                    passing.clear()
                if passing.is_set():
                    target.sendall(data)
            if passing.is_set():
                target.shutdown(socket.SHUT_WR)


@contextmanager
def silent_proxy(server_url: str) -> Iterator[SilentProxy]:
    """Give a proxy, and cut its connections in the end."""
    proxy = SilentProxy(server_url)
    try:
        yield proxy
    finally:
        proxy.close()
