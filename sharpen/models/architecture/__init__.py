"""What a model's folder says of how texts become embeddings: the files of sentence-transformers, read and written.

The files (``modules.json``, ``1_Pooling/config.json``, ``config_sentence_transformers.json``) are written in the form
that its versions 2 to 6 all read. Two towers are its ``Router`` with the routes ``query`` and ``document`` (versions 5
and 6), each with a folder of its own. Nothing here imports torch.
"""

from sharpen.models.architecture.dense import ACTIVATIONS, DenseConfig
from sharpen.models.architecture.facts import ROUTER, ROUTES, Architecture
from sharpen.models.architecture.read import read_architecture
from sharpen.models.architecture.write import module_folders, write_architecture

__all__ = [
    "ACTIVATIONS",
    "ROUTER",
    "ROUTES",
    "Architecture",
    "DenseConfig",
    "module_folders",
    "read_architecture",
    "write_architecture",
]
