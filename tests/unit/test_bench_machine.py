"""A process's cost includes its child processes: services decode pictures in children."""

import subprocess
import sys

from bench import machine

BUSY_S = 0.3
CHILD = (
    f"import time\nwhile time.process_time() < {BUSY_S}: pass\nprint('done', flush=True)\nimport sys; sys.stdin.read()"
)
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"


def test_children_that_run_and_children_that_have_ended_are_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"done\n"
        running = machine.cpu([parent.pid]).cpu_s
        parent.kill()
    assert running >= BUSY_S * 0.9
