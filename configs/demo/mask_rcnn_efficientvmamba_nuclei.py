"""The nuclei recipe of mask_rcnn_localvmamba_nuclei.py with a small EfficientVMamba, from scratch."""

_base_ = ['./mask_rcnn_localvmamba_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.EfficientVMamba',
        depths=(1, 2, 2, 1),
        dims=(24, 48, 96, 192),
        out_indices=(0, 1, 2, 3),
    ),
)
