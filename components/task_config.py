"""What is set on the task of a step that launches a job, and belongs to the job's pods."""

from kfp.dsl import TaskConfigField, TaskConfigPassthrough

# The launching step itself needs only the store's secrets.
FOR_THE_JOB = [
    TaskConfigField.RESOURCES,
    TaskConfigField.KUBERNETES_TOLERATIONS,
    TaskConfigField.KUBERNETES_NODE_SELECTOR,
    TaskConfigField.KUBERNETES_AFFINITY,
    TaskConfigField.KUBERNETES_VOLUMES,
    TaskConfigPassthrough(field=TaskConfigField.ENV, apply_to_task=True),
]
