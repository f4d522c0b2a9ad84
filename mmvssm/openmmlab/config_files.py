"""Reading config files and changing single settings, with errors in words; configs of packages as bases and by name.

`mmdet::`, `mmseg::` and `mmvssm::` work in `_base_` whatever the distribution is called that brings the package:
mmengine knows one name for each, which the continuation of OpenMMLab has changed. Its inferencers take the names of
this package's configs: `DetInferencer(model='mask_rcnn_vmamba_t')`.
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.infer import BaseInferencer

from mmvssm import configs, weights
from mmvssm.errors import UsageError
from mmvssm.openmmlab.preflight import errors, values
from mmvssm.openmmlab.preflight.places import meant


@functools.cache
def install() -> None:
    """Teach mmengine the packages and the names; idempotent."""
    look_up, load = Config._get_cfg_path, BaseInferencer._load_model_from_metafile

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        package, colons, inside = cfg_path.partition('::')
        if colons and (path := _in_package(package, inside)) is not None:
            # an entry of this package's configs belongs to the scope that they name themselves
            return str(path), None if package == 'mmvssm' else package
        return look_up(cfg_path, filename)

    @functools.wraps(load)
    def load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        if (path := configs.named(model)) is None:
            return load(self, model)
        whole = next((one for one in weights.PUBLISHED.values() if configs.named(one.config) == path), None)
        return Config.fromfile(path), whole.name if whole else None

    Config._get_cfg_path = staticmethod(get_cfg_path)
    BaseInferencer._load_model_from_metafile = load_model_from_metafile


def _in_package(package: str, inside: str) -> Path | None:
    """The file of a config in an installed package; None where mmengine may know better, by the names of metafiles.

    Raises:
        UsageError: it is one of this package that there is not.
    """
    if package == 'mmvssm':
        if (path := configs.FOLDER / inside).suffix == '.py' and path.is_file():
            return path
        return configs.find(inside)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(f'{package}::{inside}: no package {package} is installed')
    path = Path(spec.origin).parent / '.mim/configs' / inside
    return path if path.is_file() else None


def read(path: str | Path) -> Config:
    """A config file.

    Raises:
        UsageError: it cannot be read: the file, the line and what Python says of it.
    """
    try:
        cfg = Config.fromfile(path)
    except UsageError as error:
        raise UsageError(f'{path}: {error}') from None
    except Exception as error:
        raise UsageError(f'{errors.place_in_files(error, path)}: {errors.words(error)}') from error
    if not isinstance(cfg.get('model'), dict):
        raise UsageError(f'{path} is no config of a detector or segmentor: it has no model=dict(type=...)')
    return cfg


def override(cfg: Config, options: dict) -> None:
    """`--cfg-options`.

    Raises:
        UsageError: a name that the config does not have at its top, or a place that cannot be.
    """
    known = {*cfg, *values.RUNNER}
    for key in options:
        first = key.partition('.')[0]
        if first not in known:
            raise UsageError(f'--cfg-options {key}: the config has no {first!r}{meant(first, known)}')
        if '' in key.split('.'):
            raise UsageError(f'--cfg-options {key}: a name between two dots is missing')
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        raise UsageError(f'--cfg-options {" ".join(options)}: {errors.words(error)}') from error


def flat(node: Any, place: str = '') -> dict[str, Any]:
    """{'model.backbone.arch': 'tiny_s1l8', ...}: leaves by the dotted names that --cfg-options take."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    leaves: dict[str, Any] = {}
    for key, value in items:
        name = f'{place}.{key}' if place else str(key)
        plain = not isinstance(value, dict) and not (isinstance(value, list | tuple) and any(map(_nested, value)))
        leaves.update({name: value} if plain else flat(value, name))
    return leaves


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)
