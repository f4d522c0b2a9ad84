"""What is different between detection, segmentation and classification: one file a task, by `default_scope`."""

from mmengine.config import Config

from .classification import CLASSIFICATION
from .detection import DETECTION
from .segmentation import SEGMENTATION
from .task import Task

__all__ = ['CLASSIFICATION', 'DETECTION', 'SEGMENTATION', 'Task', 'task_of']


def task_of(cfg: Config) -> Task:
    """The task of a config; detection where it names no scope."""
    tasks = {task.scope: task for task in (DETECTION, SEGMENTATION, CLASSIFICATION)}
    return tasks.get(cfg.get('default_scope'), DETECTION)
