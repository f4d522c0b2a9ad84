"""`mmvssm app`: the page answers over its own interface; tests/browser drops an image on it in a real browser."""

import json
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from mmvssm import app
from mmvssm.commands import main
from mmvssm.demo import nuclei
from mmvssm.openmmlab.found import Found
from mmvssm.pictures import Instances

PICTURE = next((nuclei.SOURCE / 'validation').glob('*.png'))


class Planted:
    """Finds two squares in any image, of scores 0.9 and 0.4."""

    classes, device = ('square', 'other'), 'cpu'

    def __call__(self, image):
        boxes = np.array([[10.0, 10, 40, 40], [100, 100, 160, 160]])
        masks = np.zeros((2, *image.shape[:2]), bool)
        masks[0, 10:40, 10:40] = masks[1, 100:160, 100:160] = True
        return Found(image, self.classes, None, Instances(boxes, np.array([0, 1]), masks, np.array([0.9, 0.4])))


@pytest.fixture(scope='module')
def client():
    page = app.page({'first': Planted(), 'second': Planted()})
    _, url, _ = page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, share=False)
    yield Client(url, verbose=False)
    page.close()


@pytest.mark.parametrize(('score', 'number'), [(0.3, 2), (0.5, 1)])
@pytest.mark.parametrize('model', [1, 2])
def test_the_page_finds_what_the_model_finds(client, model, score, number):
    seen, words, file = client.predict(handle_file(str(PICTURE)), score, api_name=f'/predict{model}')
    assert words.startswith(f'{number} objects in ')
    assert Image.open(seen).width >= 256
    assert [one['category_id'] for one in json.loads(Path(file).read_text())['annotations']] == [1, 2][:number]


def test_no_image_yet():
    assert app.look(Planted(), None, 0.3) == (None, 'Drop an image first.', None)


WRONG = {
    'three models': (['a', 'b', 'c'], '3 models were given; the page compares two'),
    'no such model': (['mask_rcnn_vmmba_t'], 'did you mean mask_rcnn_vmamba_t'),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_words(what):
    words, message = WRONG[what]
    with pytest.raises(SystemExit) as stop:
        main(['app', *words])
    assert message in stop.value.code
