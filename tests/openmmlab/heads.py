"""Any head over any family: a config whose backbone is exchanged for a family's micro model, and steps of training.

What a cell of the tables in docs/heads.md says, a test holds.
"""

import copy

import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from mmvssm.backbones import create_model
from tests.openmmlab.test_config_models import few_proposals, load, narrow, quiet_sync_bn

HIERARCHICAL = {
    'VMamba': 'test_vmamba',
    'LocalVMamba': 'test_localvmamba',
    'EfficientVMamba': 'test_efficientvmamba',
    'Heracles': 'test_heracles',
}
PLAIN = {'Vim': 'test_vim', 'VisionLSTM': 'test_vil', 'LocalVim': 'test_localvim'}
FAMILIES = HIERARCHICAL | PLAIN
LAST, STRIDE = 3, 16  # the last tap of a plain micro model, and its stride


def small(name: str) -> Config:
    """A config with a narrow neck and head, few queries, and BN for SyncBN."""
    cfg = load(name)
    narrow(cfg.model)
    quiet_sync_bn(cfg.model)
    few_proposals(cfg.model)
    return cfg


def widths(family: str) -> list[int]:
    """Of the four maps of the family's micro model."""
    return [one['num_chs'] for one in create_model(FAMILIES[family], features_only=True).feature_info.info]


def put_backbone(cfg: Config, family: str) -> list[int]:
    """The family's micro model in place of a config's backbone; the widths of its maps, as many as were asked for."""
    indices = (LAST,) if family in PLAIN else tuple(cfg.model.backbone.out_indices)
    cfg.model.backbone = ConfigDict(type=f'mmvssm.{family}', arch=FAMILIES[family], out_indices=indices)
    return [widths(family)[i] for i in indices]


def losses_of(model: torch.nn.Module, batch: dict) -> dict:
    """The losses of a batch by name, their sum as 'loss'; samplers and noise are drawn alike each time."""
    torch.manual_seed(1)
    np.random.seed(1)
    prepared = model.data_preprocessor(copy.deepcopy(batch), training=True)
    return model.parse_losses(model(**prepared, mode='loss'))[1]


def train(model: torch.nn.Module, batch: dict, name: str = 'loss', steps: int = 12) -> None:
    """Steps until a loss is less than at the start; gradients are finite and reach the backbone.

    Assignments and proposals change between steps, so that the first need not do.
    """
    optimizer = torch.optim.AdamW(model.train().parameters(), 1e-3)
    first = None
    for _ in range(steps):
        optimizer.zero_grad()
        losses = losses_of(model, batch)
        if first is not None and losses[name] < first:
            return
        first = losses[name].item() if first is None else first
        losses['loss'].backward()
        gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
        assert all(one.isfinite().all() for one in gradients)
        assert any(one.abs().sum() > 0 for one in gradients)
        optimizer.step()
    raise AssertionError(f'{name}={first} has not fallen in {steps} steps')


def table(cells: list[tuple[str, str]]) -> str:
    """Rows of heads and columns of families in Markdown, of the (head, family) that are tested."""
    rows = [['head', *FAMILIES], ['---'] * (len(FAMILIES) + 1)]
    for head in dict.fromkeys(head for head, _ in cells):
        rows.append([head, *('trains here' if (head, family) in cells else '' for family in FAMILIES)])
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
