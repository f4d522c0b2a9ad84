"""What a command is asked to look at: CONFIG-OR-NAME, and a checkpoint of it.

The words that name a model are the path or the name of a config (`mask_rcnn_vmamba_t`), a published checkpoint
(`vmamba_tiny_s1l8.mask_rcnn_1x_coco`), a variant (`vmamba_tiny_s1l8`), the work folder of a run (its config and its
best or last checkpoint), a config of mmdet or mmseg (`mmdet::...`) and any other model that timm has.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmvssm import configs
from mmvssm.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Target:
    """What was named.

    Attributes:
        name: as it was given.
        config: the file of a detector or segmentor.
        backbone: a model's name in timm's registry, for :func:`timm.create_model`; one of the two is None.
        checkpoint: a path, URL or published name; None where none was given and none was published.
    """

    name: str
    config: Path | None = None
    backbone: str | None = None
    checkpoint: str | None = None

    @property
    def config_file(self) -> Path:
        """The config, of what :func:`whole_model` found."""
        assert self.config is not None
        return self.config

    def local_checkpoint(self) -> str:
        """The checkpoint's path, fetched if need be.

        Raises:
            UsageError: there is none.
            mmvssm.weights.CheckpointError: it is not there, or cannot be fetched.
        """
        from mmvssm import weights

        if self.checkpoint is None:
            raise UsageError(
                f'{self.name} has no published checkpoint: give one of your own (trained by `mmvssm train {self.name}`)'
            )
        return str(weights.local_path(self.checkpoint))

    def create(self, **overrides) -> 'nn.Module':
        """The named backbone or classifier, with the checkpoint's weights where there is one.

        Raises:
            mmvssm.weights.CheckpointError: these do not fit.
        """
        import timm

        import mmvssm

        assert self.backbone is not None
        if self.backbone.partition('.')[0] in mmvssm.list_models():
            return mmvssm.create_model(self.backbone, pretrained=self.checkpoint or False, **overrides)
        return timm.create_model(self.backbone, checkpoint_path=self.checkpoint or '', **overrides)


def find(name: str, checkpoint: str | None = None) -> Target:
    """What a name stands for.

    Args:
        name: see above.
        checkpoint: the path, URL or name of one; None for the published one of a detector's or segmentor's config,
            and for a backbone's random weights unless the name has a tag (`vmamba_tiny_s1l8.in1k`).

    Raises:
        UsageError: nothing has that name; the message lists near ones.
    """
    from mmvssm import weights
    from mmvssm.weights import published

    if name in weights.PUBLISHED:
        record = weights.PUBLISHED[name]
        if record.task == 'imagenet':
            return Target(name, backbone=name, checkpoint=checkpoint or name)
        return Target(name, config=configs.find(record.config), checkpoint=checkpoint or name)
    if Path(name).is_dir():
        return _of_run(Path(name), checkpoint)
    if '::' in name:
        return Target(name, config=_of_package(name), checkpoint=checkpoint)
    if (path := _config(name)) is not None:
        whole = next((one for one in weights.PUBLISHED.values() if configs.named(one.config) == path), None)
        return Target(name, config=path, checkpoint=checkpoint or (whole.name if whole else None))
    import timm

    import mmvssm

    if name in mmvssm.list_models() or timm.is_model(name):
        return Target(name, backbone=name, checkpoint=checkpoint)
    known = [*configs.names(), *published.PUBLISHED, *mmvssm.list_models(), *timm.list_models()]
    raise UsageError(
        f'there is no config, published checkpoint or model {name}{configs.near(name, known)}\n'
        '`mmvssm config`, `mmvssm zoo` and `mmvssm zoo --models` list what there is'
    )


def whole_model(name: str, checkpoint: str | None = None) -> Target:
    """The same for what needs a detector or segmentor.

    Raises:
        UsageError: nothing has that name, or it is a backbone; the message lists configs and checkpoints with it.
    """
    target = find(name, checkpoint)
    if target.config is not None:
        return target
    from mmvssm import weights

    variant = name.partition('.')[0]
    models = [one.name for one in weights.PUBLISHED.values() if one.model == variant and one.config]
    having = f': give {" or ".join(models[:3])}, or a config' if models else '; give a config'
    raise UsageError(f'{name} is a backbone, not a detector or segmentor{having}')


def _of_run(folder: Path, checkpoint: str | None) -> Target:
    """The config that a run has put in its work folder, and its best checkpoint or else its last."""
    written = sorted(folder.glob('*.py'))
    if len(written) != 1:
        raise UsageError(f'{folder} is no work folder of a run: it holds {len(written)} configs (*.py), not one')
    files = sorted(folder.glob('*.pth'), key=lambda path: ('best' in path.name, path.stat().st_mtime))
    return Target(str(folder), config=written[0], checkpoint=checkpoint or (str(files[-1]) if files else None))


def _config(name: str) -> Path | None:
    if name.endswith('.py') or os.sep in name:
        return configs.find(name)
    return configs.named(name)


def _of_package(name: str) -> Path:
    """A config that an installed package brings, e.g. mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py."""
    from mmengine.config.utils import get_installed_path

    package, _, inside = name.partition('::')
    try:
        folder = Path(get_installed_path(package)) / '.mim/configs'
    except Exception:
        raise UsageError(f'{name}: no package {package} is installed') from None
    path = folder / (inside if inside.endswith('.py') else f'{inside}.py')
    if not path.is_file():
        known = [one.relative_to(folder).as_posix() for one in folder.glob('*/*.py')]
        raise UsageError(f'{package} brings no config {inside}{configs.near(inside, known)}')
    return path
