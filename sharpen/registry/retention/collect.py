"""What a collection finds: leftovers of failed runs, old folders of runs, cached vectors, scores of searches for
settings, versions that nothing needs.

Nothing goes that a champion, the champion before it, an alias, a waiting version or one of the newest versions needs,
nor what a folder needs that was written within the days. While a run goes on, folders of runs and versions stay, since
it may take any of them from its cache, or train from one. Every rule is looked at again just before a deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from sharpen.registry import registry
from sharpen.registry.retention import references, running, versions
from sharpen.registry.retention.settings import RetentionSettings
from sharpen.registry.versions import version_address
from sharpen.store import storage
from sharpen.store.cleanup.inventory import AgedFile, aged_files
from sharpen.store.cleanup.leftovers import DAY, find_leftovers

KINDS = ("leftovers", "runs", "vectors", "searches", "versions")

# folder below the root -> kind of the folders in it that go by age alone, and what they are in words
_BY_AGE = {"vectors": ("vectors", "cached vectors"), "tuning": ("searches", "dev scores of a search")}


@dataclass(frozen=True)
class Garbage:
    """Something that may go.

    Attributes:
        kind: one of `KINDS`.
        what: what it is, in words.
        address: of the folder.
        size: in bytes.
        age: seconds since the last write to it.
        delete: deletes it, unless it is needed by now; whether it did.
    """

    kind: str
    what: str
    address: str
    size: int
    age: float
    delete: Callable[[], bool]


@dataclass
class _Folder:
    address: str
    size: int = 0
    age: float = float("inf")
    complete: bool = False

    def add(self, file: AgedFile) -> None:
        self.size += file.size
        self.age = min(self.age, file.age)


@dataclass
class _Contents:
    """What lies below a root.

    Attributes:
        folders: finished folders by key.
        by_age: key of `_BY_AGE` -> its folders by address.
        outcomes: what is written of runs' ends.
    """

    folders: dict[str, _Folder] = field(default_factory=dict)
    by_age: dict[str, dict[str, _Folder]] = field(default_factory=lambda: {name: {} for name in _BY_AGE})
    outcomes: list[AgedFile] = field(default_factory=list)


def find_garbage(
    root: str, settings: RetentionSettings, *, runs: Sequence[str] = (), kinds: Collection[str] = KINDS
) -> Iterator[Garbage]:
    """What may be deleted.

    Args:
        root: of the registry.
        settings: ages and counts.
        runs: addresses of further folders of runs, such as a pipeline's in Kubeflow's store.
        kinds: which of `KINDS`.

    Raises:
        InputError, StepFailed: the store cannot be read.
        SharpenError: a file that says what is needed is damaged; then nothing may go.
    """
    if "leftovers" in kinds:
        for address in (root, *runs):
            for one in find_leftovers(address, settings.leftover_days):
                yield Garbage("leftovers", one.kind, one.address, one.size, one.age, one.delete)
    if {*kinds} <= {"leftovers"}:
        return
    contents = _contents(root, runs)
    yield from _old(contents, settings, kinds)
    if not {"runs", "versions"} & {*kinds} or running.runs(root, settings.days):
        return
    needed = _needed(root, contents, settings)
    if "versions" in kinds:
        yield from _versions(root, contents, needed, settings)
    if "runs" in kinds:
        yield from _runs(root, contents, needed, settings)
        yield from _outcomes(root, contents, settings)


def _contents(root: str, runs: Sequence[str]) -> _Contents:
    found = _Contents()
    for address in (root, *runs):
        files = list(aged_files(address))
        complete = {file.name.rpartition("/")[0] for file in files if file.name.rpartition("/")[2] == storage.MARKER}
        for file in files:
            parts = file.name.split("/")
            for length in range(1, len(parts)):
                if (name := "/".join(parts[:length])) in complete:
                    folder = storage.join(address, name)
                    found.folders.setdefault(references.key_of(folder), _Folder(folder)).add(file)
            if address == root and parts[0] in _BY_AGE and len(parts) > 2:
                folder = storage.join(root, *parts[:2])
                found.by_age[parts[0]].setdefault(folder, _Folder(folder)).add(file)
            if address == root and parts[0] == "models" and parts[2:3] == ["outcomes"] and len(parts) == 4:
                found.outcomes.append(file)
    return found


def _old(contents: _Contents, settings: RetentionSettings, kinds: Collection[str]) -> Iterator[Garbage]:
    """What goes by age alone: vectors can be made again, and a search that goes on writes and reads its scores."""
    for name, (kind, what) in _BY_AGE.items():
        for one in contents.by_age[name].values():
            if kind in kinds and one.age > settings.days * DAY:
                delete = partial(_delete_if_old, one.address, settings.days * DAY)
                yield Garbage(kind, what, one.address, one.size, one.age, delete)


def _needed(root: str, contents: _Contents, settings: RetentionSettings) -> set[str]:
    """Keys of the folders that stay, and of what they need."""
    starts = [key for key, one in contents.folders.items() if one.age <= settings.days * DAY]
    for name in registry.list_models(root):
        champion = registry.read_champion(root, name)
        for version in versions.staying(root, name, settings.versions):
            starts.append(references.key_of(version_address(root, name, version)))
            if champion and (evaluation := champion.evaluations.get(version)):
                starts.append(references.key_of(evaluation))
    return references.reached(starts, {key: one.address for key, one in contents.folders.items()})


def _versions(root: str, contents: _Contents, needed: set[str], settings: RetentionSettings) -> Iterator[Garbage]:
    for name in storage.list_folders(storage.join(root, "models")):
        begun = versions.half_deleted(root, name)
        for version in sorted({*registry.list_versions(root, name), *begun}):
            address = version_address(root, name, version)
            key = references.key_of(address)
            one = contents.folders.get(key) or _Folder(address)
            if version in begun or (key not in needed and settings.days * DAY < one.age < float("inf")):
                what = f"{name} {version}" + (", half deleted" if version in begun else "")
                age = 0.0 if one.age == float("inf") else one.age
                delete = partial(_delete_version, root, name, version, settings)
                yield Garbage("versions", what, address, one.size, age, delete)


def _delete_version(root: str, name: str, version: str, settings: RetentionSettings) -> bool:
    if running.runs(root, settings.days):
        return False
    if version in versions.staying(root, name, settings.versions) and version not in versions.half_deleted(root, name):
        return False
    return versions.delete_version(root, name, version)


def _runs(root: str, contents: _Contents, needed: set[str], settings: RetentionSettings) -> Iterator[Garbage]:
    models = references.key_of(storage.join(root, "models")) + "/"
    holding = {parent for key in needed for parent in _parents(key)}
    old = {
        key: one
        for key, one in contents.folders.items()
        if key not in needed | holding and not key.startswith(models) and one.age > settings.days * DAY
    }
    for key, one in sorted(old.items()):
        # one inside another goes with it
        if not old.keys() & {*_parents(key)}:
            delete = partial(_delete_run_folder, root, one.address, settings.days)
            what = storage.read_manifest(one.address).producer or "folder of a run"
            yield Garbage("runs", what, one.address, one.size, one.age, delete)


def _parents(key: str) -> Iterator[str]:
    while len(key := key.rpartition("/")[0]) > 2:
        yield key


def _outcomes(root: str, contents: _Contents, settings: RetentionSettings) -> Iterator[Garbage]:
    """What is written of the ends of runs, except of those whose versions stay."""
    models = {name: versions.staying(root, name, settings.versions) for name in registry.list_models(root)}
    runs = {registry.show(root, name, version).run_id for name, staying in models.items() for version in staying}
    for file in contents.outcomes:
        run = file.name.rpartition("/")[2].rpartition(".")[0]
        if run not in runs and file.age > settings.days * DAY:
            address = storage.join(root, file.name)
            delete = partial(_delete_file, address, settings.days * DAY)
            yield Garbage("runs", "how a run ended", address, file.size, file.age, delete)


def _delete_run_folder(root: str, address: str, days: float) -> bool:
    return not running.runs(root, days) and _delete_if_old(address, days * DAY)


def _delete_if_old(address: str, seconds: float) -> bool:
    files = list(aged_files(address))
    if not files or min(file.age for file in files) <= seconds:
        return False
    storage.delete(address)
    return True


def _delete_file(address: str, seconds: float) -> bool:
    try:
        if storage.read_with_age(address)[2] <= seconds:
            return False
    except storage.NotFound:
        return False
    storage.delete(address)
    return True
