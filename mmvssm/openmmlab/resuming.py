"""Where a run goes on: the newest checkpoint of its folder that can be read, whatever the pointer beside it says.

mmengine follows the file `last_checkpoint`, which may be gone, empty, of another machine or point to a file that a kill
cut in half, and starts anew, deleting what is there, where it finds none.
"""

import logging
from pathlib import Path

from mmengine import runner as mmengine_runner
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import _flexible_runner, checkpoint, runner

from mmvssm import weights
from mmvssm.weights import inert
from mmvssm.weights.read import check_file

HOW_TO_START = 'give --cfg-options load_from=FILE to start from its weights'


def install() -> None:
    """Make `--resume` and `resume=True` of mmengine's runners take :func:`newest`; idempotent."""
    for module in (mmengine_runner, checkpoint, runner, _flexible_runner):
        module.find_latest_checkpoint = agreed_newest


def agreed_newest(path: str) -> str | None:
    """:func:`newest` as the main process sees it, in all processes; each raises what it raised."""
    answer: list = [None, None]
    if is_main_process():
        try:
            answer = [newest(path), None]
        except weights.CheckpointError as error:
            answer = [None, str(error)]
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise weights.CheckpointError(answer[1])
    return answer[0]


def newest(folder: str | Path) -> str | None:
    """The checkpoint of the most iterations in a work folder that is whole; None where there are no checkpoints.

    Raises:
        CheckpointError: there are `.pth` files, and a run can go on from none of them.
    """
    files = {path: _done(path) for path in {*Path(folder).glob('*.pth'), *_pointed_to(Path(folder))}}
    skipped: list[str] = []
    for path in sorted(files, key=lambda path: (files[path], path.stat().st_mtime_ns, path.name), reverse=True):
        if (why := _trouble(path)) is None:
            _tell_skipped(skipped, path)
            return str(path)
        skipped.append(f'{path.name}: {why}')
    if skipped:
        raise weights.CheckpointError(
            f'no checkpoint in {folder} can be resumed: {"; ".join(skipped[:3])}'
            f'{" ..." if len(skipped) > 3 else ""}\nmove them away to start anew, or {HOW_TO_START}'
        )
    print_log(f'{folder} holds no checkpoint: training starts from the beginning', 'current')
    return None


def require_training_state(content: dict, source: str) -> None:
    """A run can go on from a checkpoint's content.

    Raises:
        CheckpointError: it holds weights alone.
    """
    if not _has_training_state(content):
        raise weights.CheckpointError(f'{source} holds weights, not the state of a training run\n{HOW_TO_START}')


def _has_training_state(content: dict) -> bool:
    meta = content.get('meta') if isinstance(content, dict) else None
    return isinstance(meta, dict) and {'epoch', 'iter'} <= set(meta) and 'optimizer' in content


def _pointed_to(folder: Path) -> list[Path]:
    """The file of `last_checkpoint`, which stands in another folder where the hook has an `out_dir`."""
    try:
        named = (folder / 'last_checkpoint').read_text().strip()
    except (OSError, UnicodeDecodeError):
        return []
    path = folder / named if named and '\0' not in named else folder
    inside = path.parent.resolve() == folder.resolve()
    return [path] if path.is_file() and not inside else []


def _done(path: Path) -> int:
    """Iterations that a checkpoint has behind it, to sort by.

    A file that hides them comes first, so that it is looked at and named; one of weights alone (`best_*.pth`) last.
    """
    try:
        content = inert.load(path)
        return int(content['meta']['iter']) if _has_training_state(content) else -1
    except Exception:  # damaged in any way
        return 1 << 62


def _trouble(path: Path) -> str | None:
    """Why a run cannot go on from a file, in a line."""
    try:
        check_file(path)
        require_training_state(inert.load(path), 'it')
    except (weights.CheckpointError, OSError) as error:
        return str(error).splitlines()[0].removeprefix(f'{path} ').removeprefix('it ')
    return None


def _tell_skipped(skipped: list[str], taken: Path) -> None:
    for line in skipped:
        print_log(f'skipped {line}', 'current', logging.WARNING)
    if skipped:
        print_log(f'going on from {taken.name}', 'current', logging.WARNING)
