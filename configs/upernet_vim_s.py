"""UperNet with Vim-S, ADE20K, 60k iterations of 32 images. Published: 44.9 mIoU (quoted, unverified). No segmentor
was released. The recipe of upernet_vim_t.py with its own rates; the maps are the residual stream, as published.
The published run started from older weights with rotary embeddings and undivided sums, which were not released.
"""

_base_ = ['./upernet_vim_t.py']
model = dict(
    backbone=dict(arch='small', features='residual', init_cfg=dict(type='Pretrained', checkpoint='vim_small.in1k')),
    neck=dict(in_channels=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
stem_rate = 0.95**25
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'backbone.patch_embed.proj.weight': dict(lr_mult=stem_rate),
            'backbone.patch_embed.proj.bias': dict(lr_mult=stem_rate),
            'backbone.pos_embed': dict(lr_mult=stem_rate),
        }
    ),
)
