"""UperNet with Vim-S, ADE20K, 60k iterations of 32 images. Published: 44.9 mIoU (quoted, unverified). No segmentor
was released. The published run started from older weights with rotary embeddings, which were not released.
The published layer-wise decay named parameters that do not exist, so it had no effect; here there is none.
"""

_base_ = ['./upernet_vim_t.py']
pretrained = 'https://huggingface.co/hustvl/Vim-small-midclstok/resolve/main/vim_s_midclstok_80p5acc.pth'
model = dict(
    backbone=dict(arch='small', features='residual', init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    neck=dict(in_channels=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05))
