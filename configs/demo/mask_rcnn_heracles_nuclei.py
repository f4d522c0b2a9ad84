"""The nuclei recipe of mask_rcnn_localvmamba_nuclei.py with a small Heracles, from scratch."""

_base_ = ['./mask_rcnn_localvmamba_nuclei.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmvssm.Heracles',
        depths=(1, 1, 2, 1),
        embed_dims=(24, 48, 96, 192),
        num_heads=(1, 1, 3, 6),
        mlp_ratios=(4, 4, 4, 4),
        stem_hidden_dim=16,
        spectral_sizes=((32, 32), (16, 16)),
        out_indices=(0, 1, 2, 3),
    ),
)
