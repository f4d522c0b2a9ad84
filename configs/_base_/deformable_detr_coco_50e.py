"""Deformable DETR with box refinement on COCO, 50 epochs, batch 32: mmdet's recipe.

The backbone learns at a tenth of the rate. It gives maps of strides 8, 16 and 32, `out_indices=(1, 2, 3)`, and
`neck.in_channels` has their three widths; the neck adds stride 64.
"""

_base_ = ['mmdet::deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco.py', './runtime.py']
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
