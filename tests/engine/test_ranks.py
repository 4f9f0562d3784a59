import multiprocessing
import sys

from avis.engine.ranks import _Launcher


def test_a_launcher_finds_who_failed_where_all_have_ended_before_it_looks():
    """A signal that it passes on can end them all while it looks elsewhere."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=sys.exit, args=(code,)) for code in (0, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    launcher = _Launcher(processes)
    launcher.wait()
    assert launcher.exit_code() == 3
