"""Images out of everything that a user may name."""

import functools
import http.server
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from mmvssm import inputs
from mmvssm.errors import UsageError


def picture(path, size=(7, 5), colour=(200, 10, 30)):
    Image.new('RGB', size, colour).save(path)
    return path


def film(path, frames=4, size=(32, 16)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, size)
    for i in range(frames):
        writer.write(np.full((size[1], size[0], 3), 60 * i, np.uint8))
    writer.release()
    return path


def images(*words):
    return [frame for source in inputs.find([str(word) for word in words]) for frame in inputs.read(source)]


def test_a_file_is_rgb(tmp_path):
    (frame,) = images(picture(tmp_path / 'a.png'))
    assert frame.image.shape == (5, 7, 3)
    assert frame.image[0, 0].tolist() == [200, 10, 30]


def test_folders_and_globs_are_sorted_and_each_file_comes_once(tmp_path):
    (tmp_path / 'deep').mkdir()
    names = [picture(tmp_path / name) for name in ('b.png', 'a.JPG', 'deep/c.bmp')]
    (tmp_path / 'notes.txt').write_text('no image')
    found = inputs.find([str(tmp_path), f'{tmp_path}/*.png', str(names[0])])
    assert [source.name.removeprefix(f'{tmp_path}/') for source in found] == ['a.JPG', 'b.png', 'deep/c.bmp']


@pytest.mark.parametrize('word', ['', '/*.png'], ids=['folder', 'glob'])
def test_nothing_inside_is_an_error_that_names_it(word, tmp_path):
    with pytest.raises(UsageError, match='there is no image or video'):
        inputs.find([f'{tmp_path}{word}'])


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    assert len(images(picture(tmp_path / 'a[1].png'))) == 1


def test_exif_turns_the_image_upright(tmp_path):
    image, exif = Image.new('RGB', (8, 4)), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / 'a.jpg', exif=exif)
    assert images(tmp_path / 'a.jpg')[0].image.shape == (8, 4, 3)


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', 'CMYK', '1'])
def test_every_kind_of_picture_becomes_rgb(mode, tmp_path):
    suffix = 'tif' if mode == 'CMYK' else 'png'
    Image.new('RGB', (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / f'a.{suffix}')
    (frame,) = images(tmp_path / f'a.{suffix}')
    assert (frame.image.shape, frame.image.dtype, int(frame.image.min())) == ((4, 6, 3), np.uint8, 255)


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / 'a.png')
    assert images(tmp_path / 'a.png')[0].image[0, :, 0].tolist() == [0, 127, 255]


BROKEN = {
    'missing.png': (None, 'there is no such file'),
    'empty.png': (b'', 'it is empty'),
    'text.jpg': (b'hello', 'no image of a known format'),
    'text.mp4': (b'hello', 'no frame can be read'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_what_cannot_be_read_says_why(name, tmp_path):
    content, why = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(inputs.Unreadable, match=f'{name}: .*{why}'):
        images(tmp_path / name)


def test_a_truncated_image_is_unreadable(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / 'a.jpg')
    (tmp_path / 'a.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes()[:900])
    with pytest.raises(inputs.Unreadable, match='truncated'):
        images(tmp_path / 'a.jpg')


def test_a_video_gives_its_frames_in_order(tmp_path):
    frames = images(film(tmp_path / 'a.mp4'))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [round(frame.image.mean() / 60) for frame in frames] == [0, 1, 2, 3]
    assert frames[0].rate == 10
    assert inputs.number_of_frames(frames[0].source) == 4


def test_a_number_is_a_camera_unless_it_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [source.kind for source in inputs.find(['0'])] == ['camera']
    picture(tmp_path / 'x.png').rename(tmp_path / '0')
    assert [source.kind for source in inputs.find(['0'])] == ['image']


@pytest.fixture
def server(tmp_path):
    quiet = type('Quiet', (http.server.SimpleHTTPRequestHandler,), {'log_message': lambda *_: None})
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(quiet, directory=tmp_path)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{serving.server_port}'
        serving.shutdown()


def test_urls_of_an_image_and_a_video(server, tmp_path):
    picture(tmp_path / 'a b.png')
    film(tmp_path / 'v.mp4', frames=2)
    assert len(images(f'{server}/a%20b.png', f'{server}/v.mp4?x=1')) == 3
    (source,) = inputs.find([f'{server}/a%20b.png'])
    assert inputs.file_name(source) == 'a b.png'


def test_an_address_without_an_image(server):
    with pytest.raises(inputs.Unreadable, match='404'):
        images(f'{server}/nowhere.png')
