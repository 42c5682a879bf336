"""What a process does with its fellow's part, the fellow played by hand; test_distributed.py runs real ones."""

import pytest
import torch

from rareunet_training.training import distributed
from rareunet_training.training.distributed import Processes

FIRST, SECOND = Processes(0, 2, 0, 2), Processes(1, 2, 1, 2)


def test_gradients_are_added_up_and_missing_ones_stay_missing(monkeypatch):
    """The fellow's gradients are 10 everywhere. Their mean would be cut to another length by the clipping."""
    network = torch.nn.ModuleList([torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)])
    network[0](torch.tensor([1.0, 2.0])).backward()
    monkeypatch.setattr(distributed.distributed, "all_reduce", lambda tensor: tensor.add_(10))
    FIRST.sum_gradients(network)
    assert network[0].weight.grad.tolist() == [[11.0, 12.0]]
    assert network[0].bias.grad.tolist() == [11.0]
    assert network[1].weight.grad is None


def test_sum_sends_its_gradient_to_this_process_alone(monkeypatch):
    monkeypatch.setattr(distributed.distributed, "all_reduce", lambda tensor: tensor.add_(10))
    own = torch.tensor([1.0, 2.0], requires_grad=True)
    total = FIRST.sum(own)
    assert total.tolist() == [11.0, 12.0]
    (total * torch.tensor([3.0, 4.0])).sum().backward()
    assert own.grad.tolist() == [3.0, 4.0]
    assert own.tolist() == [1.0, 2.0]


def test_weights_become_those_of_the_first(monkeypatch):
    monkeypatch.setattr(distributed.distributed, "broadcast", lambda tensor, source: tensor.fill_(7 + source))
    network, average = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    SECOND.align(network, average)
    assert all((tensor == 7).all() for one in (network, average) for tensor in one.state_dict().values())


@pytest.mark.parametrize(("own", "others", "answer"), [(False, 1, True), (True, 0, True), (False, 0, False)])
def test_flag_of_any_process_counts(monkeypatch, own, others, answer):
    monkeypatch.setattr(distributed.distributed, "all_reduce", lambda tensor: tensor.add_(others))
    assert SECOND.any(own) is answer


def test_value_is_that_of_the_first(monkeypatch):
    def receive(box):
        box[0] = "from the first"

    monkeypatch.setattr(distributed.distributed, "broadcast_object_list", receive)
    assert SECOND.from_first("own") == "from the first"


def test_one_process_alone_asks_nobody():
    alone = Processes()
    values = torch.ones(2)
    assert alone.sum(values) is values
    assert (alone.any(True), alone.any(False), alone.from_first("own"), alone.gather([1])) == (
        True,
        False,
        "own",
        [1],
    )


@pytest.mark.parametrize(
    ("restarts", "most", "answer"), [("0", "2", True), ("2", "2", False), (None, None, False)]
)
def test_torchrun_starts_again_while_it_has_restarts_left(monkeypatch, restarts, most, answer):
    for name, value in (("RESTART_COUNT", restarts), ("MAX_RESTARTS", most)):
        if value is None:
            monkeypatch.delenv(f"TORCHELASTIC_{name}", raising=False)
        else:
            monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    assert distributed.is_restarted_on_failure() is answer


def test_items_are_shared_out_evenly():
    assert [processes.share("abcde") for processes in (FIRST, SECOND)] == [["a", "c", "e"], ["b", "d"]]
