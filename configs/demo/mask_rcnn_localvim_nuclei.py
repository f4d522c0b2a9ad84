"""The nuclei recipe of mask_rcnn_localvmamba_nuclei.py with a small LocalVim, from scratch."""

_base_ = ['./mask_rcnn_localvmamba_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.LocalVim',
        embed_dim=64,
        depth=4,
        directions=[['h', 'h_flip', 'v', 'v_flip'], ['h', 'v_flip', 'w2', 'w7_flip']] * 2,
        patch_size=8,
        img_size=128,
        features='residual',
        out_indices=(0, 1, 2, 3),
    ),
    neck=[
        dict(type='mmvssm.RescalePyramid', in_channels=64, patch_size=8),
        dict(
            type='FPN',
            in_channels=[64, 64, 64, 64],
            out_channels=64,
            num_outs=5,
            norm_cfg=dict(type='GN', num_groups=8),
        ),
    ],
)
