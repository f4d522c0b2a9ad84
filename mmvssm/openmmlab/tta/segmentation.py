"""Segmentors on several views of an image: the mean of their probabilities."""

from collections.abc import Sequence

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel as Base
from mmseg.structures import SegDataSample
from torch import Tensor


class SegTTAModel(Base):
    """mmseg's test-time augmentation, right for one channel as well.

    mmseg takes the sigmoid of a one-channel map twice (`postprocess_result` has stored probabilities already), which
    never falls below a half; and it leaves the last view's logits beside the merged labels. Here `seg_logits` of a
    result (classes, H, W) is the mean of the views' probabilities, un-flipped and at the image's size.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[SegDataSample]]) -> list[SegDataSample]:
        """One sample an image: the first view's, with the mean of the probabilities and the classes that follow."""
        return [self._merge(views) for views in data_samples_list]

    def _merge(self, views: Sequence[SegDataSample]) -> SegDataSample:
        mean = sum(self._probabilities(view.seg_logits.data) for view in views) / len(views)
        assert isinstance(mean, Tensor)
        if self.module.out_channels == 1:
            labels = (mean > self.module.decode_head.threshold).to(mean)
        else:
            labels = mean.argmax(dim=0, keepdim=True)
        views[0].set_data(dict(seg_logits=PixelData(data=mean), pred_sem_seg=PixelData(data=labels)))
        return views[0]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits if self.module.out_channels == 1 else torch.softmax(logits, dim=0)
