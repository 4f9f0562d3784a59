"""Running recorded cases of single modules of H2S (tests/recorded/family/README.md), of any size.

A case says which class of the original it holds and what that class was given. So cases that are recorded
later run without new code. Dimensions are those of the modules.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from avis.modeling import ClusteredAttention, TwoWayAttention
from avis.modeling.clustered_attention import choose_clusters, cluster_shares
from avis.modeling.state_space import StateSpaceBlock
from tests.modeling.recorded import assert_recorded, fill_parameters, normal

RECORDED = Path(__file__).parents[1] / "recorded" / "family"
# float32 sums in another order; norms of gradients that are truly 0 are rounding alone.
TOLERANCE = {"atol": 1e-5, "rtol": 1e-4}

Numbers = dict[str, Tensor]


class ModuleCase:
    """A recorded case: what its files say, by attribute."""

    def __init__(self, path: Path) -> None:
        self.facts = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            self.arrays = dict(arrays)
        self.original = original_class(self.facts)
        self.options = dict(re.findall(r"(\w+)=([\w.]+)", self.facts["what"]))

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.facts["arrays"][name]["shape"])

    def inputs(self, *names: str) -> list[Tensor]:
        """Random inputs in the order in which they were drawn, each of an output's shape."""
        generator = np.random.default_rng(self.facts["seed"])
        return [normal(generator, *self.shape(name)).requires_grad_() for name in names]

    def fill(self, module: nn.Module) -> None:
        """Give a module the recorded parameters, of which some are multiples of the usual ones."""
        fill_parameters(module)
        scaled = re.search(r"([\w.]+(?: and [\w.]+)*) times (\d+(?:\.\d+)?)", self.facts["params"])
        for name in scaled[1].split(" and ") if scaled else ():
            module.get_parameter(name).data *= float(scaled[2])

    def gradient_norms(self, module: nn.Module) -> Tensor:
        """In the order of the case; 0 for parameters that ours does not have."""
        ours = dict(module.named_parameters())
        assert set(ours) <= set(self.facts["param_names"])
        return torch.tensor(
            [ours[name].grad.norm() if name in ours else 0.0 for name in self.facts["param_names"]]
        )


def module_cases(folder: Path = RECORDED) -> list[Path]:
    """The cases of a folder that hold a single module."""
    return [path for path in sorted(folder.glob("*.json")) if original_class(json.loads(path.read_text()))]


def original_class(facts: dict) -> str:
    """The class that a case is of; "" for a whole model."""
    return next((name for name in RUNS if name in facts.get("what", "")), "")


def assert_case_is_recomputed(path: Path) -> None:
    """Run a case and compare all that is recorded of it."""
    case = ModuleCase(path)
    numbers = RUNS[case.original](case)
    recorded = {name for name, facts in case.facts["arrays"].items() if facts["role"] == "output"}
    assert recorded - NOT_COMPUTED == set(numbers)
    for name, values in numbers.items():
        assert_recorded(values, case.arrays, name, **TOLERANCE)


def recorded_starts(arrays: dict[str, np.ndarray]) -> Callable[[Tensor, int], Tensor]:
    """Where k-means began in the recording, call by call: of the queries, then of the keys."""
    starts = iter([arrays[name].astype(np.int64) for name in sorted(arrays) if name.startswith("kmeans")])

    def start(points: Tensor, num_clusters: int) -> Tensor:
        indices = torch.from_numpy(next(starts))
        assert indices.shape == (len(points), num_clusters)
        return indices

    return start


def run_clustered_attention(case: ModuleCase) -> Numbers:
    layer = ClusteredAttention(
        int(case.options["embed_dim"]),
        int(case.options["num_heads"]),
        top_p=float(case.options["top_p"]),
        num_clusters=int(case.options["num_clusters"]),
        iterations=int(case.options["kmeans_max_iter"]),
    )
    case.fill(layer)
    query, key, value, position, weights = case.inputs(
        "grad_query", "grad_key", "grad_value", "grad_query", "output"
    )
    inputs = [x.transpose(0, 1) for x in (query + position, key, value)]
    layer.start = recorded_starts(case.arrays)
    queries, keys = (layer.cluster(rows) for rows in layer.project(*inputs)[:2])
    layer.start = recorded_starts(case.arrays)
    output = layer(*inputs).transpose(0, 1)
    (output * weights).sum().backward()
    return {
        "output": output,
        "q_labels": queries.labels,
        "k_labels": keys.labels,
        "selected_packed": _packed(choose_clusters(queries, keys, layer.top_p)),
        "cluster_probs": cluster_shares(queries, keys),
        "param_grad_norms": case.gradient_norms(layer),
        "grad_query": query.grad,
        "grad_key": key.grad,
        "grad_value": value.grad,
    }


def run_state_space_block(case: ModuleCase) -> Numbers:
    block = StateSpaceBlock(int(case.options["hidden_dim"]))
    assert {name: list(value.shape) for name, value in block.state_dict().items()} == case.facts["state"]
    case.fill(block)
    frames, heard, weights = case.inputs("grad_x", "grad_audio", "output")
    output = block(*(x.permute(2, 0, 1, 3) for x in (frames, heard))).permute(1, 2, 0, 3)
    (output * weights).sum().backward()
    return {
        "output": output,
        "param_grad_norms": case.gradient_norms(block),
        "grad_x": frames.grad,
        "grad_audio": heard.grad,
    }


def run_two_way_attention(case: ModuleCase) -> Numbers:
    fusion = TwoWayAttention(*(int(case.options[name]) for name in ("dim", "context_dim", "heads")))
    case.fill(fusion)
    pixels, sources, position, weights = case.inputs("grad_x", "grad_audio", "grad_x", "output")
    output = pixels + fusion.hear(pixels + position, sources)
    (output * weights).sum().backward()
    return {
        "output": output,
        "param_grad_norms": case.gradient_norms(fusion),
        "grad_x": pixels.grad,
        "grad_audio": sources.grad,
    }


def _packed(flags: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(flags.numpy()))


# By the original's class. What it gives and its model throws away is not computed here.
RUNS: dict[str, Callable[[ModuleCase], Numbers]] = {
    "SemanticAwareSparseAttention": run_clustered_attention,
    "BiSTSSMBlock": run_state_space_block,
    "BidirectionalCrossAttention": run_two_way_attention,
}
NOT_COMPUTED = {"context_output"}
