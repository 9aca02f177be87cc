"""What data must be like before a run spends anything on them: `contract.yaml`, which `data.contract` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from sharpen.data.dataset import SPLITS
from sharpen.errors import InputError
from sharpen.settings import SettingsModel
from sharpen.store import storage
from sharpen.store.yaml_file import read_yaml


class DataContract(SettingsModel):
    """Bounds of a prepared data set. What is not named is not checked."""

    min_rows: int | None = Field(None, ge=1, description="Fewest rows that are read and not set aside.")
    min_passages: int | None = Field(None, ge=1, description="Fewest passages.")
    min_train_queries: int | None = Field(None, ge=1, description="Fewest training queries.")
    min_dev_queries: int | None = Field(None, ge=1, description="Fewest dev queries.")
    min_test_queries: int | None = Field(None, ge=1, description="Fewest test queries.")
    max_rejected_share: float | None = Field(None, ge=0, le=1, description="Largest share of rows that are set aside.")
    languages: list[str] | None = Field(
        None, min_length=1, description="Languages that texts may be written in, ISO 639-1, such as [en, de]."
    )
    max_other_language_share: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Largest share of texts in other languages; those whose language cannot be said do not count.",
    )
    max_cut_query_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of queries that are longer than the limit of their tokens."
    )
    max_cut_passage_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of passages that are longer than the limit of their tokens."
    )
    max_near_duplicate_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of queries, and of passages, that nearly repeat another one."
    )
    max_near_leak_share: float | None = Field(
        None, ge=0, le=1, description="Largest share of dev or test queries that nearly repeat a training query."
    )
    max_conflicting_labels: int | None = Field(
        None, ge=0, description="Most texts and pairs whose labels contradict one another."
    )
    max_texts_with_secrets: int | None = Field(
        None, ge=0, description="Most texts with secrets or e-mail addresses; needs data.find_secrets."
    )


def read_contract(address: str) -> DataContract:
    """The contract at an address, local or ``s3://``. Raises InputError: it is not there, or says what is none."""
    values = read_yaml(storage.localize(address), "contract")
    try:
        return DataContract.checked(values)
    except InputError as error:
        raise InputError([f"{address}: {fault}" for fault in error.faults]) from None


def check_contract(contract: DataContract, stats: Mapping[str, Any], address: str) -> None:
    """Raise InputError, a line for each bound that the numbers do not keep.

    Args:
        contract: the bounds.
        stats: `stats.json` of the data set.
        address: of the contract, for messages.
    """
    if faults := [f"{address}: {fault}" for fault in _faults(contract, stats)]:
        raise InputError([*faults, "The data do not keep the contract: nothing was written; repair them, or change it"])


def _faults(contract: DataContract, stats: Mapping[str, Any]) -> Iterator[str]:
    for name, what, count in _counts(stats):
        least = getattr(contract, name)
        if least is not None and count < least:
            yield f"{name}: {least:,} wanted, there are {count:,} {what}"
    for name, what, share in _shares(contract, stats):
        most = getattr(contract, name)
        if most is not None and share is None:
            yield f"{name}: {what} was not looked at; set data.detect_language to true"
        elif most is not None and share > most:
            yield f"{name}: {most:.2%} allowed, {share:.2%} {what}"
    checks = stats["checks"]
    conflicts = sum(kind["found"] for kind in checks["conflicting_labels"].values())
    if contract.max_conflicting_labels is not None and conflicts > contract.max_conflicting_labels:
        yield f"max_conflicting_labels: {contract.max_conflicting_labels:,} allowed, there are {conflicts:,}"
    if contract.max_texts_with_secrets is not None:
        if "secrets" not in checks:
            yield "max_texts_with_secrets: secrets were not looked for; set data.find_secrets to true"
        else:
            texts = sum(found["texts"] for kind in checks["secrets"].values() for found in kind.values())
            if texts > contract.max_texts_with_secrets:
                yield f"max_texts_with_secrets: {contract.max_texts_with_secrets:,} allowed, there are {texts:,}"


def _counts(stats: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Bound, what it counts, and how many there are."""
    quarantine = stats["quarantine"]
    yield "min_rows", "rows", quarantine["rows_read"] - quarantine["rows"]
    yield "min_passages", "passages", stats["passages"]
    for split in SPLITS:
        yield f"min_{split}_queries", f"{split} queries", stats["splits"][split]["queries"]


def _shares(contract: DataContract, stats: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Bound, what it is a share of, and the share; None: it was not looked at."""
    checks = stats["checks"]
    yield "max_rejected_share", "of the rows were set aside", stats["quarantine"]["share"]
    for kind, plural in (("query", "queries"), ("passage", "passages")):
        if contract.languages is not None:
            what, share = f"of the {plural} are in other languages", None
            if "languages" in checks:
                counts = {code: n for code, n in checks["languages"][kind]["languages"].items() if code}
                others = {code: n for code, n in counts.items() if code not in contract.languages}
                share = sum(others.values()) / max(1, sum(counts.values()))
                what += f" ({', '.join(list(others)[:5])})" if others else ""
            yield "max_other_language_share", what, share
        tokens = checks["tokens"][kind]
        counted = " (estimated)" if tokens["estimated"] else ""
        yield (
            f"max_cut_{kind}_share",
            f"of the {plural} are longer than {tokens['limit']} tokens{counted}",
            tokens["cut_share"],
        )
        near = checks["duplicates"][kind]["near"]
        yield "max_near_duplicate_share", f"of the {plural} nearly repeat another one", near["share"]
        if kind == "query":
            for split, leaks in near["leaks"].items():
                yield "max_near_leak_share", f"of the {split} queries nearly repeat one of train", leaks["share"]
