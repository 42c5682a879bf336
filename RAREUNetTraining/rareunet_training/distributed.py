"""The processes of a run: one alone, or those that torchrun started. Nothing else in the package asks which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed.nn  # the default arguments in there keep the process group for ever if there is one by then
from torch import Tensor, distributed, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

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

    def align(self, *networks: nn.Module) -> None:
        """Gives every process the first one's weights."""
        if self.world_size > 1:
            for network in networks:
                for tensor in network.state_dict().values():
                    distributed.broadcast(tensor, 0)

    def sum(self, values: Tensor) -> Tensor:
        """Adds a tensor up over the processes, in every process. Its gradient goes to this process's values alone:
        `sum_gradients` adds up the rest."""
        return values if self.world_size == 1 else _Sum.apply(values)

    def sum_gradients(self, network: nn.Module) -> None:
        """Adds the gradients up over the processes. A step's routes are the same in all of them, and so are the
        parameters without a gradient.

        DistributedDataParallel would do it, but keeps the process group for as long as it lives itself, such as in
        the traceback of a run that was stopped; see `stop`.
        """
        if self.world_size > 1:
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            total = parameters_to_vector(gradients)
            distributed.all_reduce(total)
            vector_to_parameters(total, gradients)

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
        """Leaves the group. Its threads end if nothing else holds the group; one of Gloo's that is still busy when the
        interpreter ends aborts the process (PyTorch 2.13)."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def is_restarted_on_failure() -> bool:
    """Whether torchrun starts the run again if this process ends with another exit code than 0."""
    names = ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    restarts, most = (int(os.environ.get(name, "0")) for name in names)
    return restarts < most


class _Sum(torch.autograd.Function):
    """Sum over the processes."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient
