"""One module a family: official class names and constructor arguments -> this project's models."""


def take(kwargs: dict, renames: dict[str, str], fixed: dict[str, tuple] | None = None) -> dict:
    """Translate official constructor arguments.

    Args:
        renames: official name -> this project's.
        fixed: official names without effect here, and the values that were checked to need none.

    Raises:
        NotImplementedError: an argument that is in neither, or a fixed one of another value.
    """
    out = {}
    for name, value in kwargs.items():
        if name in renames:
            out[renames[name]] = value
        elif name not in (fixed or {}) or (fixed[name] and value not in fixed[name]):
            raise NotImplementedError(f'official argument {name}={value!r}')
    return out


# Vim's and LocalVim's names of how tokens are pooled where there is no class token
POOLS = dict(none='last', mean='avg', max='max', all='')


def stream_arguments(case: dict, defaults: dict) -> dict:
    """Constructor arguments of a Vim-like class; what is left out is told by the case's keys, else by `defaults`."""
    keys = [*case['keys'], *case.get('omitted_keys', ())]
    found = dict(
        rms_norm=not any(key.endswith('layers.0.norm.bias') for key in keys),
        if_abs_pos_embed=any(key.endswith('pos_embed') for key in keys),
        if_rope=any('rope.' in key for key in keys),
        if_rope_residual=False,
        if_cls_token=any('cls_token' in key for key in keys),
        use_middle_cls_token=False,
        final_pool_type='none',
    )
    return {**found, **defaults, **case['kwargs']}
