"""An optimizer's state in checkpoints: by the parameters' names, without the settings of the config.

PyTorch numbers parameters in the order of their groups, which depends on learning rates and decays: with
others, numbers stand for other parameters.
"""

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def parameter_names(optimizer: Optimizer, model: nn.Module) -> list[str]:
    """The names of the parameters in the order in which the optimizer's state numbers them."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def load_optimizer(optimizer: Optimizer, model: nn.Module, saved: dict, names: Sequence[str]) -> None:
    """Give every parameter the state that was saved for it.

    Args:
        optimizer: keeps its groups, with their learning rates, decays and momenta.
        model: whose parameters it holds.
        saved: a state_dict of an optimizer of the same kind.
        names: its `parameter_names`.
    """
    states = {names[number]: state for number, state in saved["state"].items()}
    own = enumerate(parameter_names(optimizer, model))
    state = {number: states[name] for number, name in own if name in states}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_learning_rates(scheduler: LRScheduler, base_lrs: Sequence[float]) -> None:
    """Go on with these learning rates, each scaled as the schedule has it where it stands."""
    scheduler.base_lrs = list(base_lrs)
    for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_lr(), strict=True):
        group["lr"] = lr
