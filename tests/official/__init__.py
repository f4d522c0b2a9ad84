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
