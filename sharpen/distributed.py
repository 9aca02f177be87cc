"""What the processes of a training exchange: embeddings, their gradients, the gradients of the weights.

A step of ours is three collectives, however many micro-batches: embeddings are gathered as plain numbers, their
gradients summed and handed back to the process that made the embeddings, and the weights' gradients summed. For plain
autograd `ProcessGroup.gather_rows` does the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

# torch 2.13 renamed both; the old names still work in it and are the only ones before.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

Value = TypeVar("Value")


class ProcessGroup:
    """The group of all processes.

    Attributes:
        rank: this process's number, from 0.
        size: number of processes.
    """

    def __init__(self) -> None:
        ready = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if ready else 0
        self.size = dist.get_world_size() if ready else 1

    def gather(self, local: Tensor, shares: Sequence[Tensor]) -> Tensor:
        """All processes' rows, each at its position.

        Args:
            local: (len(shares[rank]), d) this process's rows.
            shares: for every process, the positions of its rows; together every one once. A single share means that
                the process keeps to itself.

        Returns:
            (n, d), the same on every process.
        """
        if len(shares) == 1:
            return _placed(local, shares[0])
        longest = max(len(share) for share in shares)
        padded = local.new_zeros((longest, local.shape[1]))
        padded[: local.shape[0]] = local
        everything = local.new_empty((self.size * longest, local.shape[1]))
        _all_gather(everything, padded)
        rows = torch.cat([everything[rank * longest : rank * longest + len(s)] for rank, s in enumerate(shares)])
        return _placed(rows, torch.cat(list(shares)))

    def gather_rows(self, local: Tensor) -> tuple[Tensor, int]:
        """All processes' rows in the order of the processes, differentiable, and the row at which this one's begin.

        The gradient is exact: what every process's loss says of this one's rows is summed in the backward pass, which
        all processes must run. `local` is (n, d), where n may differ between processes; the result (N, d).
        """
        if self.size == 1:
            return local, 0
        counts = torch.empty(self.size, dtype=torch.long, device=local.device)
        _all_gather(counts, torch.tensor([local.shape[0]], device=local.device))
        shares = torch.arange(int(counts.sum())).split(counts.tolist())
        rows: Tensor = _GatherRows.apply(local, self, shares)  # type: ignore[assignment]
        return rows, int(counts[: self.rank].sum())

    def reduce_scatter(self, full: Tensor, shares: Sequence[Tensor]) -> Tensor:
        """The opposite of `gather`: the sum over processes of `full` (n, d), of which each gets its own rows."""
        if len(shares) == 1:
            return full[shares[0]]
        longest = max(len(share) for share in shares)
        padded = full.new_zeros((self.size * longest, full.shape[1]))
        for rank, share in enumerate(shares):
            padded[rank * longest : rank * longest + len(share)] = full[share]
        mine = full.new_empty((longest, full.shape[1]))
        _reduce_scatter(mine, padded)
        return mine[: len(shares[self.rank])]

    def sum_gradients(self, parameters: Sequence[nn.Parameter], numbers: Sequence[float]) -> list[float]:
        """Sum the gradients over all processes, in place, and some numbers with them, in one all-reduce.

        A parameter without a gradient on every process keeps none, as it would on one process. Gradients of shards were
        summed when they were computed.
        """
        if self.size == 1:
            return list(numbers)
        if any(isinstance(parameter, DTensor) for parameter in parameters):
            return self.sum(numbers)
        device = parameters[0].device
        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=device)
        extra = torch.tensor(list(numbers), dtype=torch.float32, device=device)
        pieces = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in parameters]
        flat = torch.cat([*pieces, present, extra])
        dist.all_reduce(flat)
        sizes = [p.numel() for p in parameters]
        *summed, present, extra = flat.split([*sizes, len(parameters), len(numbers)])
        for parameter, gradient, holders in zip(parameters, summed, present.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter) if holders else None
        return extra.tolist()

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(list(numbers), dtype=torch.float64, device=_device())
        dist.all_reduce(tensor)
        return tensor.tolist()

    def maximum(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over all processes."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(list(numbers), dtype=torch.long, device=_device())
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def broadcast_weights(self, module: nn.Module) -> None:
        """Give every process the weights of process 0, in case a part was initialised at random."""
        for tensor in [*module.parameters(), *module.buffers()]:
            self.broadcast(tensor.data)

    def broadcast(self, tensor: Tensor) -> None:
        """Fill a tensor, on whichever device, with that of process 0."""
        if self.size > 1:
            sent = tensor if tensor.device.type == _device().type else tensor.to(_device())
            dist.broadcast(sent, src=0)
            if sent is not tensor:
                tensor.copy_(sent)

    def broadcast_object(self, value: Value) -> Value:
        """What process 0 has."""
        if self.size == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared, src=0, device=_device())
        return shared[0]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


class _GatherRows(torch.autograd.Function):
    """`ProcessGroup.gather`, whose backward pass is `ProcessGroup.reduce_scatter`."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, group: ProcessGroup, shares: Sequence[Tensor]) -> Tensor:
        ctx.group, ctx.shares = group, shares
        return group.gather(local, shares)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.group.reduce_scatter(gradients[0].contiguous(), ctx.shares), None, None


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is cut into shards, whole; every process must ask for it. Any other one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's shard of a whole tensor, cut `like` another one; all of it where that is whole."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    device = like.to_local().device
    return distribute_tensor(tensor.to(device), like.device_mesh, like.placements, src_data_rank=None)


def local_part(tensor: Tensor) -> Tensor:
    """What of a tensor is in this process's memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _placed(rows: Tensor, positions: Tensor) -> Tensor:
    placed = torch.empty_like(rows)
    placed[positions.to(rows.device)] = rows
    return placed


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
