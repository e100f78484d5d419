"""CPU budgets of test modules."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from budgets.ledger import Budgets, over_budget, spent_of
from support.cpu_time_plugin import CpuMeter

TESTS = Path(__file__).parents[1]
REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_some" name="a"><properties><property name="cpu_s" value="1.5"/></properties></testcase>
<testcase classname="tests.unit.test_some.TestClass" name="b"><properties><property name="cpu_s" value="2.0"/></properties></testcase>
<testcase classname="tests.unit.test_other" name="c"><properties><property name="cpu_s" value="0.25"/></properties></testcase>
</testsuite></testsuites>"""


def test_a_modules_cost_is_its_tests_sum_or_a_dearer_second_run(tmp_path: Path):
    first, second = tmp_path / "first.xml", tmp_path / "second.xml"
    first.write_text(REPORT)
    second.write_text(REPORT.replace("0.25", "4.25").replace("2.0", "0.5"))
    assert spent_of([first, second]) == {"tests.unit.test_some": 3.5, "tests.unit.test_other": 4.25}


def test_a_report_without_cpu_times_is_an_error(tmp_path: Path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT.replace("cpu_s", "other"))
    with pytest.raises(KeyError, match="cpu_s"):
        spent_of([report])


def test_a_module_over_its_own_or_the_common_budget_fails():
    budgets = Budgets(default_s=6, modules={"tests.dear": 40})
    spent = {"tests.dear": 39.0, "tests.other": 6.1, "tests.cheap": 1.0}
    assert over_budget(spent, budgets) == {"tests.other": (6.1, 6)}
    assert over_budget({"tests.dear": 40.5}, budgets) == {"tests.dear": (40.5, 40)}


def test_only_existing_modules_have_a_budget_above_the_common_one():
    budgets = Budgets.load()
    for module, budget_s in budgets.modules.items():
        assert Path(TESTS.parent, *module.split(".")).with_suffix(".py").is_file(), module
        assert budget_s > budgets.default_s, module


def test_child_processes_count_while_running_and_after_exit():

    meter = CpuMeter()
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        while_running_s = meter.read_s()
        child.communicate(b"\n", timeout=20)
    assert while_running_s > 0.45
    began_s = time.process_time()
    assert meter.read_s() < 0.2 + time.process_time() - began_s
