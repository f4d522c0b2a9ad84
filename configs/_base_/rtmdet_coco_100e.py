"""RTMDet (the size L) on COCO, 100 epochs, batch 128: mmdet's recipe for Swin, mosaics and mix-ups until the last ten.

The backbone gives maps of strides 8, 16 and 32, `out_indices=(1, 2, 3)`, and `neck.in_channels` has their three widths.
GroupNorm in neck and head, as with Swin, where the CSPNeXt recipes have SyncBN: it needs neither a process group nor
large batches. Images are padded to multiples of 32, which the neck needs to add maps that it has doubled.
"""

_base_ = ['mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py']
custom_imports = dict(imports=['mmvssm.openmmlab'], allow_failed_imports=False)
model = dict(data_preprocessor=dict(pad_size_divisor=32))
custom_hooks = [*_base_.custom_hooks, dict(type='mmvssm.NaNWatchHook')]
default_hooks = dict(checkpoint=dict(type='mmvssm.AtomicCheckpointHook'))
