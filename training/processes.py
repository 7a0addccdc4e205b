"""Several processes that train one field together, as torchrun starts them; one alone needs none of it.

``torchrun --nproc-per-node=N --no-python render-train SCENE`` starts N of us. They hold the same field and
draw the same random numbers; each takes its ``own`` share of what was drawn, so N batches make a step, and
gradients are averaged before the optimiser moves (``training/optimise.py``): all fields stay equal to the
bit. What a process learns by itself, such as which cells its rays have seen, is brought together where it
counts. The first process alone writes. Messages are arrays, never a pickle.

Of torch, ``DistributedDataParallel`` would do the averaging alone, for modules that are called as a whole;
our fields are called in parts (densities of cells, colours of samples), by kernels with backward passes of
their own.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from render.errors import InshaderError

Rows = TypeVar("Rows", Tensor, Sequence[Any])


def started() -> bool:
    """Whether torchrun, or what does the same, has started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ["RANK"]) if started() else 0


def count() -> int:
    """How many processes there are; 1 outside of ``joined``."""
    return distributed.get_world_size() if _joined() else 1


def first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def local() -> tuple[int, int]:
    """The number of this process among those of its machine, and how many these are."""
    return int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Meet the other processes, where there are any: by gloo, and by NCCL for what is on a GPU.

    The processes of a machine share its cores evenly, since torchrun itself gives each of them a single one.

    Raises:
        InshaderError: the machine has fewer GPUs than processes.
    """
    if not started():
        yield
        return
    here, neighbours = local()
    if device == "cuda":
        if torch.cuda.device_count() <= here:
            raise InshaderError(
                f"{neighbours} processes on a machine with {torch.cuda.device_count()} GPUs: start as many, "
                "or give --device cpu"
            )
        torch.cuda.set_device(here)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    set_threads(max(1, cores // neighbours))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def set_threads(threads: int) -> None:
    """Of torch and of the numba kernels."""
    import numba

    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def barrier() -> None:
    """Wait for all processes."""
    if count() > 1:
        distributed.all_reduce(torch.zeros(1))  # on the CPU, by gloo


@contextmanager
def one_leads() -> Iterator[None]:
    """First one process of each machine goes through the body, then the others, which find its caches.

    The body may not meet the others itself.
    """
    leads = local()[0] == 0
    if not leads:
        barrier()
    yield
    if leads:
        barrier()


# Work and numbers -------------------------------------------------------------------------------------------


def own(rows: Rows) -> Rows:
    """This process's share of what all have: every ``count``-th row."""
    return rows if count() == 1 else rows[rank() :: count()]


def mean(value: float) -> float:
    """Of the values of all processes."""
    return _reduced(value, distributed.ReduceOp.SUM) / count() if count() > 1 else value


def largest(value: float) -> float:
    """Of the values of all processes."""
    return _reduced(value, distributed.ReduceOp.MAX) if count() > 1 else value


def _reduced(value: float, how: Any) -> float:
    total = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(total, how)
    return float(total)


def keep_largest(values: Tensor) -> None:
    """Make an array, in place, the largest of all processes, entry by entry."""
    if count() > 1:
        distributed.all_reduce(values, distributed.ReduceOp.MAX)


def make_same(*arrays: Tensor) -> None:
    """Make arrays, in place, those of the first process."""
    for array in arrays if count() > 1 else ():
        distributed.broadcast(array, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make every gradient the mean of all processes; one that no process has stays away."""
    if count() == 1:
        return
    parameters = list(parameters)
    device = parameters[0].device
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    gradients = (torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
    flat = torch.cat([has, *(gradient.reshape(-1) for gradient in gradients)])
    distributed.all_reduce(flat)
    found, *parts = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for p, any_has, part in zip(parameters, found.tolist(), parts, strict=True):
        p.grad = part.view_as(p) / count() if any_has else None


# Messages ---------------------------------------------------------------------------------------------------

Arrays = Mapping[str, NDArray[Any]]


def gathered(arrays: Arrays) -> list[Arrays]:
    """The arrays of all processes, by number; each process may have other ones."""
    if count() == 1:
        return [arrays]
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # (the stub takes allow_pickle from **arrays)
    message = _bytes(stream.getvalue())
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count())]
    distributed.all_gather(sizes, torch.tensor([len(message)]))
    padded = torch.zeros(int(max(sizes)), dtype=torch.uint8)
    padded[: len(message)] = message
    found = [torch.zeros_like(padded) for _ in sizes]
    distributed.all_gather(found, padded)
    parts = (io.BytesIO(part[: int(size)].numpy().tobytes()) for part, size in zip(found, sizes, strict=True))
    return [dict(np.load(part, allow_pickle=False)) for part in parts]


def from_first(message: bytes | None) -> bytes:
    """What the first process has to say; the message of the others, None, is not looked at."""
    if count() == 1:
        return message or b""
    size = torch.tensor([len(message or b"")])
    distributed.broadcast(size, 0)
    found = _bytes(message) if first() and message else torch.zeros(int(size), dtype=torch.uint8)
    distributed.broadcast(found, 0)
    return found.numpy().tobytes()


def _bytes(message: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(message, np.uint8).copy())
