"""Trainings by mmvssm's own command, each in a folder that keeps it: what is done is not done again."""

import os
import subprocess
import sys
from pathlib import Path

from mmvssm.openmmlab import runs

METRICS = ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU', 'mAcc', 'distillation/cosine')


def run(command: str, config: str, folder: Path, *more: str) -> float:
    """Run a command of mmvssm unless its folder says that it has been; returns seconds of the processor.

    Those of its data workers are counted, and other jobs of the machine hardly matter.
    """
    done = folder / 'cpu_seconds'
    if not done.exists():
        start = _seconds()
        line = [sys.executable, '-m', 'mmvssm.commands', command, config, '--work-dir', str(folder), *more]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        done.write_text(str(_seconds() - start))
    return float(done.read_text())


def _seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def scores(folder: Path) -> dict[str, float]:
    """The last validation: box and mask AP (0 to 1), mean IoU and accuracy (per cent), or the cosine."""
    found = runs.read(folder).scores
    return {name: found[name].last for name in METRICS if name in found}
