"""Replies that keep a least pace: a server that sends a byte now and then, in headers or body, is not waited for."""

import http.client
import io
import time
import urllib.request
from typing import Any

LEAST_RATE = 1000.0  # bytes a second, over a WINDOW
WINDOW = 60.0  # seconds


def opener() -> urllib.request.OpenerDirector:
    """Opens http and https URLs, through the proxies of the environment; a redirection leads to no other scheme."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        _HTTPHandler,
        _HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        director.add_handler(handler())
    return director


class _Paced(io.RawIOBase):
    """What comes through a socket.

    Raises:
        TimeoutError: it is less than LEAST_RATE over a WINDOW.
    """

    def __init__(self, raw: Any):
        self.raw = raw
        self.since, self.came = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self.raw.readinto(buffer)
        self.came += count or 0
        if count and (elapsed := time.monotonic() - self.since) >= WINDOW:
            if self.came < LEAST_RATE * elapsed:
                raise TimeoutError(f'only {self.came} bytes came in {elapsed:.0f} seconds')
            self.since, self.came = time.monotonic(), 0
        return count

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any):
        super().__init__(sock, *args, **kwargs)
        fp: Any = self.fp
        self.fp = io.BufferedReader(_Paced(fp.detach()))


class _Handler(urllib.request.AbstractHTTPHandler):
    """A handler of urllib whose connections give a `_Reply`."""

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        paced: Any = type(http_class.__name__, (http_class,), {'response_class': _Reply})
        return super().do_open(paced, req, **options)


class _HTTPHandler(_Handler, urllib.request.HTTPHandler):
    pass


class _HTTPSHandler(_Handler, urllib.request.HTTPSHandler):
    pass
