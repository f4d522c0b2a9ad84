"""Pascal Context, 59 classes, at its usual place, images prepared as those of ADE20K.

A config sets `num_classes=59` in its heads. Label 0, background, is left out. The label images are made by
mmsegmentation's tools/dataset_converters/pascal_context.py.
"""

_base_ = ['./ade20k.py']
dataset = dict(
    type='PascalContextDataset59',
    data_root='data/VOCdevkit/VOC2010',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
)
train_dataloader = dict(dataset=dict(ann_file='ImageSets/SegmentationContext/train.txt', **dataset))
val_dataloader = dict(dataset=dict(ann_file='ImageSets/SegmentationContext/val.txt', **dataset))
test_dataloader = val_dataloader
