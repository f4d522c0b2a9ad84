"""What was published: checkpoint files with their results, and results whose weights were never released.

The figures are those of the official repositories and papers (sources in each family's section). No authors publish
checksums; a downloaded file is checked by its content instead (`num_params`, and which variant it fits). The licence
is that of the repository: none states one for its weights alone.
"""

import difflib
from dataclasses import dataclass

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

STATES = ('weights published', 'weights never released', 'architecture only')


@dataclass(frozen=True, kw_only=True)
class Result:
    """A published figure.

    model: variant name; task: 'imagenet', 'coco' or 'ade20k'; method: detector or segmentor and schedule
    metrics: name -> figure, e.g. top1, box_AP, box_APs (small objects), mask_AP75, mIoU, mIoU_ms (multi-scale)
    params, flops: of the whole network, as published ('42M', '286G')
    remark: what a reader must know; `unverified` where the figure could not be traced to its authors' own text
    """

    model: str
    task: str
    metrics: dict[str, float]
    method: str = ''
    params: str = ''
    flops: str = ''
    remark: str = ''
    unverified: bool = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Result):
    """A published file and its result.

    num_params: elements of the file's weights, buffers aside (a detector's: its backbone's)
    sha256: None, since no authors give one
    default: whether `pretrained=True` takes it
    """

    name: str
    url: str
    license: str
    num_params: int
    sha256: str | None = None
    default: bool = False

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rsplit('/', 1)[-1]

    @property
    def evaluation(self) -> dict:
        """How images were prepared for the ImageNet figure: input_size, crop_pct, interpolation, mean, std."""
        return evaluation(self.model)


PUBLISHED: dict[str, Checkpoint] = {}
RESULTS: list[Result] = []  # figures without weights
NOTES: dict[str, str] = {}  # variant -> what is to be known of its state


def _file(name: str, **fields) -> None:
    model, _ = name.split('.')
    PUBLISHED[name] = Checkpoint(name=name, model=model, **fields)


def _ap(box: str, mask: str) -> dict[str, float]:
    """'46.5/68.5/50.7' for boxes and masks -> named figures."""
    figures = {}
    for kind, text in (('box', box), ('mask', mask)):
        figures |= {f'{kind}_AP{at}': float(value) for at, value in zip(('', '50', '75'), text.split('/'))}
    return figures


# VMamba: arXiv 2401.10166 and the README of MzeroMiko/VMamba

_VMAMBA = 'https://github.com/MzeroMiko/VMamba/releases/download/%23'

# variant: parameters of the classifier, of the backbone with out-norms; published parameters, FLOPs, top-1; file
_VMAMBA_CLASSIFIERS = {
    'vmambav0_tiny': (22_893_448, 22_125_792, '23M', '5.6G', 82.2, 'v0cls/vssmtiny_dp01_ckpt_epoch_292.pth'),
    'vmambav0_small': (44_417_416, 43_649_760, '44M', '11.2G', 83.5, 'v0cls/vssmsmall_dp03_ckpt_epoch_238.pth'),
    'vmambav0_base': (76_254_056, 75_230_848, '76M', '18.0G', 83.7, 'v0cls/vssmbase_dp06_ckpt_epoch_241.pth'),
    'vmamba_tiny_0220': (32_484_904, 31_717_248, '32M', '5G', 82.5, '20240220/vssmtiny_dp02_ckpt_epoch_258.pth'),
    'vmamba_tiny_s2l5': (30_705_832, 29_938_176, '31M', '4.9G', 82.5, 'v2cls/vssm_tiny_0230_ckpt_epoch_262.pth'),
    'vmamba_small_s2l15': (50_147_752, 49_380_096, '50M', '8.7G', 83.6, 'v2cls/vssm_small_0229_ckpt_epoch_222.pth'),
    'vmamba_base_s2l15': (88_557_800, 87_534_592, '89M', '15.4G', 83.9, 'v2cls/vssm_base_0229_ckpt_epoch_237.pth'),
    'vmamba_tiny_s1l8': (30_249_064, 29_481_408, '30M', '4.9G', 82.6, 'v2cls/vssm1_tiny_0230s_ckpt_epoch_264.pth'),
    'vmamba_small_s1l20': (49_012_840, 48_245_184, '49M', '8.6G', 83.3, 'v2cls/vssm1_small_0229s_ckpt_epoch_240.pth'),
    'vmamba_base_s1l20': (86_614_504, 85_591_296, '87M', '15.2G', 83.8, 'v2cls/vssm1_base_0229s_ckpt_epoch_225.pth'),
}  # fmt: skip
_OLDER_RELEASE = (
    "listed in an older table of the authors, under the release that is linked; today's table leaves it out and has "
    'the files beside it under other releases'
)
_SLIP = '384 G in the README, a slip: the paper has 349 G, which is what the network counts'
_DP05 = 'starts from vmambav0_base.dp05_in1k'
# variant, schedule: parameters, FLOPs at 1280x800, box AP, mask AP, what of the file name differs
_VMAMBA_DETECTORS = [
    ('vmambav0_tiny', '1x', '42M', '286G', '46.5/68.5/50.7', '42.1/65.5/45.3', 'epoch_12'),
    ('vmambav0_small', '1x', '64M', '400G', '48.2/69.7/52.5', '43.0/66.6/46.4', 'epoch_12'),
    ('vmambav0_base', '1x', '96M', '540G', '48.6/70.0/53.1', '43.3/67.1/46.7', 'epoch_12'),
    ('vmamba_tiny_s2l5', '1x', '50M', '270G', '47.4/69.5/52.0', '42.7/66.3/46.0', 'tiny_epoch_12'),
    ('vmamba_small_s2l15', '1x', '70M', '349G', '48.7/70.0/53.4', '43.7/67.3/47.0', 'small_epoch_11'),
    ('vmamba_base_s2l15', '1x', '108M', '485G', '49.2/71.4/54.0', '44.1/68.3/47.7', 'base_epoch_11'),
    ('vmamba_base_s2l15', '1x_bs8', '108M', '485G', '49.2/70.9/53.9', '43.9/67.7/47.6', 'base_epoch_12_bs8'),
    ('vmamba_tiny_s1l8', '1x', '50M', '271G', '47.3/69.3/52.0', '42.7/66.4/45.9', 'tiny_s_epoch_12'),
    ('vmambav0_tiny', '3x', '42M', '286G', '48.5/70.0/52.7', '43.2/66.9/46.4', 'ms_3x_epoch_34'),
    ('vmambav0_small', '3x', '64M', '400G', '49.7/70.4/54.2', '44.0/67.6/47.3', 'ms_3x_epoch_34'),
    ('vmamba_tiny_s2l5', '3x', '50M', '270G', '48.9/70.6/53.6', '43.7/67.7/46.8', 'tiny_ms_3x_epoch_36'),
    ('vmamba_small_s2l15', '3x', '70M', '349G', '49.9/70.9/54.7', '44.2/68.2/47.7', 'small_ms_3x_epoch_32'),
    ('vmamba_tiny_s1l8', '3x', '50M', '271G', '48.8/70.4/53.5', '43.7/67.4/47.0', 'tiny_ms_3x_s_epoch_31'),
]  # fmt: skip
# variant: parameters, FLOPs at 512x2048, mIoU, multi-scale mIoU, what of the file name differs
_VMAMBA_SEGMENTORS = [
    ('vmambav0_tiny', '55M', '964G', 47.3, 48.3, 'iter_160000'),
    ('vmambav0_small', '76M', '1081G', 49.5, 50.5, 'iter_160000'),
    ('vmambav0_base', '110M', '1226G', 50.0, 51.3, 'iter_128000'),
    ('vmamba_tiny_s2l5', '62M', '948G', 48.3, 48.6, 'tiny_iter_160000'),
    ('vmamba_small_s2l15', '82M', '1028G', 50.6, 51.2, 'small_iter_144000'),
    ('vmamba_base_s2l15', '122M', '1170G', 51.0, 51.6, 'base_iter_160000'),
    ('vmamba_tiny_s1l8', '62M', '949G', 47.9, 48.8, 'tiny_s_iter_160000'),
]  # fmt: skip


def _vmamba_url(model: str, kind: str, what: str) -> str:
    """URL of a detector ('det') or segmentor ('seg'): the two generations name their files differently."""
    setting = 'fpn_coco' if kind == 'det' else '4xb4-160k_ade20k-512x512'
    method = 'mask_rcnn' if kind == 'det' else 'upernet'
    if model.startswith('vmambav0'):
        name = f'vssm{model.split("_")[1]}_{method}_{"swin_" if kind == "det" else ""}{setting}'
    else:
        name = f'{method}_vssm_{setting}'
    return f'{_VMAMBA}{"v0" if model.startswith("vmambav0") else "v2"}{kind}/{name}_{what}.pth'


for _model, (_count, _, _params, _flops, _top1, _path) in _VMAMBA_CLASSIFIERS.items():
    _file(
        f'{_model}.in1k',
        task='imagenet',
        metrics={'top1': _top1},
        params=_params,
        flops=_flops,
        url=_VMAMBA + _path,
        license='MIT',
        num_params=_count,
        remark=_OLDER_RELEASE if _model == 'vmamba_tiny_0220' else '',
        default=True,
    )
_file(
    'vmambav0_base.dp05_in1k',
    task='imagenet',
    metrics={'top1': 83.2},
    params='75M',
    flops='18.0G',
    url=_VMAMBA + '20240218/vssmbase_dp05_ckpt_epoch_260.pth',
    license='MIT',
    num_params=76_254_056,
    remark='trained with drop path 0.5 and without EMA; the detector and segmentor of Vanilla-VMamba-B start from it; '
    + _OLDER_RELEASE,
)
for _model, _schedule, _params, _flops, _box, _mask, _what in _VMAMBA_DETECTORS:
    _file(
        f'{_model}.mask_rcnn_{_schedule}_coco',
        task='coco',
        method=f'Mask R-CNN {_schedule.replace("_bs8", ", batch 8").replace("3x", "3x multi-scale")}',
        metrics=_ap(_box, _mask),
        params=_params,
        flops=_flops,
        url=_vmamba_url(_model, 'det', _what),
        license='MIT',
        num_params=_VMAMBA_CLASSIFIERS[_model][1],
        remark={'vmambav0_base': _DP05, 'vmamba_small_s2l15': _SLIP}.get(_model, ''),
    )
for _model, _params, _flops, _single, _multi, _what in _VMAMBA_SEGMENTORS:
    _file(
        f'{_model}.upernet_160k_ade20k',
        task='ade20k',
        method='UperNet 160k, 512x512',
        metrics={'mIoU': _single, 'mIoU_ms': _multi},
        params=_params,
        flops=_flops,
        url=_vmamba_url(_model, 'seg', _what),
        license='MIT',
        num_params=_VMAMBA_CLASSIFIERS[_model][1],
        remark=_DP05 if _model == 'vmambav0_base' else '',
    )
_file(
    'vmambav0_small.upernet_160k_ade20k_640',
    task='ade20k',
    method='UperNet 160k, 640x640',
    metrics={'mIoU': 50.8, 'mIoU_ms': 50.8},
    params='76M',
    flops='1689G',
    url=_VMAMBA + '20240223/vssmsmall_upernet_4xb4-160k_ade20k-640x640_iter_112000.pth',
    license='MIT',
    num_params=_VMAMBA_CLASSIFIERS['vmambav0_small'][1],
    remark='FLOPs at 640x2560; ' + _OLDER_RELEASE,
)
NOTES['vmamba_tiny_0220'] = (
    "VMamba-T(0220) of the authors' older table, the first of the second generation and still gated; built from its "
    'published config, which gives the 32 M and 5 G of the table; the names in its file were not seen'
)

# LocalMamba: arXiv 2403.09338 and the README of hunto/LocalMamba

_LOCALMAMBA = 'https://github.com/hunto/LocalMamba/releases/download/v1.0.0/'
_REPRINT = 'from reprints of the paper in later work, not from the repository'

for _name, _params, _flops, _top1, _count, _path in (
    ('localvim_tiny.in1k', '8M', '1.5G', 76.2, 7_994_152, 'local_vim_tiny.ckpt'),
    ('localvim_tiny_midcls.in1k', '8M', '1.5G', 77.8, 7_994_536, 'local_vim_tiny_middle_cls_token.ckpt'),
    ('localvmamba_small.in1k', '50M', '11.4G', 83.7, 49_748_536, 'local_vssm_small.ckpt'),
):
    _file(
        _name,
        task='imagenet',
        metrics={'top1': _top1},
        params=_params,
        flops=_flops,
        url=_LOCALMAMBA + _path,
        license='Apache-2.0',
        num_params=_count,
        default=True,
    )

RESULTS += [
    Result(model='localvmamba_tiny', task='imagenet', metrics={'top1': 82.7}, params='26M', flops='5.7G'),
    Result(
        model='localvim_small',
        task='imagenet',
        metrics={'top1': 81.1},
        params='28M',
        flops='4.8G',
        remark='81.2 in the paper; which of the two direction lists it was trained with is not recorded',
    ),
]
for _model, _params, _flops, _box1, _mask1, _box3, _mask3 in (
    ('localvmamba_tiny', '45M', '291G', '46.7/68.7/50.8', '42.2/65.7/45.5', '48.7/70.1/53.0', '43.4/67.0/46.4'),
    ('localvmamba_small', '69M', '414G', '48.4/69.9/52.7', '43.2/66.7/46.5', '49.9/70.5/54.4', '44.1/67.8/47.4'),
):
    for _method, _box, _mask in (('Mask R-CNN 1x', _box1, _mask1), ('Mask R-CNN 3x multi-scale', _box3, _mask3)):
        RESULTS.append(
            Result(
                model=_model,
                task='coco',
                method=_method,
                metrics=_ap(_box, _mask),
                params=_params,
                flops=_flops,
                remark=_REPRINT,
                unverified=True,
            )
        )
for _model, _params, _flops, _single, _multi, _counted in (
    ('localvim_tiny', '36M', '181G', 43.4, 44.4, '158 G'),
    ('localvim_small', '58M', '297G', 46.4, 47.5, '252 G'),
    ('localvmamba_tiny', '57M', '970G', 47.9, 49.1, ''),
    ('localvmamba_small', '81M', '1095G', 50.0, 51.0, ''),
):
    RESULTS.append(
        Result(
            model=_model,
            task='ade20k',
            method='UperNet 160k, 512x512',
            metrics={'mIoU': _single, 'mIoU_ms': _multi},
            params=_params,
            flops=_flops,
            remark=_REPRINT
            + (f'; the FLOPs are unexplained: the released network counts {_counted} here' if _counted else ''),
            unverified=True,
        )
    )
NOTES |= {
    'localvmamba_tiny': 'local_vssm_tiny.ckpt, which the official configs name, was never released (the README says '
    '"retraining")',
    'localvim_small': 'the README links local_vssm_small.ckpt under this name, which is LocalVMamba-S',
    'localvim_small_unsearched': 'the official code defines this network under the same name as localvim_small',
    'localvim_tiny_unsearched': 'an ablation of the official code; no weights of it are known',
}

# EfficientVMamba: arXiv 2403.09977 and the README of TerryPei/EfficientVMamba

for _model, _size, _params, _flops, _count, _top1 in (
    ('efficientvmamba_tiny', 'Tiny', '6M', '0.8G', 6_493_660, 76.5),
    ('efficientvmamba_small', 'Small', '11M', '1.3G', 11_273_688, 78.7),
    ('efficientvmamba_base', 'Base', '33M', '4.0G', 33_717_136, 81.8),
):
    _file(
        f'{_model}.in1k',
        task='imagenet',
        metrics={'top1': _top1},
        params=_params,
        flops=_flops,
        url=f'https://huggingface.co/TerryPei/EfficientVMamba-{_size}/resolve/main/'
        f'efficient_vmamba_{_size.lower()}.ckpt',
        license='Apache-2.0',
        num_params=_count,
        remark='the file and the licence are those that the hub page lists',
        default=True,
    )
# what the published sizes say of heads that the authors do not describe
_HEADS = {
    ('efficientvmamba_tiny', 'Mask R-CNN'): 'Mask R-CNN has the published size with heads of half the usual width',
    ('efficientvmamba_tiny', 'RetinaNet'): 'the size of RetinaNet is unexplained: the usual head makes 16.0 M',
    ('efficientvmamba_small', 'RetinaNet'): 'the size of RetinaNet is unexplained: the usual head makes 21.0 M',
    ('efficientvmamba_tiny', 'UperNet'): 'UperNet has the published size with a decoder of 256 channels',
    ('efficientvmamba_small', 'UperNet'): 'UperNet has the published size with a decoder of 384 channels',
}
# variant: Mask R-CNN parameters, FLOPs, 1x box and mask, 3x box and mask; UperNet parameters, FLOPs, mIoU; RetinaNet
for _model, _det, _seg, _retina in (
    (
        'efficientvmamba_tiny',
        ('11M', '60G', '35.6/57.7/38.0', '33.2/54.4/35.1', '38.3/60.3/41.6', '35.3/57.2/37.6'),
        ('14M', '230G', 38.9, 39.3),
        ('13M', 37.5, 57.8, 39.6, 22.6, 40.7, 49.1),
    ),
    (
        'efficientvmamba_small',
        ('31M', '197G', '39.3/61.8/42.6', '36.7/58.9/39.2', '41.6/63.9/45.6', '38.2/60.8/40.7'),
        ('29M', '505G', 41.5, 42.1),
        ('19M', 39.1, 60.3, 41.2, 23.9, 43.0, 51.3),
    ),
    (
        'efficientvmamba_base',
        ('53M', '252G', '43.7/66.2/47.9', '40.2/63.3/42.9', '45.0/66.9/49.2', '40.8/64.1/43.7'),
        ('65M', '930G', 46.5, 47.3),
        ('44M', 42.8, 63.9, 45.8, 27.3, 46.9, 55.1),
    ),
):
    _params, _flops, _box1, _mask1, _box3, _mask3 = _det
    for _method, _box, _mask in (('Mask R-CNN 1x', _box1, _mask1), ('Mask R-CNN 3x multi-scale', _box3, _mask3)):
        RESULTS.append(
            Result(
                model=_model,
                task='coco',
                method=_method,
                metrics=_ap(_box, _mask),
                params=_params,
                flops=_flops,
                remark=_HEADS.get((_model, 'Mask R-CNN'), ''),
            )
        )
    RESULTS.append(
        Result(
            model=_model,
            task='coco',
            method='RetinaNet 1x',
            metrics=dict(zip([f'box_AP{at}' for at in ('', '50', '75', 's', 'm', 'l')], _retina[1:])),
            params=_retina[0],
            remark=_HEADS.get((_model, 'RetinaNet'), ''),
        )
    )
    RESULTS.append(
        Result(
            model=_model,
            task='ade20k',
            method='UperNet 160k, 512x512',
            metrics={'mIoU': _seg[2], 'mIoU_ms': _seg[3]},
            params=_seg[0],
            flops=_seg[1],
            remark=_HEADS.get((_model, 'UperNet'), ''),
        )
    )

# Vision-LSTM: arXiv 2406.04303 and the README and hubconf of NX-AI/vision-lstm

_VIL = 'https://ml.jku.at/research/vision_lstm/download/'
_STRIDE16 = (
    "the hub's entry for this model links the stride-16 weights; 80.0 belongs to a file that is not linked anywhere"
)

# name: published parameters and FLOPs, top-1, parameters, file, default
for _name, _params, _flops, _top1, _count, _path, _default in (
    ('vil2_tiny.e800_in1k', '6M', '1.5G', 78.3, 6_391_528, 'vil2_tiny16_e800_in1k.th', True),
    ('vil2_tiny.e400_in1k', '6M', '1.5G', 77.2, 6_391_528, 'vil2_tiny16_e400_in1k.th', False),
    ('vil2_small.e400_in1k', '23M', '5.1G', 81.5, 23_398_696, 'vil2_small16_e400_in1k.th', True),
    ('vil2_base.e400_in1k', '89M', '18.6G', 82.4, 89_263_528, 'vil2_base16_e400_in1k.th', True),
    ('vil_tiny.e800_in1k', '6M', '', 77.3, 6_088_360, 'vil_tiny16_e800_in1k.th', True),
    ('vil_tiny.e400_in1k', '6M', '', 76.1, 6_088_360, 'vil_tiny16_e400_in1k.th', False),
    ('vil_tinyplus.e800_in1k', '7M', '', 78.1, 7_277_840, 'vil_tinyplus16_e800_in1k.th', True),
    ('vil_tinyplus.e400_in1k', '7M', '', 77.2, 7_277_840, 'vil_tinyplus16_e400_in1k.th', False),
    ('vil_small.e400_in1k', '23M', '', 80.7, 22_792_360, 'vil_small16_e400_in1k.th', True),
    ('vil_smallplus.e400_in1k', '26M', '', 80.9, 24_628_664, 'vil_smallplus16_e400_in1k.th', True),
    ('vil_base.e400_in1k', '88M', '', 81.6, 88_050_856, 'vil_base16_e400_in1k.th', True),
    ('vil_smallplus_stride8.e400_in1k', '26M', '', 82.2, 24_628_664, 'vil_smallplus16_e400_in1k_stride8.th', True),
    ('vil_base_stride8.e400_in1k', '88M', '', 82.7, 88_050_856, 'vil_base16_e400_in1k_stride8.th', True),
):
    _file(
        _name,
        task='imagenet',
        metrics={'top1': _top1},
        params=_params,
        flops=_flops,
        url=_VIL + _path,
        license='MIT AND Apache-2.0',  # both: Apache-2.0 for the layers' files, MIT for the rest
        num_params=_count,
        default=_default,
    )
RESULTS.append(
    Result(model='vil_tinyplus_stride8', task='imagenet', metrics={'top1': 80.0}, params='7M', remark=_STRIDE16)
)
for _model, _params, _figures in (
    ('vil2_tiny', '11M', (41.2, 80.2, 43.1, 81.3)),
    ('vil2_small', '42M', (46.3, 82.0, 47.9, 82.9)),
    ('vil2_base', '115M', (48.6, 82.8, 49.6, 83.3)),
):
    RESULTS.append(
        Result(
            model=_model,
            task='ade20k',
            method='UperNet 160k, 512x512',
            metrics=dict(zip(('mIoU', 'pixel_acc', 'mIoU_ms', 'pixel_acc_ms'), _figures)),
            params=_params,
            remark='the parameters leave out the auxiliary head',
        )
    )
NOTES |= {
    'vil_tinyplus_stride8': _STRIDE16,
    'vil_tiny_stride8': 'the stride-8 form of vil_tiny; its authors fine-tuned T+, S+ and B only',
    'vil_small_stride8': 'the stride-8 form of vil_small; its authors fine-tuned T+, S+ and B only',
}

# Vim: arXiv 2401.09417 and the README of hustvl/Vim

_FLOPS_QUOTED = "the published FLOPs are later papers', not the authors'"
_QUOTED = 'quoted from the paper as commonly cited; the repository has neither the figure nor the weights'
for _model, _params, _flops, _top1, _top5, _count, _path in (
    ('vim_tiny', '7M', '1.5G', 76.1, 93.0, 7_148_008, 'tiny-midclstok/resolve/main/vim_t_midclstok_76p1acc.pth'),
    (
        'vim_tiny_stride8',
        '7M',
        '',
        78.3,
        94.2,
        7_250_344,
        'tiny-midclstok/resolve/main/vim_t_midclstok_ft_78p3acc.pth',
    ),
    (
        'vim_small',
        '26M',
        '5.1G',
        80.5,
        95.1,
        25_796_584,
        'small-midclstok/resolve/main/vim_s_midclstok_80p5acc.pth',
    ),
    (
        'vim_small_stride8',
        '26M',
        '',
        81.6,
        95.4,
        26_001_256,
        'small-midclstok/resolve/main/vim_s_midclstok_ft_81p6acc.pth',
    ),
    ('vim_base', '98M', '', 81.9, 95.8, 97_598_440, 'base-midclstok/resolve/main/vim_b_midclstok_81p9acc.pth'),
):
    _file(
        f'{_model}.in1k',
        task='imagenet',
        metrics={'top1': _top1, 'top5': _top5},
        params=_params,
        flops=_flops,
        url='https://huggingface.co/hustvl/Vim-' + _path,
        license='Apache-2.0',
        num_params=_count,
        remark=_FLOPS_QUOTED if _flops else '',
        default=True,
    )
_file(
    'vim_tiny_rope.in1k',
    task='imagenet',
    metrics={'top1': 73.1, 'top5': 91.1},
    url='https://huggingface.co/hustvl/Vim-tiny/resolve/main/vim_tiny_73p1.pth',
    license='Apache-2.0',
    num_params=7_148_008,
    remark='the first release (January 2024): another function than vim_tiny with the same parameters',
    default=True,
)
RESULTS += [
    Result(
        model='vim_tiny',
        task='coco',
        method='Cascade Mask R-CNN, ViTDet style',
        metrics=_ap('45.7/63.9/49.6', '39.2/60.9/41.7'),
        remark=_QUOTED,
        unverified=True,
    ),
    Result(
        model='vim_tiny',
        task='ade20k',
        method='UperNet 60k, 512x512',
        metrics={'mIoU': 41.0},
        params='13M',
        remark=_QUOTED + "; 12.90 M in the authors' printout, with norm_f and the old rotation tables, 12.31 M here",
        unverified=True,
    ),
    Result(
        model='vim_small',
        task='ade20k',
        method='UperNet 60k, 512x512',
        metrics={'mIoU': 44.9},
        params='46M',
        remark=_QUOTED,
        unverified=True,
    ),
]

# Heracles: arXiv 2403.18063 and the repository badripatro/heracles, which holds no weights

RESULTS += [
    Result(model='heracles_small', task='imagenet', metrics={'top1': 84.5}, remark='the Heracles-C of the abstract'),
    Result(
        model='heracles_base',
        task='imagenet',
        metrics={'top1': 85.19},
        remark='best epoch of the released log (last: 85.12, top-5 97.31), of a network with 60,928 more parameters '
        'than the released code builds',
    ),
    Result(model='heracles_large', task='imagenet', metrics={'top1': 85.9}, remark='the Heracles-C of the abstract'),
]
NOTES['heracles_huge'] = (
    "this project's own reading: the paper names a Heracles-C-H (86.4) whose architecture was never published"
)


def list_checkpoints(model: str | None = None, task: str | None = None) -> list[Checkpoint]:
    """The published checkpoints, in the registry's order; of one variant or family prefix, of one task.

    Raises ValueError for an unknown task.
    """
    tasks = ('imagenet', 'coco', 'ade20k')
    if task is not None and task not in tasks:
        raise ValueError(f'task={task!r} is not known; allowed: {", ".join(tasks)}')
    found = PUBLISHED.values()
    return [c for c in found if c.model.startswith(model or '') and task in (None, c.task)]


def find(name: str) -> Checkpoint:
    """The checkpoint of that name, or the default one of the variant of that name.

    Raises ValueError: the variant's state where it has no weights, near names for an unknown name.
    """
    if found := PUBLISHED.get(name) or default_checkpoint(name):
        return found
    if results(name) or name in NOTES:
        raise ValueError(f'{name}: {state(name)}' + (f'; {NOTES[name]}' if name in NOTES else ''))
    near = difflib.get_close_matches(name, PUBLISHED, n=4, cutoff=0.4) or list(PUBLISHED)
    raise ValueError(f'unknown checkpoint {name!r}; did you mean {", ".join(near)}?')


def default_checkpoint(model: str) -> Checkpoint | None:
    """The ImageNet checkpoint that `pretrained=True` takes, or None where none was published."""
    return next((c for c in PUBLISHED.values() if c.model == model and c.default), None)


def results(model: str) -> list[Result]:
    """Every published figure of a variant, those with weights first."""
    return [r for r in (*PUBLISHED.values(), *RESULTS) if r.model == model]


def state(model: str) -> str:
    """One of STATES: whether a variant's ImageNet weights are published, only its results, or nothing."""
    if default_checkpoint(model):
        return STATES[0]
    return STATES[1] if results(model) else STATES[2]


def evaluation(model: str) -> dict:
    """How images are prepared for a variant when it is evaluated: timm's input_size, crop_pct, mean and so on."""
    crop_pct = {'vil': 1.0, 'her': 0.96}.get(model.removeprefix('test_')[:3], 0.875)
    return dict(
        input_size=(3, 224, 224), crop_pct=crop_pct, interpolation='bicubic', mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
