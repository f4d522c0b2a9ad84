"""UperNet with Heracles-C-L, ADE20K. No recipe, weights or segmentor were released.

The recipe of upernet_heracles_s.py with the authors' drop path of this size.
"""

_base_ = ['./upernet_heracles_s.py']
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.3),
    decode_head=dict(in_channels=[96, 192, 384, 512]),
    auxiliary_head=dict(in_channels=384),
)
