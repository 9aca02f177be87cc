"""Settings from files, assignments and the run form; one source for all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import parameters
from pipeline.cluster.compiled_settings import compiled_pod_settings
from pipeline.parameters import GROUPS, Settings, load
from pipeline.run_form import run_inputs
from pipeline.run_plan import checked_settings
from sharpen.errors import InputError
from sharpen.settings import EncoderSettings


def test_the_defaults_are_valid() -> None:
    assert load() == Settings()
    assert json.loads(Settings().given_json()) == {}


def test_a_file_is_overruled_by_an_assignment(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("model_name: mine\ntraining:\n  temperature: 0.05\n  train_group_size: 4\n")
    settings = load(path, ["training.temperature=0.1", "encoder.query_instruction_for_retrieval=find: "])
    assert settings.model_name == "mine"
    assert (settings.training.temperature, settings.training.train_group_size) == (0.1, 4)
    assert settings.encoder.query_instruction_for_retrieval == "find: "


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("training.temprature=1", "training.temprature: unknown setting; did you mean temperature?"),
        ("temperature=1", "temperature: unknown setting"),
        ("training.temperature=0", "training.temperature: Input should be greater than 0"),
        ("training.train_group_size=0", "training.train_group_size: Input should be greater than or equal to 1"),
        ("training.temperature", "write name=value"),
        ("nogroup.temperature=1", "unknown setting"),
        ("training.matryoshka_dims=" + "[" * 20_000, "training.matryoshka_dims: "),
        ("training.seed=" + "9" * 5000, "training.seed: "),
    ],
)
def test_a_wrong_assignment_is_one_line(assignment: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        load(None, [assignment])
    assert len(caught.value.faults) == 1
    assert told in caught.value.faults[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n- b\n", "must hold settings as name: value"),
        ("a: [1\nb: 2\n", "my.yaml:2: not valid YAML"),
        ("training: 5\n", "training: "),
        ("trainin:\n  a: 1\n", "trainin: unknown setting; did you mean training?"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load(path)
    assert told in str(caught.value)


def test_the_gate_must_find_its_metric_among_the_measured() -> None:
    with pytest.raises(InputError, match=r"promotion: ndcg_at_10, .* is not measured"):
        load(
            None,
            [
                "evaluation.cutoffs=[1, 5]",
                "evaluation.primary_metric=ndcg_at_5",
                'evaluation.headline_metrics=["ndcg_at_5"]',
            ],
        )


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration file"):
        load(tmp_path / "none.yaml")


def test_what_a_step_receives_gives_the_same_settings_again() -> None:
    settings = load(None, ["training.temperature=0.07", "mining.negative_number=3", "data.test_share=0.2"])
    for group in GROUPS:
        given = getattr(settings, group)
        if group == "data":
            # how much of the texts is cut depends on the model
            given = given.model_copy(
                update={"tokenizer": settings.base_model, "query_max_len": 64, "passage_max_len": 256}
            )
        assert type(given).from_json(settings.group_json(group)) == given


def test_rounds_are_the_graphs_and_no_step_hears_of_them() -> None:
    settings = load(None, ["mining.rounds=2", "mining.negative_number=3"])
    assert json.loads(settings.group_json("mining")) == {"negative_number": 3}
    assert json.loads(settings.given_json()) == {"mining": {"negative_number": 3, "rounds": 2}}
    assert "mining.rounds" in dict(parameters.every_setting())
    with pytest.raises(InputError, match="rounds"):
        load(None, ["mining.rounds=5"])


def checked(overrides: str, compiled: int, pods: Settings | None = None, store: str = "s3://s") -> Settings:
    """The settings of a run, as the graph's first step checks them."""
    fields = {**run_inputs(pods or Settings()), "train_data": "a", "base_model": "b", "model_name": "m", "store": store}
    given = {**json.loads(overrides)}
    built = {"rounds": compiled, "pods": compiled_pod_settings(pods) if pods else {}}
    return checked_settings({**fields, "overrides": given}, built)


@pytest.mark.parametrize(("overrides", "compiled"), [("{}", 1), ("{}", 3), ('{"mining.rounds": 3}', 3)])
def test_a_run_may_leave_the_rounds_to_the_compiled_pipeline(overrides: str, compiled: int) -> None:
    assert checked(overrides, compiled).group_json("mining") == "{}"


@pytest.mark.parametrize(("wanted", "compiled"), [(1, 2), (3, 1)])
def test_other_rounds_than_compiled_are_refused_in_one_line(wanted: int, compiled: int) -> None:
    with pytest.raises(InputError) as refused:
        checked(f'{{"mining": {{"rounds": {wanted}}}}}', compiled)
    (line,) = refused.value.faults
    assert line == (
        f"mining.rounds: {wanted} wanted, but this pipeline was compiled with {compiled}; "
        f"compile it again with --set mining.rounds={wanted}"
    )


@pytest.mark.parametrize(
    ("compiled", "wanted", "refused"),
    [
        ("auto", {"backend": "pytorchjob", "memory": "9Gi"}, ""),
        (
            "pytorchjob",
            {"backend": "local"},
            "job.backend: local wanted, but this pipeline was compiled with pytorchjob",
        ),
        (
            "local",
            {"backend": "pytorchjob"},
            "job.backend: pytorchjob wanted, but this pipeline was compiled with local",
        ),
        ("local", {"memory": "9Gi"}, "job.memory: 9Gi wanted, but this pipeline was compiled with 8Gi"),
        ("local", {"pending_seconds": 60}, ""),
    ],
)
def test_what_was_built_into_the_pods_cannot_be_another_in_a_run(
    compiled: str, wanted: dict[str, object], refused: str
) -> None:
    pods = load(None, [f"job.backend={compiled}"])
    if not refused:
        checked(json.dumps({"job": wanted}), 1, pods)
        return
    with pytest.raises(InputError, match=refused):
        checked(json.dumps({"job": wanted}), 1, pods)


def test_gpus_of_the_form_are_compared_with_those_that_were_built_in() -> None:
    pods = load(None, ["job.backend=local", "job.gpus_per_node=2"])
    assert checked("{}", 1, pods).job.gpus_per_node == 2
    fields = {**run_inputs(pods), "store": "s3://s", "job_gpus_per_node": 0}
    with pytest.raises(InputError, match=r"job\.gpus_per_node: 0 wanted, but this pipeline was compiled with 2"):
        checked_settings(fields, {"rounds": 1, "pods": compiled_pod_settings(pods)})


@pytest.mark.parametrize("store", ["", "/data/store"])
def test_a_cluster_has_no_store_of_one_machine(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARPEN_STORE", raising=False)
    checked("{}", 1, store=store)
    with pytest.raises(InputError, match=r"^store: "):
        checked("{}", 1, load(), store)


def test_what_mining_reads_besides_data_and_model_is_named() -> None:
    overrides = {"candidate_sources": "model,bm25,model:a/b,file:s3://x/run", "rescoring_model": "c"}
    found = checked(json.dumps({"mining": overrides}), 1)
    assert found.mining.addresses == ["a/b", "file:s3://x/run", "c"]


def test_every_setting_has_help() -> None:
    assert [name for name, field in parameters.every_setting() if not field.description] == []


def test_demo_settings_are_valid() -> None:
    assert load(Path(parameters.__file__).with_name("demo.yaml")).model_name


def test_the_processes_of_the_job_encode_too_unless_it_is_said_otherwise() -> None:
    def encoder(*assignments: str) -> EncoderSettings:
        return EncoderSettings.from_json(load(assignments=assignments).group_json("encoder"))

    assert encoder().encoding_processes == 0
    assert encoder("job.processes=4").encoding_processes == 4
    assert encoder("job.processes=4", "encoder.encoding_processes=1").encoding_processes == 1
    assert load(assignments=["job.threads=3"]).group_json("encoder") == "{}"


def test_steps_of_a_cluster_share_their_vectors_through_the_store() -> None:
    def cache(overrides: str, store: str, *, cluster: bool) -> str:
        settings = checked(overrides, 1, load() if cluster else None, store)
        return EncoderSettings.from_json(settings.group_json("encoder", on_cluster=cluster)).vector_cache

    assert cache("{}", "s3://bucket/key/", cluster=True) == "s3://bucket/key/vectors"
    assert cache('{"encoder.vector_cache": "auto"}', "s3://bucket/key", cluster=True) == "s3://bucket/key/vectors"
    assert cache('{"encoder.vector_cache": "off"}', "s3://bucket/key", cluster=True) == "off"
    assert cache("{}", "s3://bucket/key", cluster=False) == "auto"


def test_an_image_of_the_job_that_moves_is_refused_in_the_run_form_too() -> None:
    checked('{"job.image": "registry.example/sharpen:v7"}', 1, load())
    with pytest.raises(InputError, match=r"^job\.image registry\.example/sharpen:latest"):
        checked('{"job.image": "registry.example/sharpen:latest"}', 1, load())


def test_an_assignment_into_what_the_file_makes_a_value_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("training: 5\n")
    with pytest.raises(InputError, match=r"^training: is a group of settings"):
        load(path, ["training.temperature=0.1"])


@pytest.mark.parametrize(
    ("rule", "value", "setting", "given"),
    [
        ("max_slice_regression", {"*": 0.1}, "slices", "source"),
        ("max_guard_regression", {"ndcg_at_10": 0.1}, "guard_data", "general"),
        ("variant", "int8", "variants", "int8"),
        ("max_latency_ms", 5, "variants", "int8"),
        ("max_index_mib", 5, "variants", "int8"),
    ],
)
def test_a_rule_whose_figures_nothing_measures_is_refused_before_any_work(
    rule: str, value: object, setting: str, given: str
) -> None:
    with pytest.raises(InputError, match=rf"promotion\.{rule} needs evaluation\.{setting}; set it"):
        Settings.checked({"promotion": {rule: value}})
    Settings.checked({"promotion": {rule: value}, "evaluation": {setting: given}})
    with pytest.raises(InputError, match=r"promotion\.variant dim:8 is none of evaluation\.variants: full, int8"):
        Settings.checked({"promotion": {"variant": "dim:8"}, "evaluation": {"variants": "int8"}})
