"""The Tcl scripts run to their end against commands that only say what they were given; no Xilinx tool is here."""

import re
import subprocess
from pathlib import Path

import pytest
from helpers.tools import need

from edgevision.engine.hardware import hardware
from edgevision.engine.project import _settings
from edgevision.resources import shipped

SCRIPTS = shipped("hw") / "scripts"

#: Every command that Tcl does not know is one of the tool's: it is printed, and gives back its name.
STUB = r"""
proc unknown {args} {
    puts "CALL $args"
    return [lindex $args 0]
}
proc exit {{code 0}} {
    puts "EXIT $code"
    rename exit {}
    ::really_exit $code
}
"""


def run(script: Path, folder: Path, *arguments: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """The tool's commands in the order they were given."""
    need("tclsh")
    (folder / "engine.tcl").write_text(_settings(hardware("pynq-z2")))
    main = folder / "main.tcl"
    words = " ".join(arguments)
    main.write_text(
        f"rename exit really_exit\n{STUB}\nset argv {{{words}}}\nif {{[catch {{source {script}}} message]}} {{\n"
        'puts stderr "FAILED $message"\nreally_exit 99\n}\n'
    )
    environment = {"HW": str(shipped("hw")), "BUILD": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["tclsh", str(main)], capture_output=True, text=True, check=False, env=environment)
    return re.findall(r"^CALL (.*)$", done.stdout, re.MULTILINE), done


def only(calls: list[str], name: str) -> list[str]:
    return [call for call in calls if call.split()[0] == name]


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.tcl")), ids=lambda path: path.name)
def test_every_script_is_complete_tcl(script):
    need("tclsh")
    check = f"set f [open {script}]; set text [read $f]; puts [info complete $text]"
    assert subprocess.run(["tclsh"], input=check, capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("step", "does"),
    [("csim", "csim_design"), ("synth", "csynth_design"), ("cosim", "cosim_design"), ("ip", "export_design")],
)
def test_hls_steps(step, does, tmp_path):
    calls, done = run(SCRIPTS / "hls.tcl", tmp_path, step)
    assert done.returncode == 0, done.stderr
    assert only(calls, does) and calls[0].startswith(f"open_project -reset hls_{step}")
    files = [one.strip("{}") for call in only(calls, "add_files") for one in re.findall(r"\S+\.cpp", call)]
    assert len(files) == 2 and all(Path(one).is_file() for one in files)
    folders = re.findall(r"-I(\S+?)[\s}]", " ".join(only(calls, "add_files")))
    assert folders and all(Path(one).is_dir() for one in folders)
    (top,) = only(calls, "set_top")
    assert f"void {top.split()[1]}(" in (shipped("hw") / "engine" / "engine.cpp").read_text()
    assert only(calls, "set_part") == ["set_part xc7z020clg400-1"]
    assert only(calls, "create_clock") == ["create_clock -period 10.0 -name default"]
    # A part is known before the design is made.
    assert calls.index("set_part xc7z020clg400-1") < calls.index(only(calls, does)[0])


def test_an_unknown_step_is_refused(tmp_path):
    calls, done = run(SCRIPTS / "hls.tcl", tmp_path, "everything")
    assert done.returncode == 2 and not calls and "got 'everything'" in done.stderr


def test_the_block_design_connects_every_port_of_the_engine(tmp_path):
    (tmp_path / "hls_ip" / "solution" / "impl" / "ip").mkdir(parents=True)
    handoff = tmp_path / "vivado" / "vivado_engine.gen" / "sources_1" / "bd" / "engine" / "hw_handoff"
    made = tmp_path / "vivado" / "vivado_engine.runs" / "impl_1"
    handoff.mkdir(parents=True)
    made.mkdir(parents=True)
    (handoff / "engine.hwh").write_text("hwh")
    (made / "engine_wrapper.bit").write_text("bit")
    script = tmp_path / "vivado.tcl"
    # The one value that is computed with.
    script.write_text((SCRIPTS / "vivado.tcl").read_text().replace("[get_property SLACK [get_timing_paths]]", "0.1"))
    calls, done = run(script, tmp_path, "pynq-z2")
    assert done.returncode == 0, done.stderr
    assert ((tmp_path / "engine.bit").read_text(), (tmp_path / "engine.hwh").read_text()) == ("bit", "hwh")
    ports = set(re.findall(r"m_axi port=(\w+)", (shipped("hw") / "engine" / "engine.cpp").read_text()))
    wired = " ".join(only(calls, "apply_bd_automation"))
    assert set(re.findall(r"/engine/m_axi_(\w+)", wired)) == ports and "s_axi_control" in wired
    order = [call.split()[0] for call in calls]
    assert order.index("validate_bd_design") < order.index("launch_runs") < order.index("wait_on_run")


def test_a_board_without_a_block_design_or_an_ip_that_is_not_there(tmp_path):
    calls, done = run(SCRIPTS / "vivado.tcl", tmp_path, "ultra96")
    assert done.returncode == 2 and not calls and "Zynq-7000 only" in done.stderr
    calls, done = run(SCRIPTS / "vivado.tcl", tmp_path, "pynq-z2")
    assert done.returncode == 3 and not calls and "make ip first" in done.stderr
