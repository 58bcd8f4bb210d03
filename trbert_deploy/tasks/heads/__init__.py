"""The torch halves of the tasks: what turns final states into a task's outputs."""

from trbert_deploy.tasks.heads.base import Head, HeadSettings, Objective, tokens_at

__all__ = ["Head", "HeadSettings", "Objective", "tokens_at"]
