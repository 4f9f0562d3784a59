"""The commands of `avis`, and how this process was told which to run: `avis train` or tools/train_net.py."""

import re
import sys
from pathlib import Path

# Each command is the module of avis/commands of its name, and has a file of tools/ that runs it, too.
TOOLS = {
    "train": "train_net",
    "predict": "predict",
    "app": "app",
    "evaluate": "evaluate",
    "evaluate-avs": "evaluate_avs",
    "check-listening": "check_listening",
    "compare": "compare_models",
    "visualize": "visualize_predictions",
    "plot": "plot_metrics",
    "convert": "convert_dataset",
    "extract": "extract",
    "make-synthetic": "make_synthetic",
    "prepare-audio": "prepare_audio",
    "validate": "validate_dataset",
    "stats": "dataset_stats",
    "show-data": "show_data",
    "zoo": "zoo",
    "convert-weights": "convert_weights",
    "export": "export_model",
    "ablate": "ablate",
    "benchmark": "benchmark",
    "plan-scale": "plan_scale",
}
COMMANDS = {tool: command for command, tool in TOOLS.items()}

_TOOL = re.compile(r"(?:(?P<launcher>torchrun (?:--[\w-]+ \w+ )*)|python )?tools/(?P<tool>\w+)\.py")
_CONFIG = re.compile(r"configs/([\w/]+)\.yaml")


def is_avis() -> bool:
    """Whether this program is the console command `avis` or `python -m avis`, not a file of tools/."""
    script = Path(sys.argv[0])
    return script.name in ("avis", "avis.exe") or script.parts[-2:] == ("avis", "__main__.py")


def program_name() -> str:
    """What a usage line begins with."""
    return " ".join(["avis", *sys.argv[1:2]]) if is_avis() else Path(sys.argv[0]).name


def invocation() -> tuple[list[str], list[str]]:
    """What the interpreter was given to start this command, and the words after it."""
    if is_avis():
        return ["-m", "avis", *sys.argv[1:2]], sys.argv[2:]
    return sys.argv[:1], sys.argv[1:]


def as_typed(text: str) -> str:
    """A text that names files of tools/ and configs/, as it is for those who have typed `avis`."""
    if not is_avis():
        return text
    return _CONFIG.sub(r"\1", _TOOL.sub(_name_command, text))


def _name_command(match: re.Match) -> str:
    command = COMMANDS.get(match["tool"])
    if command is None:
        return match[0]
    return f"{match['launcher']}-m avis {command}" if match["launcher"] else f"avis {command}"
