"""How well a model does at other tasks than retrieval: similarity, classification, clustering, reranking."""

from sharpen.evaluation.tasks.measure import measure_tasks
from sharpen.evaluation.tasks.task_set import TaskSet, task_facts, task_sets

__all__ = ["TaskSet", "measure_tasks", "task_facts", "task_sets"]
