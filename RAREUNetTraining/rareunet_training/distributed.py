"""The processes of a run: one alone, or those that torchrun started. Nothing else in the package asks which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rareunet.device import choose_device

T = TypeVar("T")

# The first process checks the scans while the others wait for it.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process among its fellows.

    Attributes:
        rank: number of this process; 0 alone writes and prints.
        world_size: number of processes, over all machines.
        local_rank, local_world_size: the same on this machine.
        restarts: how often torchrun has restarted the run after a failure.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    restarts: int = 0

    @classmethod
    def start(cls, device: str = "auto") -> Processes:
        """Joins the group that torchrun's environment variables describe; one process alone without them."""
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if "LOCAL_RANK" not in os.environ:
            return cls()
        names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        rank, local_rank, local_world_size, restarts = (int(os.environ.get(name, "0")) for name in names)
        processes = cls(rank, world_size, local_rank, max(local_world_size, 1), restarts)
        if world_size > 1 and not distributed.is_initialized():
            processes._join("cpu:gloo,cuda:nccl" if processes.device(device).type == "cuda" else "gloo")
        return processes

    def _join(self, backend: str) -> None:
        """Meets the others. torchrun's store outlives a restart and still holds the addresses of the processes that
        died, so each attempt writes under a name of its own."""
        store, rank, world_size = next(distributed.rendezvous("env://", self.rank, self.world_size))
        store = distributed.PrefixStore(f"attempt {self.restarts}", store)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE
        )

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process: each process of a machine gets a GPU of its own."""
        if self.world_size > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            device = torch.device("cuda", self.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
            return device
        return choose_device(name)

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """The network as to be called in training. A step uses the heads and gateways of its own routes alone, so
        parameters without a gradient are looked for."""
        if self.world_size == 1:
            return network
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=True)

    def sum(self, values: Tensor) -> Tensor:
        """Adds a tensor up over the processes. Gradients flow: each process gets the gradient of all sums, which the
        averaging of gradients in `wrap` brings back to the right size."""
        return values if self.world_size == 1 else _Sum.apply(values)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.world_size == 1:
            return flag
        count = torch.tensor(int(flag))
        distributed.all_reduce(count)
        return bool(count)

    def gather(self, rows: list[T]) -> list[T]:
        """All processes' rows, in order of rank, in every process."""
        if self.world_size == 1:
            return rows
        gathered: list[Any] = [None] * self.world_size
        distributed.all_gather_object(gathered, rows)
        return [row for part in gathered for row in part]

    def from_first(self, value: T) -> T:
        """The first process's value, in every process."""
        if self.world_size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's share of the items."""
        return [items[i] for i in range(self.rank, len(items), self.world_size)]

    def stop(self) -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sum over the processes. The loss of each depends on the values of all, so the gradients are added up too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
