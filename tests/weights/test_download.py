"""Downloads from a loopback server that stalls, truncates, lies about lengths and ignores ranges."""

import hashlib
import http.server
import importlib
import json
import re
import socket
import threading
import time
from pathlib import Path

import pytest
import torch

from mmvssm import weights

from . import files

downloads = importlib.import_module('mmvssm.weights.download')  # the package holds a function of that name


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.data`; the first path component names the misbehaviour."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, data = self.server, self.server.data
        server.requests.append((self.path, dict(self.headers)))
        how = self.path.strip('/').split('/')[0]
        count = len(server.requests)
        start = 0
        wanted = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        if wanted and how != 'norange' and self.headers.get('If-Range', server.etag) == server.etag:
            start = int(wanted[1])
        if how in ('404', '403', '500'):
            return self.send_error(int(how))
        if how == 'busy' and count <= 2:
            return self.send_error(503)
        if how == 'html':
            data = b'<html>log in</html>'
        if how == 'redirect':
            self.send_response(302)
            self.send_header('Location', '/good/x.pth')
            self.send_header('Content-Length', '0')
            return self.end_headers()
        if start > len(data) or (start and start == len(data)):
            return self.send_error(416)
        length = len(data) - start
        self.send_response(206 if start else 200)
        if start:
            shown = start + 1 if how == 'wrongpart' else start
            self.send_header('Content-Range', f'bytes {shown}-{len(data) - 1}/{len(data)}')
        if how != 'noetag':
            self.send_header('ETag', server.etag)
        if how == 'unknown':  # no length: the end of the connection is the end of the file
            self.send_header('Connection', 'close')
        else:
            self.send_header('Content-Length', str({'long': length + 100, 'short': length // 2}.get(how, length)))
        self.end_headers()
        part = data[start:]
        if how in ('cut', 'norange', 'noetag', 'wrongpart', 'stall', 'changes') and count <= server.bad_replies:
            part = part[: max(len(data) // 3, 1)]
        if how == 'short':
            part = part[: length // 2]
        self.wfile.write(part)
        self.wfile.flush()
        if how == 'stall' and count <= server.bad_replies:
            server.released.wait(10)
        if how == 'changes' and count == 1:
            server.data, server.etag = server.other, '"second"'
        self.close_connection = True


@pytest.fixture
def server(tmp_path):
    data = files.save(tmp_path / 'served.pth', files.small_state()).read_bytes()
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.daemon_threads = True
    httpd.data, httpd.etag, httpd.requests, httpd.bad_replies = data, '"first"', [], 2
    httpd.other = files.save(tmp_path / 'other.pth', files.small_state(3.0)).read_bytes()
    httpd.released = threading.Event()
    httpd.url = f'http://127.0.0.1:{httpd.server_port}'
    thread = threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    yield httpd
    httpd.released.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """An empty cache of its own, short waits, no proxy and no offline switch from the environment."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    for name in ('MMVSSM_OFFLINE', 'HF_HUB_OFFLINE', 'http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, 'BACKOFF', 0.01)
    monkeypatch.setattr(downloads, 'TIMEOUT', 0.4)


def fails(url, match, **kwargs):
    with pytest.raises(weights.DownloadError, match=match) as error:
        weights.download(url, progress=False, **kwargs)
    assert len(str(error.value).splitlines()) == 2
    return str(error.value)


def leftovers(tmp_path):
    return {path.suffix for path in (tmp_path / 'torch').rglob('*') if path.is_file()} - {'.lock'}


def test_lands_in_torch_home_and_is_not_fetched_again(server, tmp_path):
    path = weights.download(f'{server.url}/good/x.pth', progress=False)
    assert path.read_bytes() == server.data
    assert path.parent == tmp_path / 'torch' / 'hub' / 'checkpoints'
    assert weights.download(f'{server.url}/good/x.pth', progress=False) == path
    assert len(server.requests) == 1
    assert leftovers(tmp_path) == {'.pth'}


def test_read_checkpoint_takes_a_url(server):
    assert set(weights.read_checkpoint(f'{server.url}/good/x.pth')) == set(files.small_state())


@pytest.mark.parametrize('how', ['cut', 'noetag', 'stall', 'busy', 'norange', 'redirect', 'unknown'])
def test_gets_through(server, tmp_path, how):
    path = weights.download(f'{server.url}/{how}/x.pth', progress=False)
    assert path.read_bytes() == server.data
    assert leftovers(tmp_path) == {'.pth'}


def test_goes_on_where_it_stopped(server):
    weights.download(f'{server.url}/cut/x.pth', progress=False)
    ranges = [headers.get('Range') for _, headers in server.requests]
    third = len(server.data) // 3
    assert ranges == [None, f'bytes={third}-', f'bytes={2 * third}-']


def test_goes_on_in_another_process(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, 'RETRIES', 1)
    server.bad_replies = 1
    monkeypatch.setattr(downloads.time, 'sleep', lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        weights.download(f'{server.url}/cut/x.pth', progress=False)
    assert leftovers(tmp_path) == {'.part', '.json'}
    assert weights.download(f'{server.url}/cut/x.pth', progress=False).read_bytes() == server.data
    assert server.requests[-1][1]['Range'] == f'bytes={len(server.data) // 3}-'


def test_a_complete_part_is_only_put_in_place(server):
    url = f'{server.url}/good/x.pth'
    path = downloads.cache_path(url)
    path.parent.mkdir(parents=True)
    path.with_name(path.name + '.part').write_bytes(server.data)
    notes = {'url': url, 'total': len(server.data), 'validator': server.etag}
    path.with_name(path.name + '.part.json').write_text(json.dumps(notes))
    assert weights.download(url, progress=False).read_bytes() == server.data
    assert not server.requests


def test_a_file_that_changes_meanwhile_is_not_spliced(server):
    server.bad_replies = 1
    assert weights.download(f'{server.url}/changes/x.pth', progress=False).read_bytes() == server.other


def test_a_part_of_another_url_is_not_continued(server):
    path = downloads.cache_path(f'{server.url}/good/x.pth')
    path.parent.mkdir(parents=True)
    path.with_name(path.name + '.part').write_bytes(b'something else')
    assert weights.download(f'{server.url}/good/x.pth', progress=False).read_bytes() == server.data


@pytest.mark.parametrize(
    ('how', 'says'),
    [
        ('404', '404.*\n.*weights.py list'),
        ('403', '403.*\n.*login'),
        ('500', '500.*attempts without progress'),
        ('html', 'web page'),
        ('long', 'shorter than announced'),
        ('short', 'cut off or damaged'),
        ('wrongpart', 'another part than was asked for'),
    ],
)
def test_gives_up_clearly(server, tmp_path, how, says):
    server.bad_replies = 100
    fails(f'{server.url}/{how}/x.pth', f'(?s){says}')
    assert '.pth' not in leftovers(tmp_path)


def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(downloads, 'TIMEOUT', 0.1)
    with socket.create_server(('127.0.0.1', 0)) as mute:
        start = time.monotonic()
        fails(f'http://127.0.0.1:{mute.getsockname()[1]}/x.pth', 'timed out')
        assert time.monotonic() - start < 5


def test_nobody_there():
    fails('http://127.0.0.1:9/x.pth', r'cannot be reached: .*refused(.|\n)*put it at .*/x-\w+\.pth\.$')


def test_a_host_without_an_address(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    fails('http://no.such.host/x.pth', 'cannot be reached: .*Name or service not known')


@pytest.mark.parametrize(
    'url',
    ['http:///x.pth', 'https://', 'http://:80/x.pth', 'http://[::1/x.pth', 'http://a:b/x.pth', 'http://a b/x.pth']
    + ['http://a..b/x.pth', 'http://a/ü.pth'],
)
def test_a_url_without_a_sound_host_fails_at_once(url, monkeypatch):
    monkeypatch.setattr(downloads, '_complete', None)  # not asked
    fails(url, 'cannot be downloaded')


def test_checksum(server):
    good = hashlib.sha256(server.data).hexdigest()
    fails(f'{server.url}/good/x.pth', 'its checksum is', sha256='0' * 64)
    assert weights.download(f'{server.url}/good/x.pth', progress=False, sha256=good).is_file()


@pytest.mark.parametrize(
    ('variable', 'value'),
    [('MMVSSM_OFFLINE', '1'), ('HF_HUB_OFFLINE', '1'), ('MMVSSM_OFFLINE', 'yes'), ('MMVSSM_OFFLINE', 'Y')],
)
def test_offline_says_where_to_put_the_file(server, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    url = f'{server.url}/good/x.pth'
    message = fails(url, variable)
    path = Path(re.search(r'put it at (.*)\.$', message)[1])
    path.parent.mkdir(parents=True)
    path.write_bytes(server.data)
    assert weights.download(url, progress=False) == path
    assert not server.requests


@pytest.mark.parametrize('value', ['', '0', 'False', 'no', 'off'])
def test_online_by_name(monkeypatch, value):
    monkeypatch.setenv('MMVSSM_OFFLINE', value)
    assert not downloads.offline()


def test_a_file_of_the_hub_may_be_put_by_hand(monkeypatch, tmp_path):
    monkeypatch.setenv('MMVSSM_OFFLINE', '1')
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    url = weights.default_checkpoint('vim_tiny').url
    path = Path(re.search(r'put it at (.*)\.$', fails(url, 'MMVSSM_OFFLINE'))[1])
    assert path.name == 'vim_t_midclstok_76p1acc.pth'
    path.parent.mkdir(parents=True)
    path.write_bytes(b'x')
    assert weights.fetch('vim_tiny.in1k') == path


def test_the_hub_is_asked_through_its_own_client(monkeypatch, tmp_path):
    asked = {}

    def client(repo, name, **kwargs):
        asked.update(kwargs, repo=repo, name=name)
        return str(tmp_path / name)

    monkeypatch.setattr('huggingface_hub.hf_hub_download', client)
    assert weights.fetch('vim_base.in1k') == tmp_path / 'vim_b_midclstok_81p9acc.pth'
    assert (asked['repo'], asked['revision']) == ('hustvl/Vim-base-midclstok', 'main')


def test_errors_of_the_hub_have_two_lines(monkeypatch):
    def client(*args, **kwargs):
        raise OSError('first line\nsecond line\nthird line')

    monkeypatch.setattr('huggingface_hub.hf_hub_download', client)
    fails(weights.default_checkpoint('vim_tiny').url, 'could not be downloaded: first line')


def test_through_a_proxy(server, monkeypatch):
    monkeypatch.setenv('http_proxy', server.url)
    monkeypatch.setenv('no_proxy', '')
    assert weights.download('http://weights.invalid/x.pth', progress=False).read_bytes() == server.data
    assert server.requests[0][0] == 'http://weights.invalid/x.pth'


def test_ranks_that_ask_at_the_same_time_fetch_once(server):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.append(weights.download(f'{server.url}/good/x.pth', progress=False)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert len(server.requests) == 1


@pytest.mark.parametrize('url', ['ftp://host/x.pth', 's3://bucket/x.pth'])
def test_other_schemes(url):
    fails(url, 'cannot be downloaded')


def test_a_cache_that_is_a_file(server, tmp_path):
    (tmp_path / 'torch').write_text('')
    fails(f'{server.url}/good/x.pth', 'cannot be written')


def test_names_in_the_cache():
    published = weights.default_checkpoint('vmamba_tiny_s1l8')
    assert downloads.cache_path(published.url).name == published.file
    one, two = (downloads.cache_path(f'http://{host}/model.pth.tar') for host in ('a', 'b'))
    assert one != two
    assert one.name.endswith('.pth.tar')
    assert downloads.cache_path('http://a/x.pth?token=1').name.endswith('.pth')
    assert downloads.cache_path('http://a/x.pth', 'folder').parent == Path('folder')


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r'vmamba_tiny_s1l8\.in1k'):
        weights.fetch('vmamba_tiny_s1l8.in22k')


def test_the_progress_bar_shows_bytes(server, capsys):
    weights.download(f'{server.url}/good/x.pth')
    assert 'B/s' in capsys.readouterr().err
    assert torch.hub.get_dir()
