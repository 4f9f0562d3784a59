"""Published weights by name: list them, show one, fetch it before it is needed."""

import argparse
import logging
import sys
from collections.abc import Sequence

from avis.command_line import command_parser, exit_on_bad_input

EPILOG = """\
examples:
  python tools/zoo.py
  python tools/zoo.py show mask2former_R50_coco
  python tools/zoo.py fetch resnet50 vggish

Wherever a weight file can be given, zoo://NAME can: MODEL.WEIGHTS zoo://resnet50, --weights zoo://avism_R50.
It is downloaded when it is first used. A broken download goes on where it was, and the file's digest is
checked. Of several processes one downloads. Files are kept in $AVIS_CACHE, else in "avis" below
$FVCORE_CACHE, $TORCH_HOME or ~/.cache/torch. A file that was put there by hand counts as downloaded.

$AVIS_ZOO names YAML files of your own weights, in the form of avis/zoo/weights.yaml.

fetch prints the path of each file. Exit code 2 if one cannot be had; the message says where to put it.
"""

LIST, SHOW, FETCH = "list", "show", "fetch"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default that of this process."""
    parser = command_parser(__doc__, EPILOG)
    parser.add_argument(
        "action", nargs="?", choices=(LIST, SHOW, FETCH), default=LIST, help="default: %(default)s"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of show and fetch: one or more")
    args = parser.parse_args(arguments)
    if (args.action == LIST) == bool(args.names):
        parser.error(f"{args.action} takes {'no names' if args.names else 'at least one name'}")
    return args


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from avis.zoo import fetch, find

    if args.action == LIST:
        _write(_table())
    entries = [find(name) for name in args.names]  # a wrong name shows before anything is downloaded
    for entry in entries:
        _write(str(fetch(entry.name)) if args.action == FETCH else _description(entry.name))


def _write(text: str) -> None:
    """Write to the standard output, which other programs may read."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _table() -> str:
    from tabulate import tabulate

    from avis.zoo import cached, read_zoo

    rows = [
        (
            entry.name,
            entry.what,
            entry.figures,
            entry.config,
            "here" if cached(entry) else "by hand" if entry.by_hand else "",
        )
        for entry in read_zoo().values()
    ]
    return tabulate(rows, ["name", "what", "figures", "config", ""], tablefmt="simple")


def _description(name: str) -> str:
    from tabulate import tabulate

    from avis.zoo import cached, find, place_of

    entry = find(name)
    size = "not stated" if entry.megabytes is None else f"{entry.megabytes:g} MB"
    digest = f"{entry.algorithm} {entry.digest}" if entry.digest else "not published; noted at first download"
    rows = [
        ("name", entry.name),
        ("what", entry.what),
        ("figures", entry.figures or "not stated"),
        ("config", f"configs/{entry.config}"),
        ("address", entry.address + (" (by hand, in a browser)" if entry.by_hand else "")),
        ("described at", entry.page or "not stated"),
        ("licence", entry.licence or "not stated for the weights"),
        ("size", size),
        ("digest", digest),
        ("file", f"{place_of(entry)} ({'here' if cached(entry) else 'not there yet'})"),
    ]
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


if __name__ == "__main__":
    main()
