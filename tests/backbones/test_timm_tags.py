"""timm's tags, pretrained_cfg, overlays and hub folders: what each loads, and that nothing is taken and dropped."""

import importlib
import sys

import pytest
import timm
import torch

import mmvssm
from mmvssm import weights

factory = importlib.import_module('mmvssm.backbones._timm')
MICRO = 'test_vmamba'
FIRST = 'patch_embed.0.weight'
CLASSES = 5


@pytest.fixture(scope='module')
def trained():
    torch.manual_seed(0)
    return mmvssm.create_model(MICRO, num_classes=CLASSES)


@pytest.fixture
def file(trained, tmp_path):
    torch.save({'model': trained.state_dict()}, tmp_path / 'mine.pth')
    return str(tmp_path / 'mine.pth')


@pytest.fixture
def fetched(monkeypatch):
    """URLs that were asked for, in place of downloads."""
    urls = []

    def download(url, **_):
        urls.append(url)
        raise weights.DownloadError('asked for')

    monkeypatch.setattr(weights, 'download', download)
    return urls


def same(model, other) -> bool:
    mine, theirs = model.state_dict(), other.state_dict()
    return list(mine) == list(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_every_published_checkpoint_is_a_tag_with_its_address():
    for checkpoint in weights.PUBLISHED.values():
        cfg = timm.models.get_pretrained_cfg(checkpoint.name)
        assert (cfg.url, cfg.architecture, cfg.license) == (checkpoint.url, checkpoint.model, checkpoint.license)
    assert set(weights.PUBLISHED) <= set(timm.list_pretrained())
    assert set(weights.PUBLISHED) <= set(timm.list_models(pretrained=True))


@pytest.mark.parametrize('model', sorted({c.model for c in weights.PUBLISHED.values()}))
def test_a_name_without_a_tag_means_the_default_checkpoint(model):
    assert timm.models.get_pretrained_cfg(model).url == weights.default_checkpoint(model).url


@pytest.mark.parametrize('create', [timm.create_model, mmvssm.create_model], ids=['timm', 'mmvssm'])
@pytest.mark.parametrize('name', ['vil2_tiny.e400_in1k', 'vil2_tiny', 'vil2_tiny.e800_in1k'])
def test_a_tag_fetches_its_own_file(create, name, fetched, monkeypatch):
    monkeypatch.setattr(factory, '_build', lambda *_: torch.nn.Module())  # the network is not needed
    with pytest.raises(weights.DownloadError, match='asked for'):
        create(name, pretrained=True)
    expected = weights.PUBLISHED.get(name) or weights.default_checkpoint(name)
    assert fetched == [expected.url]


@pytest.mark.parametrize('pretrained', [True, False])
def test_an_unknown_tag_is_an_error(pretrained, fetched):
    with pytest.raises(RuntimeError, match='Invalid pretrained tag'):
        timm.create_model('vil2_tiny.nonsense', pretrained=pretrained)
    with pytest.raises(
        ValueError, match=r"unknown model 'vil2_tiny\.e40_in1k'; .*: vil2_tiny\.e\S+, .*vil2_tiny\.e400_in1k"
    ):
        mmvssm.create_model('vil2_tiny.e40_in1k', pretrained=pretrained)
    assert not fetched


def test_one_name_everywhere_without_weights_too():
    with torch.device('meta'):
        model = mmvssm.create_model('vmamba_tiny_s1l8.in1k')
    assert model.variant == 'vmamba_tiny_s1l8'
    assert model.pretrained_cfg['tag'] == 'in1k'


def test_a_published_name_is_a_source_of_weights(fetched, monkeypatch):
    monkeypatch.setattr(sys.modules['mmvssm.weights.source'], 'download', weights.download)
    with pytest.raises(weights.DownloadError, match='asked for'):
        weights.read_checkpoint('vil2_tiny.e400_in1k')
    assert fetched == [weights.PUBLISHED['vil2_tiny.e400_in1k'].url]


@pytest.mark.parametrize('argument', ['pretrained_cfg', 'pretrained_cfg_overlay'])
@pytest.mark.parametrize('key', ['file', 'url', 'state_dict'])
def test_a_source_of_ones_own(argument, key, trained, file):
    source = dict(file=file, url=f'file://{file}', state_dict=trained.state_dict())[key]
    given = {argument: {key: source, 'num_classes': CLASSES}}
    model = timm.create_model(MICRO, pretrained=True, **given)
    assert same(model, trained)
    assert 'state_dict' not in model.pretrained_cfg
    assert list(given[argument]) == [key, 'num_classes']
    assert not same(timm.create_model(MICRO, **given), trained)


def test_an_overlay_describes_images_and_classes():
    overlay = dict(mean=(0.0, 0.5, 1.0), std=(1.0, 1.0, 2.0), input_size=(1, 96, 64), num_classes=7, crop_pct=0.5)
    model = timm.create_model(MICRO, pretrained_cfg_overlay=overlay)
    data = timm.data.resolve_model_data_config(model)
    assert {key: data[key] for key in ('mean', 'std', 'input_size', 'crop_pct')} == {
        key: overlay[key] for key in ('mean', 'std', 'input_size', 'crop_pct')
    }
    assert (model.num_classes, model.in_chans) == (7, 1)
    own = timm.create_model(MICRO, num_classes=3, in_chans=2, pretrained_cfg_overlay=overlay)
    assert (own.num_classes, own.in_chans) == (3, 2)


def test_a_fixed_input_size_is_the_models():
    model = timm.create_model('test_vim', pretrained_cfg_overlay=dict(fixed_input_size=True, input_size=(3, 32, 48)))
    assert model.img_size == (64, 64), 'the variant has a size of its own'
    free = timm.create_model('vim_tiny', pretrained_cfg_overlay=dict(fixed_input_size=True, input_size=(3, 32, 48)))
    assert free.img_size == (32, 48)


def test_a_label_offset_leaves_out_the_background_class(trained, file):
    overlay = dict(file=file, num_classes=CLASSES - 1, label_offset=1)
    model = timm.create_model(MICRO, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.classifier.head.weight, trained.classifier.head.weight[1:])
    assert torch.equal(model.state_dict()[FIRST], trained.state_dict()[FIRST])


@pytest.mark.parametrize('key', ['file', 'state_dict'])
def test_another_models_file_is_refused_on_each_way(key, tmp_path):
    state = mmvssm.create_model('test_localvmamba').state_dict()
    torch.save(state, tmp_path / 'other.pth')
    source = dict(file=str(tmp_path / 'other.pth'), state_dict=state)[key]
    with pytest.raises(weights.KeyMismatchError, match='it looks like test_localvmamba'):
        timm.create_model(MICRO, pretrained=True, pretrained_cfg_overlay={key: source})


def test_a_detectors_checkpoint_is_a_tag_of_its_backbone(fetched):
    name = 'vmamba_tiny_s1l8.mask_rcnn_1x_coco'
    with torch.device('meta'), pytest.raises(weights.DownloadError, match='asked for'):
        mmvssm.create_model(name, pretrained=True, features_only=True, out_norms=True)
    assert fetched == [weights.PUBLISHED[name].url]
    assert timm.models.get_pretrained_cfg(name).num_classes == 0


def test_a_classifier_from_a_detectors_file_says_what_to_build():
    backbone = mmvssm.create_model(MICRO, features_only=True, out_norms=True).state_dict()
    with pytest.raises(weights.KeyMismatchError, match='without a classifier: build that with features_only=True'):
        mmvssm.load_weights(mmvssm.create_model(MICRO), backbone)
    with pytest.raises(weights.KeyMismatchError, match='such a file wants out_norms=True'):
        mmvssm.load_weights(mmvssm.create_model(MICRO, features_only=True), backbone)


needs_hub = pytest.mark.skipif(
    not timm.models._hub.has_hf_hub(), reason='timm finds no huggingface_hub that it can use'
)


@needs_hub
@pytest.mark.parametrize('safe', [True, False], ids=['safetensors', 'torch'])
@pytest.mark.parametrize('name', ['test_vmamba', 'test_vim'])
def test_a_hub_folder_gives_back_classes_mean_and_weights(name, safe, tmp_path, monkeypatch):
    options = dict(num_classes=CLASSES) | (dict(rope=True, class_token='first') if name == 'test_vim' else {})
    mine = timm.create_model(name, pretrained_cfg_overlay=dict(mean=(0.1, 0.2, 0.3)), **options)
    arguments = {key: value for key, value in options.items() if key != 'num_classes'}
    timm.models._hub.save_for_hf(mine, str(tmp_path), model_args=arguments, safe_serialization=safe)

    def from_folder(repo, filename, **_):
        if not (tmp_path / filename).is_file():
            raise EntryNotFoundError(filename)
        return str(tmp_path / filename)

    class EntryNotFoundError(Exception):
        pass

    monkeypatch.setattr(timm.models._hub, 'download_from_hf', from_folder)
    names = ['hf-hub:me/mine'] + [f'local-dir:{tmp_path}'] * hasattr(timm.models._hub, 'load_model_config_from_path')
    for source in names:
        for create in (timm.create_model, mmvssm.create_model):
            model = create(source, pretrained=True)
            assert same(model, mine)
            assert model.num_classes == CLASSES
            assert tuple(model.pretrained_cfg['mean']) == (0.1, 0.2, 0.3)
        assert not same(timm.create_model(source), mine)


@needs_hub
def test_a_hub_file_of_another_model_is_refused(tmp_path, monkeypatch):
    timm.models._hub.save_for_hf(timm.create_model(MICRO), str(tmp_path))
    torch.save(mmvssm.create_model('test_localvmamba').state_dict(), tmp_path / 'pytorch_model.bin')
    monkeypatch.setattr(timm.models._hub, 'download_from_hf', lambda repo, name, **_: str(tmp_path / name))
    overlay = dict(hf_hub_id='me/mine', hf_hub_filename='pytorch_model.bin')
    with pytest.raises(weights.KeyMismatchError):
        timm.create_model(MICRO, pretrained=True, pretrained_cfg_overlay=overlay)


def test_a_hub_repository_without_weights_is_told():
    class EntryNotFoundError(Exception):
        pass

    def nothing(repo, filename, **_):
        raise EntryNotFoundError(f'no {filename}')

    with pytest.raises(weights.DownloadError, match='weights of me/mine could not be downloaded'):
        weights.fetch_from_hub(nothing, 'me/mine')


def test_a_folder_with_several_files_is_ambiguous(tmp_path):
    for name in ('a.pth', 'b.pth'):
        torch.save({}, tmp_path / name)
    with pytest.raises(weights.CheckpointError, match=r'found: a\.pth, b\.pth'):
        weights.weights_in(tmp_path)
    (tmp_path / 'a.pth').unlink()
    assert weights.weights_in(tmp_path) == tmp_path / 'b.pth'
