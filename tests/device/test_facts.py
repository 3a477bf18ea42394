import subprocess

from edgevision.device import facts

PI = """aarch64

==> /proc/cpuinfo
processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU part\t: 0xd08

processor\t: 1
Features\t: fp asimd evtstrm crc32 cpuid
Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4

==> /proc/meminfo
MemTotal:        3882384 kB
MemFree:          112000 kB

==> /proc/device-tree/model
Raspberry Pi 4 Model B Rev 1.4
==> /proc/sys/kernel/osrelease
6.1.21-v8+

==> /proc/loadavg
0.17 0.10 0.09 1/160 1234

==> /sys/devices/system/cpu/online
0-3

==> /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
ondemand

==> /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq
600000

==> /sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq
1500000

==> /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq
1500000

==> /sys/class/thermal/thermal_zone0/temp
51121

==> /sys/class/thermal/thermal_zone1/temp
-274000
"""


def test_a_raspberry_pi_is_read() -> None:
    assert facts.parse(facts.read_printed(PI)) == {
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "arch": "aarch64",
        "cores": 4,
        "governor": "ondemand",
        "frequency_khz": 1500000,
        "frequency_max_khz": 1500000,
        "temperature_c": 51.121,
        "ram_mib": 3791,
        "load_1min": 0.17,
        "kernel": "6.1.21-v8+",
        "features": "asimd cpuid crc32 evtstrm fp",
    }


def test_what_cannot_be_read_is_none() -> None:
    assert facts.parse({}) == facts.unknown()
    assert facts.parse(facts.read_printed("")) == facts.unknown()
    garbage = {"/proc/cpuinfo": "\x00:::", "/proc/meminfo": "MemTotal: lots", "/sys/class/thermal/x/temp": "hot"}
    assert set(facts.parse(garbage).values()) == {None}


def test_the_script_of_a_board_and_the_reader_of_this_machine_agree() -> None:
    printed = subprocess.run(["sh", "-c", facts.SCRIPT], capture_output=True, text=True, check=True).stdout
    theirs, ours = facts.parse(facts.read_printed(printed)), facts.parse(facts.read_local())
    for moving in ("frequency_khz", "temperature_c", "load_1min"):
        theirs.pop(moving), ours.pop(moving)
    assert theirs == ours
    assert ours["cores"] >= 1
