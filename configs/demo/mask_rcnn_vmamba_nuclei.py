"""The nuclei recipe of mask_rcnn_localvmamba_nuclei.py with a small VMamba, from scratch."""

_base_ = ['./mask_rcnn_localvmamba_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.VMamba',
        depths=(1, 1, 2, 1),
        dims=(24, 48, 96, 192),
        ssm_ratio=1.0,
        out_indices=(0, 1, 2, 3),
    ),
)
