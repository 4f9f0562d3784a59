"""Serve a web page that finds what sounds in a video: drop one, and see and download what is found."""

import argparse
import logging
from collections.abc import Sequence

from avis.command_line import POSITIVE, SHARE, exit_on_bad_input, number_type

EPILOG = """\
examples:
  python tools/app.py
  python tools/app.py --weights output/my_run/model_final.pth --max-seconds 300
  python tools/app.py --weights output --port 8000
  python tools/app.py --weights published.pth --config-file configs/avis_R50.yaml

Without --weights, those of the quickstart are taken, output/quickstart/model_final.pth. The page shows the
overlay with its sound, the tracks, when each sounds, and each of them alone. The overlay, a JSON, a CSV and
the masks can be downloaded.

The page listens on this machine only, unless --host says otherwise. Whoever can reach it can use it: there is
no password. Videos and results are deleted when their tab is closed, and all when the program ends. Nothing
is sent or fetched elsewhere.

It needs Gradio: bash tools/setup_env.sh --app, or pip install 'avis[app]'.
"""

logger = logging.getLogger("avis.commands.app")

PORT = number_type("a whole number from 0 to 65535", lambda port: 0 <= port < 65536, int)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, by default that of this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="FILE|DIR",
        help="weights to choose from, the first by default; of a folder, its files and its runs' model_final",
    )  # fmt: skip
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="the models' config, default: what each file holds",
    )
    parser.add_argument(
        "--score-threshold", type=SHARE, default=0.5, metavar="S", help="at first, default: %(default)s"
    )
    parser.add_argument(
        "--fps",
        type=POSITIVE,
        metavar="N",
        help="frames a second to look at, default: the config's INPUT.FPS",
    )
    parser.add_argument(
        "--max-seconds",
        type=POSITIVE,
        default=120.0,
        metavar="N",
        help="longest video, default: %(default)g s",
    )
    parser.add_argument(
        "--max-mb", type=POSITIVE, default=200.0, metavar="N", help="largest file, default: %(default)g MB"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, default: %(default)s")
    parser.add_argument("--port", type=PORT, default=7860, help="default: %(default)s; 0: any that is free")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 …, default: the config's MODEL.DEVICE")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args(arguments)


@exit_on_bad_input()
def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until the program is ended."""
    args = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks the page whether it is there
    # here, as NumPy and PyAV take a second to import, for which --help should not wait
    from avis.app import Limits, PredictionService, WeightChoice, Workspace, find_weights
    from avis.app.serving import free_port, require_gradio, serve

    require_gradio()
    files = find_weights(args.weights)
    port = free_port(args.host, args.port)
    device = ["MODEL.DEVICE", args.device] if args.device else []
    weights = WeightChoice(files, args.config_file, (*device, *args.opts))
    weights.load(next(iter(files)))  # so that what is wrong with it is said at once
    workspace = Workspace()
    try:
        service = PredictionService(workspace, weights, Limits(args.max_seconds, args.max_mb), args.fps)
        serve(service, args.host, port, args.score_threshold)
    finally:
        workspace.remove()


if __name__ == "__main__":
    main()
