"""A search for scan directions as a run: what it makes of configs, how it trains, what it leaves."""

import runpy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS

from mmvssm import commands, configs, directions, search
from mmvssm.errors import UsageError
from mmvssm.openmmlab import searching
from mmvssm.openmmlab.hooks.search import _keep_still
from mmvssm.openmmlab.searching import Options
from mmvssm.weights import read_checkpoint, unwrap
from tests.openmmlab import small
from tests.openmmlab.test_training import losses, newest, parameters, run

# --- the config -------------------------------------------------------------------------------------------------------


def prepared(name: str, **options) -> Config:
    path = configs.find(name)
    cfg = Config.fromfile(path)
    searching.prepare(cfg, path, Options(**options))
    return cfg


@pytest.mark.parametrize(
    ('name', 'field', 'k'),
    [
        ('mask_rcnn_localvmamba_t', 'directions', 4),
        ('upernet_localvim_t', 'directions', 4),
        ('upernet_vmamba_t', 'scan_orders', 4),
        ('mask_rcnn_vim_t', 'scan_orders', 2),
    ],
)
def test_the_model_becomes_a_supernet_from_scratch(name, field, k):
    cfg = prepared(name, candidates=['h', 'v', 'w2', 'w3', 'w7'])
    backbone = cfg.model.backbone
    assert (backbone[field], backbone.candidates, backbone.get('init_cfg')) == (
        None,
        ['h', 'v', 'w2', 'w3', 'w7'],
        None,
    )
    assert cfg.custom_hooks[-1].k == k


def test_a_family_without_directions_is_an_error():
    with pytest.raises(UsageError, match='VisionLSTM has no scan directions to search'):
        prepared('upernet_vil_t')


def test_logits_have_a_rate_and_a_decay_of_their_own():
    keys = prepared('mask_rcnn_localvmamba_t', logit_decay=False, logit_lr=3.0).optim_wrapper.paramwise_cfg.custom_keys
    assert keys[search.KEY] == dict(lr_mult=3.0, decay_mult=0.0)
    assert len(keys) > 1  # the recipe's own stay


def test_without_options_the_optimizer_is_the_recipes():
    plain = Config.fromfile(configs.find('mask_rcnn_localvmamba_t')).optim_wrapper
    assert prepared('mask_rcnn_localvmamba_t').optim_wrapper == plain


# --- two halves in turn -----------------------------------------------------------------------------------------------


def sampler(number: int, **options):
    return DATA_SAMPLERS.build(dict(type='AlternatingSampler', dataset=range(number), batch_size=3, seed=5, **options))


@pytest.mark.parametrize(('number', 'gathered'), [(24, 1), (25, 1), (7, 2), (2, 1)])
def test_batches_come_from_two_halves_in_turn(number, gathered):
    own = sampler(number, gathered=gathered)
    indices, block = list(own), 3 * gathered
    assert len(indices) == len(own)
    assert len(indices) % (2 * block) == 0
    blocks = [set(indices[i : i + block]) for i in range(0, len(indices), block)]
    halves = [set().union(*blocks[i::2]) for i in (0, 1)]
    assert halves[0] | halves[1] == set(range(number))
    assert not halves[0] & halves[1]


def test_each_pass_has_another_order_of_the_same_halves():
    own = sampler(24)
    first = list(own)
    own.set_epoch(1)
    second = list(own)
    assert first != second
    halves = [{i for place, i in enumerate(one) if place // 3 % 2 == 0} for one in (first, second)]
    assert halves[0] == halves[1]


@pytest.mark.parametrize(
    ('options', 'says'),
    [(dict(number=1), '1 sample makes no two halves'), (dict(number=9, gathered=0), 'gathered=0 is not supported')],
    ids=str,
)
def test_samplers_that_cannot_be(options, says):
    with pytest.raises(ValueError, match=says):
        sampler(**options)


@pytest.mark.parametrize('train_logits', [True, False])
def test_what_is_not_trained_stays(train_logits):
    logit, weight = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = torch.optim.AdamW([logit, weight], lr=0.1)
    optimizer.register_step_pre_hook(lambda own, *_: _keep_still(own, {id(logit)}, train_logits))
    for _ in range(3):
        (logit.sum() + weight.sum()).backward()
        optimizer.step()
    moved, still = (logit, weight) if train_logits else (weight, logit)
    assert torch.equal(still, torch.ones(2))
    assert not torch.equal(moved, torch.ones(2))


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_search_killed_and_resumed_is_the_undisturbed_one_to_the_last_bit(tmp_path):
    arguments = ('--noise', '--search', '--loop', 'iter', '--save-every', 3)
    run(tmp_path / 'whole', *arguments)
    run(tmp_path / 'parts', *arguments, '--die-at', 7, code=-9)
    run(tmp_path / 'parts', *arguments, '--resume', '--signal-at', 13, code=143)
    run(tmp_path / 'parts', *arguments, '--resume')
    assert dict(losses(tmp_path / 'parts')) == dict(losses(tmp_path / 'whole'))
    assert torch.equal(parameters(tmp_path / 'parts'), parameters(tmp_path / 'whole'))
    found = [directions.read(tmp_path / part / 'directions.json') for part in ('parts', 'whole')]
    assert found[0] == found[1]
    assert found[0].about['iteration'] == 20


def test_logits_and_weights_are_trained_in_turn(tmp_path):
    states = []
    for step in (4, 5, 6):
        folder = tmp_path / str(step)
        run(folder, '--search', '--loop', 'iter', '--signal-at', step - 1, code=143)
        states.append(read_checkpoint(newest(folder))['state_dict'])
    for (before, after), train_logits in zip(zip(states, states[1:]), (False, True)):
        for name, value in after.items():
            assert torch.equal(value, before[name]) == (name.endswith(search.KEY) != train_logits), name


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
    """A config, its work folder after a search that stopped by itself, and what the console had."""
    folder = tmp_path_factory.mktemp('search')
    config = small.write(folder, train=4, val=1, epochs=5)
    options = ['--candidates', 'h', 'v', 'h_flip', 'w2', 'mmvssm.scans.columns', '--force', 'w2', '--patience', '2']
    commands.main(['search', str(config), '--work-dir', str(folder / 'w'), '--logit-lr', '0.01', *options])
    return config, folder / 'w'


def test_the_search_leaves_a_file_a_config_and_pictures(searched):
    _, folder = searched
    found = directions.read(folder / 'directions.json')
    assert {len(layer.chosen) for layer in found.layers} == {4}
    assert all('w2' in layer.chosen for layer in found.layers)
    assert found.about['k'] == 4
    assert {'mmvssm', 'torch'} == set(found.about['versions'])
    assert all((folder / name).stat().st_size > 10_000 for name in ('directions.png', 'paths.png'))


def test_the_search_stops_when_the_choice_stays(searched):
    _, folder = searched
    assert not (folder / 'epoch_5.pth').exists()
    log = next(folder.glob('*/*.log')).read_text()
    assert 'the choice has not changed for 2 reports: the search ends here' in log
    assert 'layer  0  entropy 1.000' in log
    assert 'search/layer_0/h' in next(folder.glob('*/vis_data/scalars.json')).read_text()


def test_the_checkpoint_tells_the_same_choice(searched):
    _, folder = searched
    found = directions.read(folder / 'directions.json')
    layers = search.choices_in(unwrap(read_checkpoint(newest(folder))), found.layers[0].candidates)
    assert [search.choose(layer, 4, ['w2']) for layer in layers] == [layer.chosen for layer in found.layers]


def test_the_searched_config_trains_at_once(searched, tmp_path):
    _, folder = searched
    given = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=9']
    commands.main(['train', str(folder / 'searched.py'), '--work-dir', str(tmp_path), '--cfg-options', *given])
    assert (tmp_path / 'epoch_1.pth').exists()
    backbone = Config.fromfile(folder / 'searched.py').model.backbone
    assert Path(backbone.scan_orders) == folder / 'directions.json'


def test_a_checkpoint_is_read_by_the_command(searched, tmp_path, capsys):
    config, folder = searched
    names = ['h', 'v', 'h_flip', 'w2', 'mmvssm.scans.columns']
    arguments = ['--read', str(newest(folder)), '--candidates', *names, '--work-dir', str(tmp_path)]
    commands.main(['search', str(config), *arguments])
    assert 'layer  0  entropy' in capsys.readouterr().out
    assert len(directions.read(tmp_path / 'directions.json').layers) == 5
    assert "'scan_orders': '{{ fileDirname }}/directions.json'" in (tmp_path / 'searched.py').read_text()
    runpy.run_path(str(tmp_path / 'searched.py'))


def zeros(height, width):
    return torch.zeros(height * width, dtype=torch.int64)


def nothing():
    return torch.zeros(1)


WRONG = [
    ([], 'which config?'),
    (['mask_rcnn_vil_t'], 'VisionLSTM has no scan directions'),
    (['upernet_vmamba_t', '--k', '3'], '--k 3: a layer of VMamba has 4 scan directions; allowed: 4'),
    (['upernet_vmamba_t', '--candidates', 'h', 'x'], r"--candidates\[1\]: scan order 'x' is unknown"),
    (['upernet_vmamba_t', '--temperature', '1', '0'], '--temperature 1.0 0.0: allowed: one or two numbers above 0'),
    (['upernet_vmamba_t', '--patience', '0'], '--patience 0: allowed: 1 or more'),
    (['upernet_vmamba_t', '--logit-lr', '-1'], '--logit-lr -1.0: allowed'),
    (['upernet_localvim_t', '--force', 'w9'], '--force w9: no candidate; allowed: h, h_flip'),
    (['upernet_localvim_t', '--k', '9'], '--k 9: allowed: 1 to 8'),
    (['upernet_vmamba_t', '--candidates', 'h', 'v'], '--candidates h v: 2 are fewer than the 4 that a layer keeps'),
    (['upernet_localvim_t', '--candidates', 'h', 'v'], 'name more, or give --k 1 to 2'),
    (['upernet_localvim_t', '--candidates', 'h', 'v', 'h'], '--candidates h v h: allowed: each order once'),
    (['upernet_localvim_t', '--k', '0'], '--k 0: allowed: 1 or more'),
    (['upernet_localvim_t', '--candidates', 'h', f'{__name__}.zeros'], r'--candidates\[1\].* gives token 0 35 times'),
    (['upernet_localvim_t', '--candidates', 'h', f'{__name__}.nothing'], r'--candidates\[1\].* fails on a map'),
    (['nothing'], 'there is no config nothing'),
    (['--read', 'none.pth'], 'none.pth'),
]


@pytest.mark.parametrize(('arguments', 'says'), WRONG, ids=[' '.join(arguments) for arguments, _ in WRONG])
def test_a_wrong_command_line_is_told_in_words(arguments, says, capsys):
    with pytest.raises(SystemExit, match=f'^error: .*{says}'):
        commands.main(['search', *arguments])


def test_what_the_searched_model_does_not_load(tmp_path):
    base = tmp_path / 'base.py'
    backbone = "type='mmvssm.VMamba', arch='test_vmamba', init_cfg=dict(type='Pretrained', checkpoint='x.pth')"
    base.write_text(f"load_from = 'y.pth'\nmodel = dict(backbone=dict({backbone}))\n")
    (tmp_path / 'searched.py').write_text(searching.searched_config(base))
    cfg = Config.fromfile(tmp_path / 'searched.py')
    assert (cfg.load_from, cfg.model.backbone.init_cfg) == (None, None)


def test_sharded_logits_are_refused(tmp_path):
    from mmvssm import create_model
    from mmvssm.openmmlab.hooks.search import DirectionSearchHook

    class Run:
        model = create_model('test_localvmamba', directions=None)

    layer = next(module for module in Run.model.modules() if hasattr(module, 'candidates'))
    layer.weights = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(UsageError, match='sharded parameters'):
        DirectionSearchHook().before_train(Run)


def test_a_resumed_search_has_the_candidates_that_it_had(searched, tmp_path):
    config, folder = searched
    shutil.copytree(folder, tmp_path / 'w')
    arguments = ['search', str(config), '--work-dir', str(tmp_path / 'w'), '--resume', '--candidates']
    had = 'h v h_flip w2 mmvssm.scans.columns'
    for others in (['h', 'v', 'h_flip', 'w2', 'w7'], ['h', 'v', 'h_flip', 'w2']):
        with pytest.raises(SystemExit, match=f'error: --candidates {" ".join(others)}: .* has others\ngive .* {had},'):
            commands.main([*arguments, *others])


def test_a_checkpoint_knows_its_candidates_and_k(searched, tmp_path, capsys):
    _, folder = searched
    commands.main(['search', '--read', str(newest(folder)), '--work-dir', str(tmp_path)])
    found, own = directions.read(tmp_path / 'directions.json'), directions.read(folder / 'directions.json')
    assert found.layers == own.layers
    assert {key: found.about.get(key) for key in ('model', 'k', 'base')} == {
        key: own.about.get(key) for key in ('model', 'k', 'base')
    }
    assert f'mmvssm train {tmp_path / "searched.py"}' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='has others, h v h_flip w2'):
        commands.main(['search', '--read', str(newest(folder)), '--candidates', 'v', 'h', 'w2', 'w3', 'w5'])


@pytest.mark.parametrize(
    ('config', 'says'),
    [
        ('demo/mask_rcnn_vim_nuclei', 'has a search of 5 layers, the model of .* has'),
        ('demo/mask_rcnn_vil_nuclei', 'VisionLSTM has no scan directions'),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(searched, config, says):
    _, folder = searched
    with pytest.raises(SystemExit, match=says):
        commands.main(['search', config, '--read', str(newest(folder))])


def test_a_checkpoint_of_no_search_is_refused(tmp_path):
    torch.save(dict(state_dict={'backbone.a': torch.zeros(2)}), tmp_path / 'a.pth')
    with pytest.raises(SystemExit, match=r'a\.pth is no checkpoint of a search'):
        commands.main(['search', '--read', str(tmp_path / 'a.pth')])
    torch.save(dict(state_dict={'b.multi_scan.weights': torch.zeros(8)}), tmp_path / 'b.pth')
    with pytest.raises(SystemExit, match=r'b\.pth has no averaged weights: leave out --ema'):
        commands.main(['search', '--read', str(tmp_path / 'b.pth'), '--ema'])


def test_a_family_keeps_its_number(tmp_path):
    state = {f'layers.{i}.multi_scan.weights': torch.arange(8.0) for i in range(4)}
    torch.save(dict(state_dict=state), tmp_path / 'vim.pth')
    base = configs.find('demo/mask_rcnn_vim_nuclei')
    found = searching.read(str(tmp_path / 'vim.pth'), base, Options())
    assert {len(layer.chosen) for layer in found.layers} == {2}


def test_what_was_said_of_the_model_is_in_the_searched_config(tmp_path):
    base = configs.find('demo/mask_rcnn_localvmamba_nuclei')
    given = {'model.backbone.depths': [1, 1, 1, 1], 'model.roi_head.bbox_head.num_classes': 3}
    (tmp_path / 'searched.py').write_text(searching.searched_config(base, given))
    model = Config.fromfile(tmp_path / 'searched.py').model
    assert model.backbone.depths == [1, 1, 1, 1]
    assert model.backbone.directions == f'{tmp_path}/directions.json'
    assert model.roi_head.bbox_head.num_classes == 3
