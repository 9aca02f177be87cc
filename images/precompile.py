"""Import the modules that are named, so that their byte code is written beside them.

A container with a read-only root cannot write byte code, and byte code for every module of every package would be a
fifth of the image. A name that ends with ``.*`` means the package's modules, all of them, but for the faces (a
``component.py`` and ``task_config.py`` need the whole of kfp). That a module cannot be imported ends the build.

    python precompile.py sharpen.* torch.distributed.run
"""

from __future__ import annotations

import importlib
import pkgutil
import sys


def main(names: list[str]) -> None:
    """Import everything."""
    for name in names:
        if not name.endswith(".*"):
            importlib.import_module(name)
            continue
        package = importlib.import_module(name[:-2])
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.rpartition(".")[2] not in ("__main__", "component", "task_config"):
                importlib.import_module(found.name)


if __name__ == "__main__":
    main(sys.argv[1:])
