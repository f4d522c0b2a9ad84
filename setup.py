"""Packaging of mmvssm. `kernels/` stands at the top of the repository and installs as `mmvssm.kernels`."""

from pathlib import Path

from setuptools import find_packages, setup

KERNELS = ['mmvssm.kernels'] + [f'mmvssm.kernels.{name}' for name in find_packages('kernels')]

MM = [
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
    'onedl-mmsegmentation>=1.4.2',
]
DEV = [
    'pytest>=8',
    'pytest-xdist',
    'ruff>=0.15',
    'matplotlib',
    'onnx',
    'onnxscript',
    'onnxruntime',
    'segmentation-models-pytorch',
]

setup(
    name='mmvssm',
    version='0.1.0',
    description='Vision state-space backbones for dense prediction, without a compiler',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmvssm', 'mmvssm.*']) + KERNELS,
    package_dir={'mmvssm.kernels': 'kernels'},
    install_requires=[
        'torch>=2.6',
        'torchvision',
        'timm>=1.0.15',
        'numba>=0.60',
        'numpy',
        'pillow',
        'safetensors',
        'huggingface_hub',
        'filelock',
        'tqdm',
    ],
    extras_require={'mm': [*MM, 'pycocotools', 'matplotlib'], 'dev': DEV},
)
