"""The nuclei recipe of mask_rcnn_localvmamba_nuclei.py with a small Vision-LSTM, from scratch."""

_base_ = ['./mask_rcnn_localvmamba_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VisionLSTM',
        embed_dim=64,
        depth=4,
        patch_size=8,
        img_size=128,
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
