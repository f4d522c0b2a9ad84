"""The nuclei recipe and the necks of mask_rcnn_vil_nuclei.py with a small LocalVim, from scratch."""

_base_ = ['./mask_rcnn_vil_nuclei.py']
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
)
