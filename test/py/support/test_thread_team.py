# SPDX-License-Identifier: Apache-2.0
"""Thread teams: barriers hold, every iteration is run once, idle teams sleep, busy processors are left."""

import mmap
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.support.threads import ThreadTeam, default_thread_count

# Each round, every worker adds 1 to its own counter, meets the others, and reads all counters: those of
# members must show the round. slots: rounds, how many did not for each worker [16], counters [16].
STRESS = """
llvm.func @lumen_barrier(!llvm.ptr)
llvm.func @stress(%slots: !llvm.ptr, %worker: !llvm.ptr) {
  %c0 = llvm.mlir.constant(0 : i64) : i64
  %c1 = llvm.mlir.constant(1 : i64) : i64
  %id = llvm.load volatile %worker : !llvm.ptr -> i64
  %countAt = llvm.getelementptr %worker[1] : (!llvm.ptr) -> !llvm.ptr, i64
  %count = llvm.load %countAt : !llvm.ptr -> i64
  %rounds = llvm.load %slots : !llvm.ptr -> i64
  %errorsAt = llvm.getelementptr %slots[1] : (!llvm.ptr) -> !llvm.ptr, i64
  %errorAt = llvm.getelementptr %errorsAt[%id] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  %counters = llvm.getelementptr %slots[17] : (!llvm.ptr) -> !llvm.ptr, i64
  %mine = llvm.getelementptr %counters[%id] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  llvm.br ^round(%c0 : i64)
^round(%i: i64):
  %next = llvm.add %i, %c1 : i64
  llvm.store volatile %next, %mine : i64, !llvm.ptr
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  llvm.br ^look(%c0 : i64)
^look(%j: i64):
  %at = llvm.getelementptr %counters[%j] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  %seen = llvm.load volatile %at : !llvm.ptr -> i64
  %wrong = llvm.icmp "ne" %seen, %next : i64
  %extra = llvm.zext %wrong : i1 to i64
  %errors = llvm.load %errorAt : !llvm.ptr -> i64
  %sum = llvm.add %errors, %extra : i64
  llvm.store %sum, %errorAt : i64, !llvm.ptr
  %j1 = llvm.add %j, %c1 : i64
  %more = llvm.icmp "ult" %j1, %count : i64
  llvm.cond_br %more, ^look(%j1 : i64), ^done
^done:
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  %again = llvm.icmp "ult" %next, %rounds : i64
  llvm.cond_br %again, ^round(%next : i64), ^end
^end:
  llvm.return
}
"""

# Each round, the workers claim a loop of iterations; who claims one adds 1 to its counter. Then follows a
# loop without iterations, and in odd rounds nobody waits before the next one. slots: rounds, iterations of a
# loop, how many of them worker 0 wants others to have done before it does any, how many they have done, and
# the counters.
CLAIMS = """
llvm.func @lumen_barrier(!llvm.ptr)
llvm.func @lumen_claim(!llvm.ptr, i64) -> !llvm.struct<(i64, i64)>
llvm.func @claims(%slots: !llvm.ptr, %worker: !llvm.ptr) {
  %c0 = llvm.mlir.constant(0 : i64) : i64
  %c1 = llvm.mlir.constant(1 : i64) : i64
  %id = llvm.load %worker : !llvm.ptr -> i64
  %rounds = llvm.load %slots : !llvm.ptr -> i64
  %totalAt = llvm.getelementptr %slots[1] : (!llvm.ptr) -> !llvm.ptr, i64
  %total = llvm.load %totalAt : !llvm.ptr -> i64
  %wantAt = llvm.getelementptr %slots[2] : (!llvm.ptr) -> !llvm.ptr, i64
  %want = llvm.load %wantAt : !llvm.ptr -> i64
  %doneAt = llvm.getelementptr %slots[3] : (!llvm.ptr) -> !llvm.ptr, i64
  %counters = llvm.getelementptr %slots[4] : (!llvm.ptr) -> !llvm.ptr, i64
  %isFirst = llvm.icmp "eq" %id, %c0 : i64
  %patience = llvm.mlir.constant(10000000000 : i64) : i64
  llvm.br ^round(%c0 : i64)
^round(%i: i64):
  %next = llvm.add %i, %c1 : i64
  llvm.br ^claim
^claim:
  %piece = llvm.call @lumen_claim(%worker, %total) : (!llvm.ptr, i64) -> !llvm.struct<(i64, i64)>
  %first = llvm.extractvalue %piece[0] : !llvm.struct<(i64, i64)>
  %last = llvm.extractvalue %piece[1] : !llvm.struct<(i64, i64)>
  %left = llvm.icmp "ult" %first, %last : i64
  llvm.cond_br %left, ^count(%first : i64), ^behind
^count(%j: i64):
  %at = llvm.getelementptr %counters[%j] : (!llvm.ptr, i64) -> !llvm.ptr, i64
  %old = llvm.atomicrmw add %at, %c1 monotonic : !llvm.ptr, i64
  llvm.cond_br %isFirst, ^turn(%c0 : i64), ^other
^other:
  %before = llvm.atomicrmw add %doneAt, %c1 monotonic : !llvm.ptr, i64
  llvm.br ^counted
^turn(%k: i64):
  %done = llvm.load volatile %doneAt : !llvm.ptr -> i64
  %k1 = llvm.add %k, %c1 : i64
  %few = llvm.icmp "ult" %done, %want : i64
  %patient = llvm.icmp "ult" %k1, %patience : i64
  %on = llvm.and %few, %patient : i1
  llvm.cond_br %on, ^turn(%k1 : i64), ^counted
^counted:
  %j1 = llvm.add %j, %c1 : i64
  %more = llvm.icmp "ult" %j1, %last : i64
  llvm.cond_br %more, ^count(%j1 : i64), ^claim
^behind:
  %none = llvm.call @lumen_claim(%worker, %c0) : (!llvm.ptr, i64) -> !llvm.struct<(i64, i64)>
  %odd = llvm.and %i, %c1 : i64
  %meets = llvm.icmp "eq" %odd, %c0 : i64
  llvm.cond_br %meets, ^meet, ^on
^meet:
  llvm.call @lumen_barrier(%worker) : (!llvm.ptr) -> ()
  llvm.br ^on
^on:
  %again = llvm.icmp "ult" %next, %rounds : i64
  llvm.cond_br %again, ^round(%next : i64), ^end
^end:
  llvm.return
}
"""


@pytest.fixture(scope="module")
def claims():
    with ir.Context():
        loaded = codegen.ObjectFile(codegen.emit(ir.Module.parse(CLAIMS)))
    yield loaded.lookup("claims")


def run_claims(team, address, rounds, total, want=0):
    """Returns how many iterations others than worker 0 have done."""
    slots = np.zeros(4 + total, np.uint64)
    slots[:3] = rounds, total, want
    team.run(address, slots)
    assert slots[4:].tolist() == [rounds] * total
    return slots[3]


@pytest.fixture(scope="module")
def stress():
    with ir.Context():
        loaded = codegen.ObjectFile(codegen.emit(ir.Module.parse(STRESS)))
    yield loaded.lookup("stress")


def run_stress(team, address, rounds):
    slots = np.zeros(33, np.uint64)
    slots[0] = rounds
    team.run(address, slots)
    errors, counters = slots[1:17].tolist(), slots[17:].tolist()
    assert counters[: team.active] == [rounds] * team.active
    assert counters[team.size :] == [0] * (16 - team.size)
    # Workers that leave the run do so from the last on. Their counters stay behind from then on, and all
    # others must be right; who leaves at the first barrier of a round does not look any more.
    assert counters == sorted(counters, reverse=True)
    for number, own in enumerate(counters):
        behind = [own - other for other in counters[number + 1 :] if 0 < other < own]
        missed = len(behind) if number >= team.active else 0
        assert sum(behind) - missed <= errors[number] <= sum(behind)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_barrier_stress(stress, threads, record_property):
    team = ThreadTeam(threads)
    assert team.size == threads
    run_stress(team, stress, 20000)
    seconds = min(team.measure_barrier(2000) for _ in range(5))
    record_property("barrier_microseconds", seconds * 1e6)
    print(f"{threads} threads: {seconds * 1e6:.2f} us per barrier")


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_every_iteration_is_claimed_once(claims, threads):
    team = ThreadTeam(threads)
    for total in (0, 1, 2, 3, 7, 64, 1000):
        run_claims(team, claims, 2001, total)


def test_others_do_what_a_slow_worker_leaves(claims):
    """Worker 0 claims a piece and does nothing until the other one has done more than its own share."""
    for total in (16, 64, 1000):
        assert run_claims(ThreadTeam(2), claims, 1, total, want=total * 3 // 4) >= total * 3 // 4


def test_many_short_runs(stress):
    team = ThreadTeam(2)
    for i in range(2000):
        run_stress(team, stress, 1)
        if i % 500 == 0:
            time.sleep(0.002)  # Long enough for the workers to fall asleep.


def test_several_teams_in_threads(stress):
    errors = []

    def work(threads):
        try:
            team = ThreadTeam(threads)
            for _ in range(20):
                run_stress(team, stress, 100)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []


def test_one_team_from_several_threads(stress):
    team, counters = ThreadTeam(2), []

    def run():
        slots = np.zeros(33, np.uint64)
        slots[0] = 200
        team.run(stress, slots)
        counters.append(slots[17:].tolist())

    runs = [threading.Thread(target=run) for _ in range(3)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    # The second worker may have been left out of a run, or have left it; the first one never is.
    assert len(counters) == 3
    assert all(first == 200 and second <= 200 and not any(rest) for first, second, *rest in counters)


# ---- processors that others keep busy ----

BUSY = """
import mmap, os, sys
if len(sys.argv) > 2:
    os.sched_setaffinity(0, {int(sys.argv[2])})
with open(sys.argv[1], "r+b") as file:
    count = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
while True:
    count[0] += 1
"""


@pytest.fixture
def busy(tmp_path):
    """Starts a process that only counts, on one processor if one is given; returns it and its counter."""
    processes = []

    def start(*processor):
        path = tmp_path / f"count-{len(processes)}"
        path.write_bytes(bytes(8))
        processes.append(subprocess.Popen([sys.executable, "-c", BUSY, *map(str, (path, *processor))]))
        with open(path, "r+b") as file:
            counter = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")
        while not counter[0]:
            time.sleep(0.001)
        return processes[-1], counter

    yield start
    for process in processes:
        process.kill()
        process.wait()


needs_two_processors = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


@needs_two_processors
def test_worker_without_a_processor_is_left_out(claims, busy):
    """The caller then does all the work; when the processor is free again, both work."""
    before = set(os.listdir("/proc/self/task"))
    team = ThreadTeam(2)
    (worker,) = set(os.listdir("/proc/self/task")) - before
    all_processors = os.sched_getaffinity(0)
    free, taken = sorted(all_processors)[:2]
    process, _ = busy(taken)
    try:
        os.sched_setaffinity(int(worker), {taken})
        os.sched_setaffinity(0, {free})
        alone = 0
        for _ in range(100):
            others = run_claims(team, claims, 100, 64)
            alone += team.active == 1 and others == 0
        assert alone > 50
        process.kill()
        process.wait()
        os.sched_setaffinity(int(worker), all_processors)
        os.sched_setaffinity(0, all_processors)
        deadline = time.monotonic() + 60
        while run_claims(team, claims, 100, 64) == 0:
            assert time.monotonic() < deadline
    finally:
        os.sched_setaffinity(0, all_processors)


@needs_two_processors
def test_busy_processor_costs_a_team_little(claims, busy):
    """What two threads do while a busy process counts so far, against what one thread does meanwhile."""
    _, counter = busy()
    teams = [ThreadTeam(1), ThreadTeam(2)]

    def ratio() -> float:
        runs, counts = [0, 0], [0, 0]
        for turn in range(12):
            team, before, deadline = teams[turn % 2], counter[0], time.monotonic() + 0.1
            while time.monotonic() < deadline:
                run_claims(team, claims, 200, 100)
                runs[turn % 2] += 1
            counts[turn % 2] += counter[0] - before
        one, two = (n / count for n, count in zip(runs, counts, strict=True))
        print(f"two threads: {two / one:.2f} of one")
        return two / one

    # Other programs than the busy one may have taken the other processor in the meantime.
    assert any(ratio() > 0.5 for _ in range(5))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_during_a_run(claims):
    """The thread that runs the team is not there in the child."""
    team = ThreadTeam(2)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            run_claims(team, claims, 200, 100)

    thread = threading.Thread(target=work)
    thread.start()
    statuses = []
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    run_claims(team, claims, 20, 100)
                    status = 0
                finally:
                    os._exit(status)
            statuses.append(os.waitpid(child, 0)[1])
    finally:
        stop.set()
        thread.join()
    assert statuses == [0] * 20


def test_idle_team_uses_no_cpu_time():
    team = ThreadTeam(4)
    team.measure_barrier(10)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05
    del team


def test_destruction_joins_the_threads():
    def count():
        return len(os.listdir("/proc/self/task"))

    before = count()
    teams = [ThreadTeam(3) for _ in range(3)]
    assert count() == before + 6
    del teams
    assert count() == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_team_works_after_fork(stress):
    team = ThreadTeam(2)
    run_stress(team, stress, 10)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run_stress(team, stress, 10)
            del team
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    run_stress(team, stress, 10)


@pytest.mark.parametrize("threads", [0, -1, 100000])
def test_bad_size(threads):
    with pytest.raises(ValueError, match="a team has 1 to 1024 threads"):
        ThreadTeam(threads)


def test_bad_slots(stress):
    team = ThreadTeam(1)
    with pytest.raises(TypeError):
        team.run(stress, np.zeros(4, np.int32))
    with pytest.raises(TypeError):
        team.run(stress, np.zeros(8, np.uint64)[::2])
    with pytest.raises(ValueError, match="address"):
        team.run(0, np.zeros(4, np.uint64))


# ---- the default number of threads ----


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 4 cores with 2 hardware threads each."""
    for processor in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{processor}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{processor % 4}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


def test_hardware_threads_count_once(machine):
    assert default_thread_count(machine) == 4


def test_affinity_limits(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6})
    assert default_thread_count(machine) == 2


@pytest.mark.parametrize(
    "limit, threads", [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("junk", 4)]
)
def test_cgroup_v2_quota(machine, limit, threads):
    (machine / "proc/self/cgroup").write_text("0::/a/b\n")
    group = machine / "sys/fs/cgroup/a"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(limit + "\n")
    assert default_thread_count(machine) == threads


@pytest.mark.parametrize("quota, threads", [("-1", 4), ("300000", 3)])
def test_cgroup_v1_quota(machine, quota, threads):
    (machine / "proc/self/cgroup").write_text("5:cpuset:/\n3:cpu,cpuacct:/docker/x\n")
    group = machine / "sys/fs/cgroup/cpu,cpuacct"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota + "\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert default_thread_count(machine) == threads


def test_no_topology(tmp_path):
    assert default_thread_count(tmp_path) == len(os.sched_getaffinity(0))
    assert default_thread_count() >= 1
