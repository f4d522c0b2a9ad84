"""Checkpoints that survive a crash: `checkpoint=dict(type='mmvssm.AtomicCheckpointHook', ...)`.

mmengine's own hook deletes the oldest checkpoint, then writes the new one in place, then the pointer to it in place: a
process killed at the wrong moment leaves a broken file, or a pointer to one. Here each file is written beside its
place, flushed to the disk and moved there in one step, and the old checkpoint goes last.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from mmvssm.openmmlab.work_folder import in_words

from .exact_resume import ExactResumeHook

BETWEEN = 'checkpoint_between'  # the message hub's name for a checkpoint that a signal has led to


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, with its arguments; on local disks nothing it leaves behind is ever half written.

    A kill at any moment leaves either the previous checkpoint and pointer or the new ones. Temporary files of a killed
    run (`.NAME.tmp`) are removed when the next one starts in the same folder.

    A run with this hook can be left alone: it has `ExactResumeHook` and `StopSignalHook` too, and its work folder to
    itself (see `unattended`).
    """

    _saved_iter: int | None = None  # iterations behind the last checkpoint
    _content: dict | None = None  # of the one that is being saved

    def before_train(self, runner) -> None:
        super().before_train(runner)
        if runner.iter > 0:
            self._saved_iter = runner.iter
        if not isinstance(self.file_backend, LocalBackend):
            return  # object stores put files in place whole
        self._find_moved_best()
        if is_main_process() and os.path.isdir(self.out_dir):
            for leftover in Path(self.out_dir).glob('.*.tmp'):
                _remove(leftover)
        save = functools.partial(_save_atomically, runner.save_checkpoint)
        runner.save_checkpoint = functools.partial(self._save_in_words, runner, save)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        super().before_save_checkpoint(runner, checkpoint)
        self._content = checkpoint

    def save_now(self, runner, meta: dict) -> str:
        """Save between two regular checkpoints; returns the path.

        Where those are counted in epochs it is `iter_N.pth`, which goes when the next regular one is there.

        Args:
            meta: `epoch` and `iter` of the state.
        """
        if meta['iter'] == self._saved_iter and self.last_ckpt is not None:
            return self.last_ckpt
        if self.by_epoch:
            self._put(runner, f'iter_{meta["iter"]}.pth', meta, between=True)
        else:
            self._save_checkpoint_with_step(runner, meta['iter'], meta)
        return self.last_ckpt

    def after_train(self, runner) -> None:
        vars(runner).pop('save_checkpoint', None)
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save, then point to it, then delete what is too much."""
        outdated = self._note_step(runner, step)
        self._put(runner, self.filename_tmpl.format(step), meta)
        if outdated is not None:
            self._delete(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _put(self, runner, name: str, meta: dict, between: bool = False) -> None:
        """Save under a name and point to it; `between` two regular checkpoints, to be deleted after the next."""
        info = runner.message_hub.runtime_info
        earlier = info.get(BETWEEN)
        if between:
            runner.message_hub.update_info(BETWEEN, name)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch and not between,  # FlexibleRunner reckons the step anew
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved_iter = meta.get('iter', runner.iter if self.by_epoch else runner.iter + 1)
        if is_main_process():
            write_text_atomically(os.path.join(runner.work_dir, 'last_checkpoint'), self._relative(runner.work_dir))
        if earlier is not None and earlier != name:
            self._delete(self.file_backend.join_path(self.out_dir, earlier))
            if info.get(BETWEEN) == earlier:
                info.pop(BETWEEN)

    def _relative(self, work_dir: str) -> str:
        """What the pointer says: the name, so that the folder can be moved, unless the file is elsewhere."""
        if not isinstance(self.file_backend, LocalBackend):
            return str(self.last_ckpt)
        return os.path.relpath(str(self.last_ckpt), work_dir)

    def _find_moved_best(self) -> None:
        """The best checkpoint of a run whose folder has moved is where its others are."""
        path = getattr(self, 'best_ckpt_path', None)
        if path is not None and not os.path.exists(path):
            self.best_ckpt_path = os.path.join(self.out_dir, os.path.basename(path))
        paths = getattr(self, 'best_ckpt_path_dict', {})
        for name, path in paths.items():
            if path is not None and not os.path.exists(path):
                paths[name] = os.path.join(self.out_dir, os.path.basename(path))

    def _save_in_words(self, runner, save: Callable, out_dir: str, filename: str, *args, **kwargs) -> None:
        """`Runner.save_checkpoint`, called in all processes: with their states, and errors of the disk in words."""
        for hook in runner.hooks:
            if isinstance(hook, ExactResumeHook):
                hook.gather(runner)
        try:
            save(out_dir, filename, *args, **kwargs)
        except OSError as error:
            before = 'there is none before it'
            if self._saved_iter is not None:
                before = f'the one of iteration {self._saved_iter} is whole'
            raise in_words(error, out_dir, 'the checkpoint', _num_bytes(self._content), before) from error
        finally:
            self._content = None

    def _note_step(self, runner, step: int) -> int | None:
        """Add `step` to the steps that are kept; returns the one that has to go once this one is saved.

        The saved list still holds that one: should a kill come before its deletion, the next run finds one step too
        many in the list and deletes it.
        """
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return None
        runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids, step])
        outdated = self.keep_ckpt_ids.popleft() if len(self.keep_ckpt_ids) == self.max_keep_ckpts else None
        self.keep_ckpt_ids.append(step)
        return outdated

    def _save_best_checkpoint(self, runner, metrics) -> None:
        """mmengine's, which removes the previous best before it saves: its removals wait until the end here."""
        if self.save_best:  # `runner.val()` alone comes here without `before_train`, and saves nothing
            with _removals_last(self):
                super()._save_best_checkpoint(runner, metrics)

    def _delete(self, path: str) -> None:
        if not is_main_process():
            return
        if self.file_backend.isdir(path):  # DeepSpeed saves folders
            self.file_backend.rmtree(path)
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)


def write_text_atomically(path: str | Path, text: str) -> None:
    """Replace the content of a file in one step."""
    temporary = _temporary(path)
    temporary.write_text(text)
    _put_in_place(temporary, path)


def _save_atomically(save: Callable, out_dir: str, filename: str, *args, **kwargs) -> None:
    """`Runner.save_checkpoint`, beside the final place and then moved there, by the main process."""
    final = Path(out_dir, filename)
    temporary = _temporary(final)
    try:
        save(str(temporary.parent), temporary.name, *args, **kwargs)
    except BaseException:
        _remove(temporary)  # a full disk, an interrupt: leave no trace
        raise
    if is_main_process():
        _put_in_place(temporary, final)


def _temporary(path: str | Path) -> Path:
    return Path(path).with_name(f'.{Path(path).name}.tmp')


def _put_in_place(temporary: Path, final: str | Path) -> None:
    if temporary.is_dir():
        _remove(Path(final))  # a folder cannot replace one that has files
    else:
        _flush(temporary)
    os.replace(temporary, final)
    if os.name == 'posix':
        _flush(temporary.parent)  # the new name is an entry of the folder


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _removals_last(hook: AtomicCheckpointHook) -> Iterator[None]:
    backend = hook.file_backend
    hook.file_backend = waiting = _WaitingRemovals(backend)
    try:
        yield
    finally:
        hook.file_backend = backend
    for remove, path in waiting.removals:
        # the new best has the old one's name where a step is evaluated twice
        if path not in (getattr(hook, 'best_ckpt_path', None), *getattr(hook, 'best_ckpt_path_dict', {}).values()):
            remove(path)


class _WaitingRemovals:
    """A file backend that notes what to remove."""

    def __init__(self, backend):
        self._backend, self.removals = backend, []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.removals.append((self._backend.rmtree, path))


def _num_bytes(content: dict | None) -> int | None:
    """That a checkpoint takes as a file."""
    if content is None:  # another process saves
        return None
    torch.save(content, counting := _Counting())
    return counting.size


class _Counting:
    """A file that keeps nothing."""

    size = 0

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass
