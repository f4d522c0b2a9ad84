"""What is different between detection and segmentation: one file a task; a config's `default_scope` says which."""

from mmengine.config import Config

from .detection import DETECTION
from .segmentation import SEGMENTATION
from .task import Task

__all__ = ['DETECTION', 'SEGMENTATION', 'Task', 'task_of']


def task_of(cfg: Config) -> Task:
    """The task of a config; detection where it names no scope."""
    tasks = {task.scope: task for task in (DETECTION, SEGMENTATION)}
    return tasks.get(cfg.get('default_scope'), DETECTION)
