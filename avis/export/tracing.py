"""Tracing a program by torch.export, and comparing what it then computes with what it should."""

import linecache
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from types import FrameType

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

# How far an output of an exported program may be from the model's, as a share of the largest value.
TOLERANCE = 1e-4

_TORCH = Path(torch.__file__).parent


def trace(program: nn.Module, inputs: tuple) -> ExportedProgram:
    """Trace a program for inputs of these shapes; it has the weights alone that it reads.

    Raises:
        ValueError: torch.export cannot follow a part; the message names it.
    """
    try:
        exported = torch.export.export(program, inputs)
    except Exception as error:  # of many kinds, all of which say what cannot be traced
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"torch.export cannot follow {_place_of(error, program)}: {reason}") from error
    exported.graph.eliminate_dead_code()  # regions that give nothing cannot be written
    _drop_unread_weights(exported)
    return exported


def compare(name: str, outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest difference of each output of a program.

    Raises:
        ValueError: one is more than TOLERANCE of the largest expected value, or not a number.
    """
    differences = {key: (outputs[key] - expected[key]).abs().max().item() for key in expected}
    for key, difference in differences.items():
        allowed = TOLERANCE * expected[key].abs().max().item()
        if not difference <= allowed:
            raise ValueError(
                f"{name}: {key} differs by {difference:.1e} from the model's, {allowed:.1e} is allowed. Does "
                "a part draw random numbers, as k-means with MODEL.CLUSTERED_ATTENTION.START 'random' does?"
            )
    return differences


def _drop_unread_weights(exported: ExportedProgram) -> None:
    """Tracing keeps all weights of the module, also those of the other program."""
    specs = exported.graph_signature.input_specs
    by_name = {spec.arg.name: spec for spec in specs}
    for node in exported.graph.find_nodes(op="placeholder"):
        spec = by_name[node.name]
        if spec.target in exported.state_dict and not node.users:
            del exported.state_dict[spec.target]
            specs.remove(spec)
            exported.graph.erase_node(node)


def _place_of(error: Exception, program: nn.Module) -> str:
    """The innermost module and line that an error in tracing a program comes from."""
    frames = list(_frames_outside_torch(error))
    owners = [program, *(frame.f_locals.get("self") for frame, _ in frames)]
    part = next(type(owner).__name__ for owner in reversed(owners) if isinstance(owner, nn.Module))
    frame, line = frames[-1]
    file = frame.f_code.co_filename
    return f"{part} ({file}, line {line}: {linecache.getline(file, line).strip()})"


def _frames_outside_torch(error: Exception) -> Iterator[tuple[FrameType, int]]:
    """Frames of the traceback with their lines, from the outermost on."""
    for frame, line in walk_tb(error.__traceback__):
        if not Path(frame.f_code.co_filename).is_relative_to(_TORCH):
            yield frame, line
