"""Parameters, gradients and optimizer states sharded over the processes (FSDP): the second base of a config of yours.

`_base_ = ['mmvssm::mask_rcnn_vmamba_b', 'mmvssm::_base_/fsdp.py']`. Checkpoints are whole, and load in one process.
A run that was stopped and resumed is the undisturbed one, as others are.
"""

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    state_dict_cfg='full',
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True),
)
