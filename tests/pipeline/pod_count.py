"""How many pods Kubeflow starts for a run, counted from the compiled pipeline."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def pods(spec: Any, held: Collection[str], cached: Collection[str] = ()) -> int:
    """Pods of a run that succeeds, those of training jobs not counted.

    Kubeflow 2.17 starts a driver for every level of the graph, conditions that do not hold included, and for every step
    a driver and, unless the cache has the step, an executor.

    Args:
        spec: the compiled pipeline, as the protobuf.
        held: display names of the conditions that held.
        cached: names of the steps that the cache answered.
    """

    def level(dag: Any) -> int:
        count = 1
        for name, task in dag.tasks.items():
            component = spec.components[task.component_ref.name]
            if component.executor_label:
                count += 1 + (name not in cached)
            elif task.trigger_policy.condition and task.task_info.name not in held:
                count += 1
            else:
                count += level(component.dag)
        return count

    return level(spec.root.dag)


def depth(spec: Any) -> int:
    """Levels of the graph below the root."""

    def below(dag: Any) -> int:
        parts = [spec.components[task.component_ref.name] for task in dag.tasks.values()]
        return max((1 + below(part.dag) for part in parts if not part.executor_label), default=0)

    return below(spec.root.dag)
