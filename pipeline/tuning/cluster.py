"""A search on a cluster: the search here, each trial a run there."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from pipeline.cluster import experiments, show, waiting
from pipeline.cluster.options import Backend
from pipeline.cluster.submitting import check_submittable
from pipeline.cluster.versions import version_of
from pipeline.images import chosen
from pipeline.local.run import WORK
from pipeline.local.summary import program
from pipeline.parameters import Settings
from pipeline.run_plan import store_of
from pipeline.tuning import outcome
from pipeline.tuning.searched import check_searchable, groups_of, space_of
from pipeline.tuning.submission import Submission
from pipeline.tuning.trial_runs import TrialRuns
from sharpen.errors import InputError
from sharpen.store import local_store, storage
from sharpen.tuning.settings import TuningSettings
from sharpen.tuning.study import FACTS, Study
from sharpen.tuning.tune import Found, begin, run

# of its own, so that whoever starts a run of the pipeline by hand is not offered the one that ends early
PIPELINE = "sharpen-trial"
NAME = "name"


@dataclass(frozen=True)
class ClusterOptions:
    """What only a search on a cluster has.

    Attributes:
        image, launcher_image: of the steps.
        parallel: runs at a time.
        experiment: name of the experiment that holds the runs; empty: that of the model's searches.
        service_account: of the steps' pods.
    """

    image: str
    launcher_image: str = ""
    parallel: int = 1
    experiment: str = ""
    service_account: str = ""


def search(
    settings: Settings,
    tuning: TuningSettings,
    space_file: Path | None,
    assignments: Sequence[str],
    folder: Path | None,
    backend: Backend,
    options: ClusterOptions,
) -> None:
    """Search, and show what was found.

    Args:
        settings, tuning, space_file, assignments, folder: as for the search on this machine.
        backend: the cluster's Kubeflow Pipelines.
        options: how trials are submitted.

    Raises:
        InputError: wrong settings, space, image or store, or the folder has another search.
        StepFailed: no trial was trained to the end, or the API or store does not answer.
    """
    settings = settings.model_copy(update={"store": store_of(settings.store)})
    check(settings, tuning, options)
    groups = groups_of(settings)
    space = space_of(settings, groups, space_file, assignments)
    folder = (folder or WORK / "tune" / settings.model_name).absolute()
    outcome.show_space(space)
    storage.check_access(settings.store)
    api = backend.open()
    group = options.experiment or f"{settings.model_name}-tune"
    config = shlex.quote(str(outcome.shown(folder / outcome.BEST)))
    command = f"{program()} submit --config {config}{_images(options)}{backend.options}"
    with local_store.translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with local_store.locked(folder / ".lock"), api.patience(waiting.PATIENCE_SECONDS):
        study = Study(folder, space, tuning)
        identity = {"data": settings.train_data, "model": settings.base_model, "settings": settings.given_json()}
        known = {"dev_queries": 0, **(study.fact(FACTS) or {})}
        facts = {"data": settings.train_data, "next_command": command, "dev_queries": known["dev_queries"]}
        begin(study, groups, {**identity, "image": options.image}, facts)
        images = {"image": options.image, "launcher_image": options.launcher_image}
        version = version_of(api, settings, **images, pipeline_name=PIPELINE, form=None, trial=True)
        experiment = experiments.find_or_create(api, group)
        submission = Submission(
            *(api, settings, groups, tuning.evaluations, version, experiment, _name(study, settings)),
            address=storage.join(settings.store, "tuning", _name(study, settings)),
            service_account=options.service_account,
        )
        of_search = f"--experiment {shlex.quote(group)}{backend.options}"
        show.line(f"runs:     sharpen status {of_search}", "")
        try:
            run(study, TrialRuns(study, submission, options.parallel))
        except KeyboardInterrupt:
            show.line("\nthe search has stopped; its runs go on", "")
            show.line(f"  cancel them: sharpen cancel --all {of_search}", "")
            show.line("  search on:   the same command again", "")
            raise typer.Exit(130) from None
        found = Found.of(study)
    outcome.write_best(settings, found, folder / outcome.BEST, tuning)
    outcome.show(found, command)


def check(settings: Settings, tuning: TuningSettings, options: ClusterOptions) -> None:
    """Raise InputError for what no trial on a cluster can use, a line for each fault."""
    check_searchable(settings, on_cluster=True)
    check_submittable(settings)
    chosen(options.image, options.launcher_image)
    faults = []
    if not options.image:
        faults.append("--image: name the image of the steps, which the cluster can pull; images/README.md makes it")
    if not settings.store:
        faults.append(
            "store: a search reads the trials' dev scores from the store; set store=s3://bucket/key, and credentials "
            "for it in the environment"
        )
    if tuning.second == "guard":
        faults.append("--second guard: a trial on a cluster ends after fine-tuning; use --second seconds")
    if faults:
        raise InputError(faults)


def _name(study: Study, settings: Settings) -> str:
    """What the names of the search's runs begin with, drawn once."""
    if not study.fact(NAME):
        study.set_fact(NAME, f"{settings.model_name}-tune-{secrets.token_hex(3)}")
    return str(study.fact(NAME))


def _images(options: ClusterOptions) -> str:
    launcher = f" --launcher-image {shlex.quote(options.launcher_image)}" if options.launcher_image else ""
    return f" --image {shlex.quote(options.image)}{launcher}"
