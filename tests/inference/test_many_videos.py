import multiprocessing
import sys

import pytest

from avis.inference.many_videos import _wait_for


def test_who_failed_is_found_where_all_have_ended_before_anybody_looks():
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=sys.exit, args=(code,)) for code in (0, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with pytest.raises(SystemExit) as ended:
        _wait_for(processes)
    assert ended.value.code == 3
