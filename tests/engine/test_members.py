import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avis.engine.members import Member, find_member, first_node, is_restart

MEETING = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
OPEN_MPI = dict(
    zip((f"OMPI_COMM_WORLD_{n}" for n in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")), "5814", strict=True)
)
SRUN = {
    **{"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"},
    **{"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_ID": "12"},
}


# As of a job rather than a step.
OF_JOB = {
    **{"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NNODES": "2"},
    **{"SLURM_NODELIST": "gpu[07-08]", "SLURM_JOBID": "12"},
}
BATCH_SCRIPT = OF_JOB | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "ENVIRONMENT": "BATCH"}


@pytest.mark.parametrize(
    "environment",
    [
        *(TORCHRUN | MEETING, OPEN_MPI | MEETING, SRUN | MEETING, SRUN | BATCH_SCRIPT | SRUN | MEETING),
        *(OF_JOB | MEETING, OF_JOB | MEETING | {"SLURM_TASKS_PER_NODE": "4(x2)"}),
    ],
)
def test_each_program_says_the_same(environment: dict):
    assert find_member(environment) == Member(5, 8, 1, 4, "tcp://a:1")


def test_srun_needs_no_address():
    member = find_member(SRUN)
    assert re.fullmatch(r"tcp://gpu07:1\d{4}|tcp://gpu07:2\d{4}", member.url)
    assert member.url != find_member(SRUN | {"SLURM_STEP_ID": "1"}).url
    assert find_member(SRUN | MEETING, "tcp://b:2").url == find_member(SRUN, "tcp://b:2").url == "tcp://b:2"
    assert find_member(OPEN_MPI, "tcp://b:2").url == "tcp://b:2"
    assert find_member(OF_JOB).url == find_member(SRUN).url


def test_what_stands_in_for_srun_can_say_little():
    little = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}
    member = find_member(little)
    assert (member.rank, member.world_size, member.local_rank, member.local_size) == (1, 2, 1, 2)
    assert member.url.startswith("tcp://127.0.0.1:")
    assert find_member({**little, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}).url == member.url
    with pytest.raises(ValueError, match="neighbouring ranks"):  # on a second machine that nothing tells of
        find_member({**little, "SLURM_LOCALID": "0"})


def test_torchrun_wins_within_a_step():
    elastic = {"TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    member = find_member(SRUN | OPEN_MPI | TORCHRUN | MEETING | elastic)
    assert (member.rank, member.meets_at_agent) == (5, True)
    assert is_restart(elastic) and is_restart({"SLURM_RESTART_COUNT": "1"})
    assert not is_restart(SRUN | TORCHRUN)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        MEETING,
        BATCH_SCRIPT,
        {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_ID": "12"},  # a shell of salloc
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},  # an interactive shell
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
    ],
)
def test_one_process_alone_is_no_member(environment: dict):
    assert find_member(environment) is None


@pytest.mark.parametrize("complete", [TORCHRUN | MEETING, OPEN_MPI | MEETING, SRUN, OF_JOB])
def test_what_is_half_set_is_refused(complete: dict):
    optional = ("_ID", "JOBID", "NODELIST", "NNODES", "PER_NODE")
    needed = {name for name in complete if not name.endswith(optional)}
    if complete is OF_JOB:
        needed.discard("SLURM_PROCID")  # then it is a shell
    for name in needed:
        with pytest.raises(ValueError, match=name.replace("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")):
            find_member({key: value for key, value in complete.items() if key != name})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "4,2(x2)"}, "SLURM_STEP_TASKS_PER_NODE is '4,2"),
        ({"SLURM_LOCALID": "0"}, "neighbouring ranks"),
        ({"SLURM_PROCID": "9"}, "process 9 of 8"),
        ({"SLURM_STEP_TASKS_PER_NODE": "3"}, "same number of processes"),
    ],
)
def test_what_contradicts_itself_is_refused(changed: dict, message: str):
    with pytest.raises(ValueError, match=message):
        find_member(SRUN | changed)


@given(st.integers(1, 5), st.integers(1, 8), st.data())
def test_ranks_of_equal_machines_are_accepted(machines: int, local: int, data: st.DataObject):
    rank = data.draw(st.integers(0, machines * local - 1))
    member = Member(rank, machines * local, rank % local, local, "")
    assert member.rank == rank


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("gpu[03-07,9]", "gpu03"), ("n[1]-ib,m2", "n1-ib"), ("a-1,b[2-3]", "a-1")],
)
def test_first_of_slurms_list(nodes: str, first: str):
    assert first_node(nodes) == first
