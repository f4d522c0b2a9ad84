"""Packages and requirements. `kernels/` stands at the top of the repository and installs as `mmvssm.kernels`."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
KERNELS = ['mmvssm.kernels'] + [f'mmvssm.kernels.{name}' for name in find_packages('kernels')]

# The lower bounds are installed and tested: `make test-oldest`.
BASE = [
    'torch>=2.6',
    'torchvision>=0.21',
    'timm>=1.0.15',
    'numba>=0.60; python_version < "3.13"',
    'numba>=0.61; python_version >= "3.13"',
    'numpy>=1.26; python_version < "3.13"',
    'numpy>=2.1; python_version >= "3.13"',
    'pillow>=10.4',
    'pyyaml>=6.0.2',
    'safetensors>=0.5',
    'huggingface_hub>=0.27',
    'filelock>=3.16',
    'tqdm>=4.66',
]
MM = [
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
    'onedl-mmsegmentation>=1.4.2',
]
# what OpenMMLab, the continuation or upstream, is used with here
BESIDE_MM = ['opencv-python-headless>=4.10.0.84', 'pycocotools>=2.0.8', 'matplotlib>=3.9.2']
TILE = ['sahi>=0.11.36']  # large images
EXPORT = ['onnx>=1.18', 'onnxscript>=0.2', 'onnxruntime>=1.20.1']
OPENVINO = ['openvino>=2025.0']  # a second runtime for exported files
DOCS = ['mkdocs-material>=9.5', 'mkdocstrings[python]>=0.27']
APP = ['gradio>=5']  # the local page
FASTER = ['faster-coco-eval>=1.7']  # COCO's average precision in less time
DEV = [
    'pytest>=8.3',
    'pytest-xdist>=3.6',
    'ruff>=0.15',
    'mypy>=1.18',
    'types-pyyaml>=6.0.12',
    'matplotlib>=3.9.2',
    *EXPORT,
    'segmentation-models-pytorch>=0.5',
    'tensorboard>=2.18',  # --log tensorboard
    'lvis>=0.5.3',
    'psutil>=6',  # of mmdet's and mmseg's benchmarks
    'transformers>=4.48',  # docs/recipes
    *TILE,
    *APP,
    *FASTER,
    *DOCS,
]


class BuildWithConfigs(build_py):
    """Puts configs and metafiles into mmvssm/.mim, where mim, mmengine and `mmvssm.configs` look for them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # there the source tree serves
            return
        mim = Path(self.build_lib) / 'mmvssm/.mim'
        shutil.rmtree(mim, ignore_errors=True)
        metafiles = sorted((ROOT / 'mmvssm/weights/published').glob('*.yml'))
        for path in [*sorted((ROOT / 'configs').rglob('*.py')), *metafiles]:
            target = mim / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        names = [path.relative_to(ROOT).as_posix() for path in metafiles]  # neither mim nor mmengine knows wildcards
        (mim / 'model-index.yml').write_text('Import:\n' + ''.join(f'  - {name}\n' for name in names))


setup(
    cmdclass={'build_py': BuildWithConfigs},
    packages=find_packages(include=['mmvssm', 'mmvssm.*']) + KERNELS,
    package_dir={'mmvssm.kernels': 'kernels'},
    package_data={
        'mmvssm': ['py.typed'],
        'mmvssm.demo': ['nuclei-images/*.json', 'nuclei-images/*/*.png'],
        'mmvssm.weights.published': ['*.yml'],
    },
    install_requires=BASE,
    extras_require={
        'mm': [*MM, *BESIDE_MM],
        'tile': TILE,
        'app': APP,
        'faster': FASTER,
        'export': EXPORT,
        'openvino': OPENVINO,
        'docs': DOCS,
        'dev': DEV,
    },
)
