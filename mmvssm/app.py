"""A local page: drop an image, see what one or two models find in it, side by side."""

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmvssm.errors import UsageError

if TYPE_CHECKING:
    import gradio

    from mmvssm.openmmlab.predictor import Predictor

SCORE = 0.3


def look(predictor: 'Predictor', image: np.ndarray | None, score: float) -> tuple[np.ndarray | None, str, str | None]:
    """What a model finds: the picture, a sentence about it, and the path of a COCO file.

    Args:
        predictor: a detector or segmentor.
        image: (H, W, 3) uint8, RGB; None where nothing was dropped yet.
        score: objects below it are left out.
    """
    if image is None:
        return None, 'Drop an image first.', None
    from mmvssm.openmmlab.records import Records

    start = time.perf_counter()
    found = predictor(np.ascontiguousarray(image[..., :3])).above(score)
    took = time.perf_counter() - start
    records = Records(predictor.classes)
    records.add(found, 'image')
    path = Path(tempfile.mkdtemp()) / 'predictions.json'
    records.write(path)
    number = len(json.loads(path.read_text())['annotations'])
    what = 'objects' if found.instances is not None else 'classes'
    return np.asarray(found.picture()), f'{number} {what} in {took:.2f} s on {predictor.device}', str(path)


def page(predictors: 'dict[str, Predictor]') -> 'gradio.Blocks':
    """The page of one or two models, by name.

    Raises:
        UsageError: gradio is not installed.
    """
    try:
        import gradio
    except ImportError:
        raise UsageError('the page needs gradio: pip install "mmvssm[app]"') from None
    with gradio.Blocks(title='mmvssm') as blocks:
        gradio.Markdown(f'# mmvssm\n{" and ".join(predictors)}: drop an image.')
        with gradio.Row():
            image = gradio.Image(type='numpy', label='image', sources=['upload', 'clipboard', 'webcam'])
            with gradio.Column():
                score = gradio.Slider(0, 1, SCORE, step=0.05, label='objects below this score are left out')
                button = gradio.Button('Predict', variant='primary')
        with gradio.Row():
            for number, (name, predictor) in enumerate(predictors.items(), start=1):
                with gradio.Column():
                    seen = gradio.Image(label=name, interactive=False)
                    words = gradio.Textbox(label='found', interactive=False)
                    file = gradio.File(label='COCO file')

                def answer(given, least, predictor=predictor):
                    return look(predictor, given, least)

                button.click(answer, [image, score], [seen, words, file], api_name=f'predict{number}')
    return blocks
