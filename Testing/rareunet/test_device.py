"""Which device is taken: one that a driver lists but that fails in a layer of the network is none."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rareunet import device as module
from rareunet.device import best_device, choose_device, problem_with
from rareunet.errors import DeviceError

LAYERS = ("conv3d", "instance_norm", "leaky_relu", "max_pool3d", "conv_transpose3d")


@pytest.fixture
def listed(monkeypatch):
    """A CUDA device and an Apple GPU that PyTorch lists; what is made on them lies on the CPU."""
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(module.torch, "ones", lambda *size, device: ones(*size))


@pytest.fixture
def cpu_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_devices_that_compute_are_taken(listed):
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("mps") == torch.device("mps")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_that_fails_leaves_the_cpu(listed, monkeypatch, layer):
    inner, seen = getattr(functional, layer), []

    def fail_on_gpus(*arguments, **options):
        seen.append(layer)
        if len(seen) <= 2:  # cuda, then mps
            raise NotImplementedError(f"The operator '{layer}' is not implemented\nfor this device")
        return inner(*arguments, **options)

    monkeypatch.setattr(functional, layer, fail_on_gpus)
    device, note = best_device()
    assert device == torch.device("cpu")
    assert note.startswith(
        "The processor was used in place of the graphics card: a test convolution failed (The op"
    )


def test_apples_gpu_is_taken_where_no_cuda_device_is(listed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("mps")


def test_nothing_is_said_of_a_graphics_card_that_is_not_there(cpu_alone):
    assert best_device() == (torch.device("cpu"), "")
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("toaster", "unknown device 'toaster'"),
        ("cuda:99", "'cuda:99' can't be used: this PyTorch sees no CUDA device"),
        ("mps", "'mps' can't be used: this PyTorch sees no Apple GPU"),
    ],
)
def test_device_that_is_not_there_is_refused(cpu_alone, name, reason):
    with pytest.raises(DeviceError, match=f"{reason}.*hoose auto"):
        choose_device(name)


def test_why_a_device_fails_is_told(listed, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("CUDA error: no kernel image is available\nmore lines")

    monkeypatch.setattr(functional, "conv3d", fail)
    with pytest.raises(
        DeviceError, match=r"failed \(CUDA error: no kernel image is available\)\. Choose auto or cpu"
    ):
        choose_device("cuda")


def test_an_error_without_words_is_a_problem_too(listed, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError

    monkeypatch.setattr(functional, "conv3d", fail)
    assert "RuntimeError" in problem_with("cuda")


def test_a_build_without_cuda_that_says_otherwise(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "test convolution failed" in problem_with("cuda")
    assert choose_device("auto").type != "cuda"
