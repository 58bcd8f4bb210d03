"""The tasks, a file each; its torch half, the head, stands beside it in `heads`."""

from trbert_deploy.core.registry import Registry
from trbert_deploy.tasks.base import Limits, Task

__all__ = ["TASKS", "Limits", "Task"]

TASKS: Registry[Task] = Registry(
    "task",
    "trbert_deploy.tasks",
    {
        name: f"trbert_deploy.tasks.{name.replace('-', '_')}:TASK"
        for name in (
            "sequence-classification",
            "multiple-choice",
            "question-answering",
            "hotpot",
            "wikihop",
            "token-classification",
        )
    },
)
