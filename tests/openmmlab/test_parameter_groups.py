"""What `mmvssm config NAME --param-groups` shows: layer decay and weight decay of plain and hierarchical families."""

import json

import pytest
from mmengine.config import Config

from mmvssm import configs
from mmvssm.commands import main
from mmvssm.errors import UsageError
from mmvssm.openmmlab import config_files, parameter_groups

DECAYED = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay=0.5))


def config(family: str, arch: str, **optim_wrapper) -> Config:
    backbone = dict(type=f'mmvssm.{family}', arch=arch)
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), **optim_wrapper)
    model = dict(type='mmvssm.ImageClassifier', backbone=backbone, num_classes=5)
    return Config(dict(default_scope='mmengine', model=model, optim_wrapper=wrapper))


FAMILIES = {'plain': ('Vim', 'test_vim'), 'hierarchical': ('VMamba', 'test_vmamba')}


@pytest.mark.parametrize('kind', FAMILIES)
def test_rates_halve_from_layer_to_layer(kind):
    found = parameter_groups.groups(config(*FAMILIES[kind], **DECAYED))
    rates = sorted({group.lr_mult for group in found})
    assert [pytest.approx(rate) for rate in rates] == [0.5**i for i in reversed(range(len(rates)))]
    first = next(group for group in found if any('patch_embed' in name for name in group.names))
    assert first.lr_mult == rates[0]
    assert {group.weight_decay for group in found} == {0.0, 0.05}


def test_every_parameter_is_in_one_group():
    found = parameter_groups.groups(config('VMamba', 'test_vmamba', **DECAYED))
    names = [name for group in found for name in group.names]
    assert len(names) == len(set(names))
    assert parameter_groups.in_words(found).endswith(f'{sum(g.parameters for g in found):,} of them trained')


def test_one_setting_is_one_group_whatever_mmengine_makes():
    custom = dict(paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0, lr_mult=2.0)}))
    found = parameter_groups.groups(config('VMamba', 'test_vmamba', **custom))
    assert [(group.lr_mult, group.weight_decay) for group in found] == [(1.0, 0.05), (2.0, 0.0)]
    assert all('norm' in name for name in found[1].names)


def test_what_is_frozen_is_told():
    cfg = config_files.read(configs.find('upernet_vmamba_t'))
    cfg.model.backbone.frozen_stages = 1
    found = parameter_groups.groups(cfg)
    assert [group.lr_mult for group in found] == [0, 1, 1]
    assert all(name.startswith(('backbone.patch_embed', 'backbone.layers.0')) for name in found[0].names)
    assert parameter_groups.in_words(found).splitlines()[1].split()[1:3] == ['frozen', '-']


def test_mixed_precision_keeps_the_constructor():
    cfg = config('Vim', 'test_vim', **DECAYED)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    assert len(parameter_groups.groups(cfg)) > 2


def test_a_config_that_trains_nothing():
    cfg = config('Vim', 'test_vim')
    cfg.optim_wrapper = None
    with pytest.raises(UsageError, match='nothing is trained'):
        parameter_groups.groups(cfg)


def test_the_command_prints_a_table_and_json(capsys):
    name = 'upernet_vil_t'
    main(['config', name, '--param-groups'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ['group', 'lr', 'x', 'weight', 'decay', 'tensors', 'parameters', 'such', 'as']
    assert lines[-3].split()[1:3] == ['1', '0']
    main(['config', name, '--param-groups', '--json'])
    found = json.loads(capsys.readouterr().out)
    assert found[0]['lr_mult'] == pytest.approx(0.65**13)
    assert f'{sum(group["parameters"] for group in found):,} parameters' in lines[-1]
    with pytest.raises(SystemExit, match='--json writes the groups'):
        main(['config', name, '--json'])
