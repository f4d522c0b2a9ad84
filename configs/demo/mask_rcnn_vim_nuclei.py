"""The nuclei recipe and the necks of mask_rcnn_vil_nuclei.py with a small Vim, from scratch."""

_base_ = ['./mask_rcnn_vil_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Vim',
        embed_dim=64,
        depth=4,
        patch_size=8,
        img_size=128,
        features='residual',
        out_indices=(0, 1, 2, 3),
    ),
)
