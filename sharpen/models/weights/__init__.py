"""Tensors by name in safetensors files, read and written one at a time, so that never all are in memory."""

from sharpen.models.weights.tensor_file import DTYPES, TensorForm, save_tensors, write_tensors
from sharpen.models.weights.weight_files import WeightFiles

__all__ = ["DTYPES", "TensorForm", "WeightFiles", "save_tensors", "write_tensors"]
