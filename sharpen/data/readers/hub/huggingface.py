"""Data sets of Hugging Face `datasets`: a folder that `save_to_disk` wrote, or ``hf://<id>[:<config>][@<revision>]``.

One of the hub is downloaded once and read from the cache of `datasets` after that, without a network too
(``HF_HUB_OFFLINE=1``). The splits train, validation and test become ours where there are several; a single one is the
split of all rows of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sharpen.data.dataset import DataSet
from sharpen.data.parquet import arrow_faults
from sharpen.data.readers.beir import SPLIT_OF_FILE
from sharpen.data.readers.columns.parquet import records_of
from sharpen.data.readers.columns.table import Record, TableReader
from sharpen.data.readers.data_format import DataFormat, InputFile
from sharpen.data.readers.rows import ReadReport
from sharpen.data.source_settings import HUB_SCHEME
from sharpen.errors import InputError
from sharpen.progress import without_bars

if TYPE_CHECKING:
    import datasets

_ROWS = 2000
_STATE, _SPLITS = "state.json", "dataset_dict.json"


def select(address: str, names: set[str]) -> list[str]:
    """The files of a folder that `save_to_disk` wrote; none where it is none."""
    if _SPLITS not in names and not {_STATE, "dataset_info.json"} <= names:
        return []
    return sorted(name for name in names if name.endswith((".arrow", ".json")) and not name.startswith("."))


def find(address: str) -> InputFile | None:
    """The data set behind an ``hf://`` address, of which the version is found out. Raises InputError: there is none."""
    if not address.startswith(HUB_SCHEME):
        return None
    name, config, revision = parse_hub_address(address)
    with hub_faults(address), without_bars():
        import datasets

        builder = datasets.load_dataset_builder(name, config, revision=revision)
        version = f"{builder.config.name} {builder.hash or builder.info.version}"
    return InputFile(address, name.rpartition("/")[2], HUB_FORMAT, {}, version)


def parse_hub_address(address: str) -> tuple[str, str | None, str | None]:
    """Id, config and revision of an ``hf://`` address. Raises InputError: there is no id in it."""
    rest, _, revision = address.removeprefix(HUB_SCHEME).removeprefix("datasets/").partition("@")
    name, _, config = rest.partition(":")
    if not name.strip("/") or name.count("/") > 1:
        raise InputError(f"{address}: not the id of a data set; write {HUB_SCHEME}owner/name[:config][@revision]")
    return name.strip("/"), config or None, revision or None


def read(item: InputFile, source: str, split: str, report: ReadReport) -> DataSet:
    """Read a folder or a data set of the hub.

    Args:
        item: what was found.
        source: name of the source that the queries get.
        split: the split of all rows, where the data set has one only, or the source names one.
        report: takes bad rows and notices.

    Raises:
        InputError: it cannot be read, has no such split, or columns of which it is not clear what they are.
    """
    table = TableReader(item, source, split, report)
    splits = splits_of(item)
    for name, (names, records) in splits.items():
        ours = split if len(splits) == 1 else SPLIT_OF_FILE.get(name, "")
        if ours:
            shown = f"{item.address}, split {name}" if name else item.address
            table.read(shown, names, records, ours)
        else:
            report.notice(f"{item.address}: split {name[:80]!r} is not used; name it with the setting split")
    report.on_bytes(sum(path.stat().st_size for path in item.files.values()))
    return table.data_set()


def splits_of(item: InputFile) -> dict[str, tuple[list[str], Iterator[Record]]]:
    """Name of each split, or of the one that the source names, to the names of its columns and its rows."""
    loaded = _load(item)
    parts = {str(name): part for name, part in loaded.items()} if isinstance(loaded, Mapping) else {"": loaded}
    if item.source.split:
        if item.source.split not in parts:
            raise InputError(f"{item.address}: no split {item.source.split}; it has {', '.join(parts) or 'no splits'}")
        parts = {item.source.split: parts[item.source.split]}
    return {name: (part.column_names, rows_of(part, item.address)) for name, part in parts.items()}


def _load(item: InputFile) -> datasets.DatasetDict | datasets.Dataset:
    with without_bars():
        import datasets

        if item.format is HUB_FORMAT:
            name, config, revision = parse_hub_address(item.address)
            with hub_faults(item.address):
                return datasets.load_dataset(name, config, revision=revision)  # type: ignore[return-value]
        folder = item.files[_SPLITS if _SPLITS in item.files else _STATE].parent
        with arrow_faults(item.address), _other_faults(item.address):
            return datasets.load_from_disk(str(folder))


def rows_of(part: datasets.Dataset, shown: str) -> Iterator[Record]:
    """The rows of a split, classes by their names. Raises InputError: damaged; the message begins with `shown`."""
    import datasets

    classes = {name: kind for name, kind in part.features.items() if isinstance(kind, datasets.ClassLabel)}
    with arrow_faults(shown):
        tables = part.with_format("arrow").iter(batch_size=_ROWS)
        for number, values, raw in records_of(tables):  # type: ignore[arg-type]
            # a class is a number whose name says more, but for pairs, where it is 0 or 1
            named = {name: _class_name(kind, values[name]) for name, kind in classes.items()}
            yield number, {**values, **named}, raw


def _class_name(kind: datasets.ClassLabel, value: int | None) -> int | str | None:
    if value is None or value < 0 or set(kind.names) <= {"0", "1"}:
        return value
    return kind.int2str(value)  # type: ignore[return-value]


@contextmanager
def hub_faults(address: str) -> Iterator[None]:
    """Raise InputError, which names the address, for what the client of the hub raises."""
    try:
        yield
    except Exception as error:  # the client has a dozen classes for "not found" and "no network"
        if isinstance(error, InputError):
            raise
        reason = str(error).strip().split("\n", 1)[0][:200] or type(error).__name__
        raise InputError(
            f"{address}: neither in the cache of this machine nor a data set that the hub gives ({reason})"
        ) from None


@contextmanager
def _other_faults(address: str) -> Iterator[None]:
    """What `datasets` raises for JSON files that were damaged or written by hand."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        raise InputError(f"{address}: not a data set that can be read ({reason}); save it again") from None


_EXPECTED = f"a data set of Hugging Face (a folder of save_to_disk, or {HUB_SCHEME}ID)"
FORMAT = DataFormat("Hugging Face", _EXPECTED, read, select=select)
HUB_FORMAT = DataFormat("Hugging Face hub", _EXPECTED, read, find=find)
