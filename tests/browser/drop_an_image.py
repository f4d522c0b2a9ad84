"""Drops an image on `mmvssm app` in a headless chromium and waits for the answer: `make test-browser`.

    python tests/browser/drop_an_image.py MODEL[=CHECKPOINT] IMAGE [SCREENSHOT]

Needs a browser, which pip does not bring (Debian: apt-get install chromium), and playwright; so no part of `make test`.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from mmvssm import app
from mmvssm.openmmlab.predictor import Predictor


def main(model: str, image: str, screenshot: str = 'work_dirs/app.png') -> None:
    name, _, checkpoint = model.partition('=')
    page = app.page({model: Predictor(name, checkpoint or None), f'{model} again': Predictor(name, checkpoint or None)})
    _, url, _ = page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, share=False)
    browser = shutil.which('chromium') or shutil.which('google-chrome') or sys.exit('no chromium is installed')
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=['--no-sandbox'])
        tab = opened.new_page(viewport={'width': 1200, 'height': 1100})
        tab.goto(url)
        tab.set_input_files('input[type=file]', image)
        tab.wait_for_selector(
            'button[aria-label="Remove Image"], button[title="Remove Image"], img[alt=""]', timeout=30000
        )
        tab.get_by_role('button', name='Predict').click()
        answers = [tab.locator('textarea').nth(i) for i in range(2)]
        for answer in answers:
            answer.wait_for(timeout=60000)
            tab.wait_for_function(
                'element => element.value.includes(" s on ")', arg=answer.element_handle(), timeout=60000
            )
        print(*(answer.input_value() for answer in answers), sep='\n')
        tab.wait_for_timeout(1500)
        Path(screenshot).parent.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=screenshot)
        opened.close()
    page.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
