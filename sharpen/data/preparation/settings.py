"""Settings of the data_prep step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sharpen.data.source_settings import SourceSettings, SourcesText
from sharpen.data.window import Since
from sharpen.errors import InputError
from sharpen.settings import LONGEST_TEXT, SettingsModel


class DataAddresses(SettingsModel):
    """What the step reads and where it writes, when it is run by itself."""

    train_data: SourcesText = Field(
        description="Training data: files of rows (*.jsonl, *.csv, *.parquet), a BEIR folder, hf://ID, mteb://TASK, a "
        "data set of ours, or python-source:stdlib|PACKAGE|FOLDER. Local or s3://, a folder or a glob; several "
        "separated by commas, or a JSON list of addresses and of objects with settings of a source."
    )
    eval_data: SourcesText = Field(
        "", description="Evaluation data in the same forms; its queries are the test set. Empty: cut from train_data."
    )
    output: str = Field(min_length=1, description="Address of the folder to write: local or s3://.")


class DataSettings(SettingsModel):
    """How input becomes a checked and split data set."""

    licence: str = Field(
        "",
        max_length=200,
        description="Licence of the data, as an SPDX identifier such as CC-BY-4.0 or in words; for the model card. A "
        "source may have one of its own.",
    )
    corpus: str = Field(
        "",
        description="Passages beside those of the data, in which mining, evaluation and the index search too: a "
        "corpus.jsonl, other JSON Lines, CSV, Parquet or hf://ID with a column text, or a data set.",
    )
    judgements: str = Field(
        "",
        description="CSV file of query_id, passage_id, grade, such as an evaluation's judge.csv filled in; local or "
        "s3://. Its grades are added to the judgements; one that differs from a grade in the data is refused.",
    )
    seed: int = Field(42, ge=0, description="Seed of the split and of every sample that is drawn.")
    test_share: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of the queries that are cut out as test queries, where the input has none.",
    )
    dev_share: float = Field(
        0.05,
        ge=0,
        le=0.4,
        description="Share of the queries that are cut out as dev queries, where the input has none.",
    )
    split_by: Literal["group", "time", "hash"] = Field(
        "group",
        description="How test and dev queries are cut. group: what shares a positive passage, a text or a group stays "
        "together, drawn by a hash; time: the newest queries by their time are test, the next dev; hash: every query "
        "by a hash of its text. Queries of one group stay together in each.",
    )
    split_groups: bool = Field(False, description="Let queries of one group stand in several splits.")
    large_components: Literal["train", "cut"] = Field(
        "train",
        description="With split_by group, what hangs together by shared passages and is larger than half of a split: "
        "train on it; or cut it by text and group, so that on_leak decides about what is shared then.",
    )
    freeze_splits: bool = Field(
        True,
        description="Queries that were dev or test in an earlier run of the model stay there. What its champions were "
        "trained on never becomes dev or test, whatever is set here.",
    )
    max_test_queries: int = Field(5000, ge=1, description="Most test queries; more are left out by lot.")
    max_dev_queries: int = Field(1000, ge=1, description="Most dev queries; more are left out by lot.")
    max_examples_per_source: int = Field(
        100_000_000, ge=1, description="Most training queries of one source; more are left out by lot."
    )
    max_bad_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest share of bad rows that is let pass; one bad row always is. Above it the step fails.",
    )
    on_leak: Literal["drop", "mask", "fail"] = Field(
        "drop",
        description="Training queries that leak into dev or test: drop them and say so; mask: where only a positive "
        "passage is shared, train on the query's other positives; or fail.",
    )
    leak_check: Literal["auto", "query", "query_and_passage"] = Field(
        "auto",
        description="What leaks into dev or test: query: the same query text; query_and_passage: also a positive "
        "passage that is a positive there, too. auto: query for splits that the input brings, where shared passages "
        "are normal, and for a split by time; query_and_passage for those that are cut here by group or hash.",
    )
    contract: str = Field(
        "",
        description="Address of contract.yaml: what the data must be like, else the step fails with the reasons. Local "
        "or s3://; empty: none.",
    )
    detect_language: bool = Field(True, description="Find the language of queries and passages.")
    find_secrets: bool = Field(False, description="Look for secrets and e-mail addresses in all texts.")
    check_sample: int = Field(
        20_000,
        ge=100,
        description="Most queries, and passages, whose language, tokens and near duplicates are looked for; of more, a "
        "sample.",
    )
    tokenizer: str = Field(
        "",
        description="Model whose tokenizer counts how much of the texts is cut, in the forms of base_model. Empty: in "
        "a run base_model, else tokens are estimated.",
    )
    query_max_len: int | None = Field(
        None, ge=1, le=LONGEST_TEXT, description="Tokens beyond which a query is cut. Unset: encoder.query_max_len."
    )
    passage_max_len: int | None = Field(
        None, ge=1, le=LONGEST_TEXT, description="Tokens beyond which a passage is cut. Unset: encoder.passage_max_len."
    )


class SelectionSettings(SettingsModel):
    """Which of the training examples a run trains on."""

    since: Since = Field(
        "",
        description="Train on what is as new as this: days or weeks before the day of the run, such as 30d or 8w, or a "
        "date. By the time of each query. Of folders and addresses with wildcards, older files are not read: by the "
        "date in their path, else, in a store, by when they were last written. A source of train_data may have its "
        "own. Empty: on all.",
    )
    only_new: bool = Field(
        False,
        description="Train only on examples that no champion of this model was trained on; where there is none, the "
        "run is skipped.",
    )
    replay_share: float = Field(
        0.0,
        ge=0,
        le=0.95,
        description="Share of the training examples that is drawn, by data.seed, from those that since or only_new "
        "leave out, so that the model does not forget. Above 0, older files are read, too.",
    )

    def leaves_out(self, train_data: Sequence[SourceSettings]) -> bool:
        """Whether a part of the examples may be left out; sources may have windows of their own."""
        return self.only_new or bool(self.since) or any(source.since for source in train_data)

    def check(self, train_data: Sequence[SourceSettings], prefix: str = "") -> None:
        """Raise InputError where the settings do not agree with the sources; `prefix` is before their names."""
        if self.replay_share and not self.leaves_out(train_data):
            raise InputError(
                f"{prefix}replay_share: has no effect where neither since nor only_new leaves examples out; set one of "
                "them, or leave replay_share out"
            )


class EarlierRuns(SettingsModel):
    """The model whose earlier runs a step that is run by itself respects."""

    registry: str = Field(
        "",
        description="Root of a registry: what runs of model_name held out stays held out, and what its champions were "
        "trained on is known; local or s3://. Empty: no earlier runs.",
    )
    model_name: str = Field("", description="Name of the model in the registry.")
    today: str = Field("", description="Day from which since is counted back, such as 2026-01-31; empty: today.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if bool(self.registry) != bool(self.model_name):
            raise ValueError("registry and model_name go together; name both or none")
        return self

    @field_validator("today")
    @classmethod
    def _day(cls, value: str) -> str:
        return date.fromisoformat(value).isoformat() if value else ""
