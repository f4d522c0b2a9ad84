"""Bytes that the Triton kernels take beside inputs and results, from launches on meta tensors."""

import pytest
import torch

STAGES = {
    'LocalVMamba, first stage': dict(d=192, R=6, size=(200, 320)),
    'LocalVMamba, last stage': dict(d=1536, R=48, size=(25, 40)),
    'a large batch of short sequences': dict(d=384, R=12, size=(14, 14), batch=128),
}
MB = 1 << 20


def _bytes(N: int, stage: dict, deterministic: bool) -> tuple[float, int, int, int]:
    """In the worker: carries of an element-step; scratch of a launch; sums of the blocks of channels, one of them."""
    from mmvssm.kernels.selective_scan import triton_launch

    from .launches import record

    launches = record(N=N, dtype=torch.bfloat16, merge=False, shared=True, deterministic=deterministic, **stage)
    b, K, S, d = stage.get('batch', 2), 4, stage['size'][0] * stage['size'][1], stage['d']
    carries = 4 * torch.Size(triton_launch.carries_shape(b, d, K, N, S, ())).numel() / (b * K * S * d)

    def most(*names: str) -> int:
        given = [[each.arguments[name] for name in names if name in each.arguments] for each in launches]
        return max(sum(tensor.numel() * tensor.element_size() for tensor in tensors) for tensors in given)

    scratch, sums = most('scratch_ptr', 'history_ptr', 'slopes_ptr'), most('to_dt', 'to_B', 'to_C')
    return carries, scratch, sums, 4 * b * S * K * (stage['R'] + 2 * N)


@pytest.mark.parametrize('deterministic', [False, True], ids=['atomics', 'deterministic'])
@pytest.mark.parametrize('N', [1, 16])
@pytest.mark.parametrize('stage', STAGES.values(), ids=STAGES)
def test_scratch_and_shares_are_bounded(compiled, stage, N, deterministic):
    _, scratch, sums, one = compiled(_bytes, N, stage, deterministic)
    assert scratch <= 64 * MB
    assert sums <= (max(64 * MB, one) if deterministic else one)


def test_a_number_for_each_state_and_64_steps_is_kept(compiled):
    for name in ('LocalVMamba, first stage', 'LocalVMamba, last stage'):
        carries, *_ = compiled(_bytes, 16, STAGES[name], False)
        assert carries <= 1.03 * 4 * 16 / 64  # a chunk's last steps may be padding
