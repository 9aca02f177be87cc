"""What the settings accept, and what they say of what they do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sharpen.errors import InputError
from sharpen.evaluation.settings import EvaluationSettings, MetricSettings


def test_cutoffs_are_sorted_and_may_be_written_with_commas():
    assert MetricSettings.checked({"cutoffs": "10, 1,10"}).cutoffs == (1, 10)
    assert MetricSettings.from_json('{"cutoffs": [100.0, 10.0]}').cutoffs == (10, 100)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cutoffs": [0]}, "cutoffs.0"),
        ({"cutoffs": []}, "cutoffs"),
        ({"cutoffs": "ten"}, "cutoffs.0"),
        ({"cutoffs": [1, 5]}, "primary_metric: ndcg_at_10 is not measured"),
        ({"headline_metrics": "ndcg_at_10,accuracy"}, "headline_metrics: accuracy is not measured"),
        ({"confidence_level": 1}, "confidence_level"),
        ({"resamples": 10}, "resamples"),
        ({"relevance_level": 0}, "relevance_level"),
        ({"seeds": 1}, "did you mean seed?"),
    ],
)
def test_faults_name_the_setting(values, said):
    with pytest.raises(InputError) as caught:
        EvaluationSettings.checked(values)
    assert any(said in fault for fault in caught.value.faults)


def test_a_reference_is_measured_in_the_variants_that_it_can_have():
    settings = EvaluationSettings.checked({"variants": "dim:64,int8,dim:12+binary", "slices": "source"})
    assert settings.of_references().of_dimension(32).variants == ("int8",)
    assert settings.of_references().slices == () and settings.of_references().of_dimension(64).variants[0] == "dim:64"
    with pytest.raises(InputError, match="dim:64: the model's embeddings have 32 dimensions"):
        settings.of_dimension(32)


def test_the_faces_import_nothing_heavy():
    code = (
        "import sys, sharpen.evaluation.settings, components.evaluation.component; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'polars', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "[]"


def test_help_shows_every_setting_with_its_default():
    done = subprocess.run(
        [sys.executable, "-m", "components.evaluation", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    for name in (*EvaluationSettings.model_fields, "query_max_len", "champion"):
        assert f"--{name}" in done.stdout
