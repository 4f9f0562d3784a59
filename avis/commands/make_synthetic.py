"""Make a SynthAVIS data set: generated videos with sound, annotated in the format of AVISeg."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import Field, fields, replace

from avis.command_line import command_parser, exit_on_bad_input
from avis.formats.categories import AVISEG_CATEGORIES
from avis.synthetic import PRESETS, SynthOptions, make_synthavis

EPILOG = """\
examples:
  python tools/make_synthetic.py --preset quickstart --output datasets/synthavis
  python tools/make_synthetic.py --output datasets/hard --train 50 --val 10 --test 0 --seconds 10 20 --seed 7

difficulty:
  Textured objects move over textured backgrounds; each class has a look and a timbre of its own. Annotated is
  the visible mask of an object in each frame in which it sounds. An object that sounds shows a cue, a bright
  rim and an open mouth. Decoys, which show the cue in silence, mislead those who only see
  (--decoy-probability, --decoy-interval-probability). Two objects of a class of which one sounds
  (--pair-probability) and sounds from beyond the frame (--offscreen-probability) mislead those who only hear.
  Small or fast objects, many classes, overlaps, departures and noise make it harder still.

SynthAVIS-Bench goes where the data sets synthavis_{tiny,small,full}_{train,val,test} are looked for:
  python tools/make_synthetic.py --preset tiny --output datasets/synthavis_tiny

Models of separated sources (H2S) take --separated-sources 8, and then tools/prepare_audio.py.

The data set goes to OUTPUT/{train,val,test}.json and OUTPUT/{train,val,test}/, and what it was made by to
OUTPUT/synthavis.json. Run again, the program adds the splits that are missing.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument("--output", required=True, metavar="ROOT", help="folder of the data set")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="full",
        help="values of the options that are not given. full, small and tiny are SynthAVIS-Bench: as large "
        "and hard as AVISeg, or for a CPU in an hour or minutes; quickstart is easier (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, help="processes (default: by the number of cores)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set made with other options")
    group = parser.add_argument_group("options", "A range takes one number or two, its ends.")
    for option in fields(SynthOptions):
        add_option(group, option)
    return parser.parse_args(arguments)


def add_option(group: argparse._ArgumentGroup, option: Field) -> None:
    """Add the option of a field; its help has the defaults of all presets."""
    is_several = isinstance(option.default, tuple)
    defaults = "; ".join(f"{name}: {shown(getattr(preset, option.name))}" for name, preset in PRESETS.items())
    group.add_argument(
        f"--{option.name.replace('_', '-')}",
        type=type(option.default[0] if is_several else option.default),
        nargs="+" if is_several else None,
        metavar="NAME" if option.name == "categories" else "X",
        help=f"{option.metadata['help']} ({defaults})",
    )


def shown(value: object) -> str:
    """A default as help shows it."""
    if not isinstance(value, tuple):
        return f"{value}"
    return f"all {len(value)}" if value == AVISEG_CATEGORIES else " ".join(map(str, value))


def read_options(args: argparse.Namespace) -> SynthOptions:
    """The preset with what the command line changes."""
    given = {option.name: getattr(args, option.name) for option in fields(SynthOptions)}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = as_range(name, value) if name != "categories" else tuple(value)
    return replace(PRESETS[args.preset], **given)


def as_range(name: str, ends: list[float]) -> tuple[float, float]:
    """The ends of a range of which one or both are given."""
    if len(ends) > 2:
        raise ValueError(f"{name} takes one number or two, got {ends}")
    return ends[0], ends[-1]


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    options = read_options(args)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_synthavis(args.output, options, args.workers, overwrite=args.overwrite)
