"""UperNet on ADE20K, 160k iterations at 512 x 512: the recipe of VMamba and LocalMamba, which is mmseg's for Swin."""

_base_ = ['./upernet.py', './ade20k.py', './schedule_160k.py', './runtime.py']
