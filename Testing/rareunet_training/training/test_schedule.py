"""The learning rate at each moment, and what a checkpoint has to hold of it."""

import math

import numpy as np
import pytest
import torch
from training_helpers import config_of_balls

from rareunet_training.training.schedule import Schedule


def schedule(*overrides):
    return Schedule(config_of_balls("fit.learning_rate=1.0", *overrides).fit)


@pytest.mark.parametrize("kind", ["cosine", "plateau"])
def test_warm_up_rises_from_a_rate_above_zero(kind):
    """At a rate of 0 the first step would be lost."""
    warming = schedule(f"fit.schedule={kind}", "fit.epochs=1000", "fit.warm_up_epochs=2.0")
    assert [warming.rate(epoch) for epoch in (0, 1, 2)] == pytest.approx([0.005, 0.505, 1.0], rel=1e-3)


def test_gain_below_a_ten_thousandth_is_no_gain():
    """As PyTorch's rule has it; three losses without a gain halve the rate."""
    waiting = schedule("fit.schedule=plateau", "fit.warm_up_epochs=0.0", "fit.plateau_patience=2")
    for loss in (1.0, 0.99999, 0.99998, 0.99997):
        waiting.epoch_done(loss)
    assert waiting.rate(4) == 0.5
    gaining = schedule("fit.schedule=plateau", "fit.warm_up_epochs=0.0", "fit.plateau_patience=2")
    for loss in (1.0, 1.0, 1.0, 0.999, 0.999, 0.999):
        gaining.epoch_done(loss)
    assert gaining.rate(6) == 1.0


def test_plateau_goes_on_from_its_state():
    """Best loss, epochs waited and the halvings so far: each decides when the next halving comes."""
    settings = ("fit.schedule=plateau", "fit.warm_up_epochs=0.0", "fit.plateau_patience=1")
    losses = [1.0, 1.1, 1.1, 1.1, 1.05, 0.9, 0.95, 0.95]
    rates = {}
    for pause in range(len(losses) + 1):  # at 0 a resumed run has seen nothing
        going = schedule(*settings)
        for epoch, loss in enumerate(losses):
            if epoch == pause:
                resumed = schedule(*settings)
                resumed.load_state(going.state())
                going = resumed
            going.epoch_done(loss)
            rates.setdefault(pause, []).append(going.rate(epoch + 1))
    assert rates[0] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert all(later == rates[0] for later in rates.values())


def test_cosine_warms_up_and_ends_at_zero():
    cosine = schedule("fit.epochs=10", "fit.learning_rate=0.1", "fit.warm_up_epochs=2.0")
    rates = [cosine.rate(epoch) for epoch in (0, 1, 2, 6, 10)]
    assert rates[0] < 0.001 < rates[1] < rates[2]
    assert rates[2] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.2)))
    assert rates[4] == pytest.approx(0)


def test_plateau_rule_equals_that_of_pytorch():
    waiting = schedule("fit.schedule=plateau", "fit.warm_up_epochs=0.0", "fit.plateau_patience=2")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    pytorch = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    losses = np.concatenate([np.linspace(1, 0.5, 5), [0.5] * 12, [0.4], [0.45] * 8])
    for epoch, loss in enumerate(losses):
        assert waiting.rate(epoch) == optimizer.param_groups[0]["lr"], epoch
        waiting.epoch_done(float(loss))
        pytorch.step(float(loss))
    assert waiting.rate(0) < 0.1
