"""Pascal VOC 2012, segmentation, at its usual place, images prepared as those of ADE20K.

A config sets `num_classes=21` in its heads: background is a class.
"""

_base_ = ['./ade20k.py']
dataset = dict(
    type='PascalVOCDataset',
    data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
)
train_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/train.txt', **dataset))
val_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/val.txt', **dataset))
test_dataloader = val_dataloader
