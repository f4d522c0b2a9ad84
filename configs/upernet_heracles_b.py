"""UperNet with Heracles-C-B, ADE20K. No recipe, weights or segmentor were released.

The recipe of upernet_heracles_s.py with the authors' drop path of this size.
"""

_base_ = ['./upernet_heracles_s.py']
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.1),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
    auxiliary_head=dict(in_channels=320),
)
