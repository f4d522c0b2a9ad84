"""What is different between detection, segmentation, classification and distillation: one file a task.

A config's `default_scope` says which; of those without a scope of their own, the model.
"""

from mmengine.config import Config

from .classification import CLASSIFICATION
from .detection import DETECTION
from .distillation import DISTILLATION
from .segmentation import SEGMENTATION
from .task import Task

__all__ = ['CLASSIFICATION', 'DETECTION', 'DISTILLATION', 'SEGMENTATION', 'Task', 'task_of']


def task_of(cfg: Config) -> Task:
    """The task of a config; detection where it names no scope."""
    if str(cfg.get('model', {}).get('type')).endswith('Distiller'):
        return DISTILLATION
    tasks = {task.scope: task for task in (DETECTION, SEGMENTATION, CLASSIFICATION)}
    return tasks.get(cfg.get('default_scope'), DETECTION)
