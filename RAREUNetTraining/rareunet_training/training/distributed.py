"""The processes of a run: one alone, or those that torchrun started. Nothing else reads torchrun's variables."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed.nn  # the default arguments in there keep the process group for ever if there is one by then
from torch import Tensor, distributed, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from rareunet.device import choose_device

T = TypeVar("T")

# The first process checks the scans while the others wait for it.
PATIENCE = timedelta(hours=2)
CALL = "rareunet/call"  # key of the name that the first process calls out


@dataclass(frozen=True)
class Processes:
    """This process among its fellows.

    Attributes:
        rank: number of this process; 0 alone writes and prints.
        world_size: number of processes, over all machines.
        local_rank, local_world_size: the same on this machine.
        restarted: whether any process knows of an earlier start by torchrun.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    restarted: bool = False

    @classmethod
    def start(cls, device: str = "auto") -> Processes:
        """Joins the group that torchrun's environment variables describe; one process alone without them.

        A process that ends without `stop` has failed: it then ends at once, with exit code 1.

        Raises:
            RuntimeError, TimeoutError: the others did not come, or can't be reached.
        """
        if not is_started_by_torchrun():
            return cls()
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        rank, local_rank, local_world_size, restarts = (int(os.environ.get(name, "0")) for name in names)
        processes = cls(rank, world_size, local_rank, max(local_world_size, 1), restarts > 0)
        if world_size > 1 and not distributed.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if processes.device(device).type == "cuda" else "gloo"
            return replace(processes, restarted=processes._join(backend))
        return processes

    def _join(self, backend: str) -> bool:
        """Meets the others; returns whether torchrun has started the run before. Its store outlives a restart and
        still holds the addresses of the processes that died, so each attempt writes under a name of its own."""
        store, rank, world_size = next(distributed.rendezvous("env://", self.rank, self.world_size))
        store.set_timeout(PATIENCE)
        called_before = self.is_first and store.check([CALL])
        name = _call(store, world_size) if self.is_first else _answer(store, rank)
        distributed.init_process_group(
            backend,
            store=distributed.PrefixStore(name, store),
            rank=rank,
            world_size=world_size,
            timeout=PATIENCE,
        )
        atexit.register(_end_at_once)
        # torchrun on a machine that joined late, or that saw others join, has counted no restart.
        return self.any(self.restarted or called_before)

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
        """Leaves the group, together with the others: NCCL waits for them. Its threads end if nothing else holds the
        group; one of Gloo's that is still busy when the interpreter ends aborts the process (PyTorch 2.13)."""
        if distributed.is_initialized():
            distributed.destroy_process_group()


def is_started_by_torchrun() -> bool:
    return "LOCAL_RANK" in os.environ


def is_restarted_on_failure() -> bool:
    """Whether torchrun starts the run again if this process ends with another exit code than 0."""
    names = ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    restarts, most = (int(os.environ.get(name, "0")) for name in names)
    return restarts < most


def _call(store: distributed.Store, world_size: int) -> str:
    """The first process's part in agreeing on a name for this attempt: it calls out a fresh one and repeats what is
    answered, which only a process that lives now can know. torchrun's counts of restarts differ between machines."""
    name = uuid4().hex
    store.set(CALL, name)
    answers = [store.get(f"{name}/{rank}").decode() for rank in range(1, world_size)]
    store.set(f"{name}/answers", " ".join(answers))
    return name


def _answer(store: distributed.Store, rank: int) -> str:
    """The others' part: answers each call, because it may be of an attempt that died, until its answer is repeated.

    Raises:
        TimeoutError: the first process did not come.
    """
    own, end = uuid4().hex, time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        name = store.get(CALL).decode()
        store.set(f"{name}/{rank}", own)
        if store.check([f"{name}/answers"]) and own in store.get(f"{name}/answers").decode():
            return name
        time.sleep(0.1)
    raise TimeoutError(f"process {rank} has waited {PATIENCE} for the first one: see what ended that.")


def _end_at_once() -> None:
    """Ends a process that failed within the group. Leaving it would wait for processes that wait for this one, and
    torchrun ends those only when this one is gone."""
    if distributed.is_initialized():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1)


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
