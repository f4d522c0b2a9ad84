"""A detector's config as a user writes one: the demo's, with a micro backbone, on a few drawn shapes."""

from pathlib import Path

from mmvssm import configs
from mmvssm.demo import shapes

CONFIG = """
_base_ = ['{base}']
data_root = '{data}/'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
model = dict(
    backbone=dict(_delete_=True, type='mmvssm.VMamba', arch='test_vmamba', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16, 24, 32, 40]),
)
train_cfg = dict(max_epochs={epochs}, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def write(folder: Path, train: int, val: int, epochs: int = 1) -> Path:
    """FOLDER/config.py, with so many images in FOLDER/data."""
    data = shapes.write(folder / 'data', train=train, val=val)
    base = configs.FOLDER / 'demo/mask_rcnn_localvmamba_demo.py'
    (folder / 'config.py').write_text(CONFIG.format(base=base, data=data, epochs=epochs))
    return folder / 'config.py'
