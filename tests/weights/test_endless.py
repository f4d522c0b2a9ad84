"""Servers without an end: no last byte, hardly a byte, redirections in a circle; and what a URL keeps to itself."""

import contextlib
import http.server
import threading
import time

import pytest

from mmvssm import weights
from mmvssm.weights import pace

from . import files
from .test_download import downloads, fails, leftovers, quick  # noqa: F401

SECRET = 'hunter2'


class Handler(http.server.BaseHTTPRequestHandler):
    """Does what the first component of the path says until the client goes."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.headers.get('Authorization'))
        with contextlib.suppress(OSError):
            getattr(self, self.path.strip('/').split('/')[0])()

    def endless(self):
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b'0' * 65536)

    def announced(self):
        self.send_response(200)
        self.send_header('Content-Length', str(1 << 50))
        self.end_headers()

    def drip(self):
        self.send_response(200)
        self.end_headers()
        self.drops()

    def drip_headers(self):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX-Endless: ')
        self.drops()

    def drops(self):
        for _ in range(1000):
            self.wfile.write(b'0')
            self.wfile.flush()
            time.sleep(0.02)

    def circle(self):
        self.send_response(302)
        self.send_header('Location', self.path)
        self.end_headers()

    def away(self):
        self.send_response(302)
        self.send_header('Location', f'http://localhost:{self.server.server_port}/good/x.pth')
        self.end_headers()

    def local(self):
        self.send_response(302)
        self.send_header('Location', 'file:///etc/passwd')
        self.end_headers()

    def good(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.data)

    def refused(self):
        self.send_error(403)


@pytest.fixture
def server(tmp_path):
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.daemon_threads, httpd.block_on_close = True, False
    httpd.data, httpd.asked = files.save(tmp_path / 'served.pth', files.small_state()).read_bytes(), []
    threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def url(server, path, user=''):
    return f'http://{user}127.0.0.1:{server.server_port}/{path}'


def test_a_reply_without_an_end_is_cut_at_the_bound(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, 'MOST_BYTES', 1 << 20)
    fails(url(server, 'endless/x.pth'), r'goes on after [\d,]+ bytes; 1,048,576 are allowed')
    assert not leftovers(tmp_path)
    assert len(server.asked) == 1  # not again


def test_a_length_that_does_not_fit_is_refused_before_a_byte(server, tmp_path):
    fails(url(server, 'announced/x.pth'), 'is 1,125,899,906,842,624 bytes long; .* are allowed')
    assert not leftovers(tmp_path)


def test_some_of_the_disk_stays_free(server, tmp_path, monkeypatch):
    usage = downloads.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, 'disk_usage', lambda _: usage._replace(free=downloads.RESERVE + 100_000))
    fails(url(server, 'endless/x.pth'), '; 100,000 are allowed')
    assert not leftovers(tmp_path)


@pytest.mark.parametrize('how', ['drip', 'drip_headers'])
def test_a_byte_now_and_then_is_not_waited_for(server, monkeypatch, how):
    monkeypatch.setattr(pace, 'WINDOW', 0.2)
    monkeypatch.setattr(downloads, 'RETRIES', 2)
    start = time.monotonic()
    fails(url(server, f'{how}/x.pth'), 'broke off: only .* bytes came in|cannot be reached: only .* bytes came in')
    assert time.monotonic() - start < 10


@pytest.mark.parametrize('how', ['circle', 'local'])
def test_redirections_that_lead_nowhere(server, how):
    fails(url(server, f'{how}/x.pth'), '(?s)302.*redirections')


def test_a_password_is_used_and_told_to_nobody(server, tmp_path):
    message = fails(url(server, f'refused/x.pth?token={SECRET}', f'me:{SECRET}@'), '403')
    assert SECRET not in message
    assert server.asked == ['Basic bWU6aHVudGVyMg==']
    notes = [path.read_text() for path in (tmp_path / 'torch').rglob('*.json')]
    assert SECRET not in ''.join(notes)


def test_a_password_goes_to_its_own_server_alone(server):
    assert weights.download(url(server, 'away/x.pth', f'me:{SECRET}@'), progress=False).read_bytes() == server.data
    assert server.asked == ['Basic bWU6aHVudGVyMg==', None]
