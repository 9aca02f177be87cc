"""A pipeline of one step, which approves or rejects a version that waits: the button for it in Kubeflow's UI.

Kubeflow Pipelines 2.17 has no step that waits for a person: no suspend step (kubeflow/pipelines #3101 and #3454, both
open) and no human input (#14413). A step that only waited would hold its pod for days. So the run ends, and this
pipeline, started from the UI with the version as an input, goes on from there.
"""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false

# No `from __future__ import annotations`: kfp reads the annotations as objects.

from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.kfp_context import LAUNCHER_IMAGE
from pipeline.parameters import Settings
from pipeline.pods import cache_all, configure_pods

PIPELINE_NAME = "sharpen-approval"


@dsl.component(base_image=LAUNCHER_IMAGE, install_kfp_package=False)
def decide_approval(
    model_name: str,
    version: str,
    decision: str,
    decided_by: str,
    comment: str,
    message: str,
    store: str,
    page: dsl.Output[dsl.HTML],
) -> str:
    """Approve or reject a version that waits for approval.

    Args:
        model_name: Name of the model in the registry.
        version: Version that waits.
        decision: approve or reject.
        decided_by: Who decides.
        comment: Why.
        message: Form of the message to the webhook, slack or cloudevents.
        store: Root of the registry.
        page: What became of it.

    Returns:
        The same in one line.
    """
    from components.kfp_context import exit_on_error, write_page
    from pipeline.models.decision import carry_out
    from pipeline.run_plan import store_of
    from sharpen.reports.html_page import message_page

    with exit_on_error("approval", first_contact=True):
        became = carry_out(store_of(store), model_name, version, decision, decided_by, comment, message)
        write_page(page, message_page(model_name, became))
    print(became)
    return became


def make_approval_pipeline(cluster: Settings | None = None) -> GraphComponent:
    """The pipeline.

    Args:
        cluster: settings for pods of a cluster, whose model and store are the form's defaults; None: for this machine.
    """
    defaults = cluster or Settings()

    @dsl.pipeline(name=PIPELINE_NAME)
    def approval(
        version: str,
        decided_by: str,
        model_name: str = defaults.model_name,
        decision: str = "approve",
        comment: str = "",
        message: str = defaults.notification.format,
        store: str = defaults.store,
    ) -> None:
        """Approve or reject a version of a model that waits for approval.

        Args:
            version: Version that waits, for example v0002.
            decided_by: Who decides; the registry records it.
            model_name: Name of the model in the registry.
            decision: approve or reject.
            comment: Why.
            message: Form of the message to the webhook.
            store: Root of the registry. Empty: the cluster's own.
        """
        decide_approval(
            model_name=model_name,
            version=version,
            decision=decision,
            decided_by=decided_by,
            comment=comment,
            message=message,
            store=store,
        )
        cache_all()
        if cluster:
            configure_pods(cluster)

    made: Any = approval
    inputs = made.pipeline_spec.root.input_definitions.parameters
    for name, choices in (("decision", ("approve", "reject")), ("message", ("slack", "cloudevents"))):
        for choice in choices:
            inputs[name].literals.add().string_value = choice
    return approval
