"""Devices: one file per way to run a bundle, all with the four methods of `device.Device`."""

from __future__ import annotations

import platform

from edgevision.config import nearest
from edgevision.device.device import Device
from edgevision.device.host import HostDevice
from edgevision.device.qemu import QemuDevice
from edgevision.device.rpc import RpcDevice
from edgevision.device.ssh import SshDevice
from edgevision.errors import Unsupported, UsageError
from edgevision.machine import machine_arch
from edgevision.target import Target

_DESCRIPTIONS = {
    "host": "this machine",
    "qemu-aarch64": "64-bit Arm under qemu-user: checks results, its times mean nothing",
    "qemu-armv7": "32-bit Arm under qemu-user: checks results, its times mean nothing",
    "ssh:USER@HOST[:PORT]": "a Linux board reached with ssh; keys and jump hosts from ssh's own configuration",
    "rpc:HOST:PORT:KEY": "a board that registered with a TVM tracker under KEY",
}


def names() -> list[str]:
    """The forms `--device` takes."""
    return list(_DESCRIPTIONS)


def describe() -> dict[str, str]:
    """Each form of `--device`, with what it is."""
    return dict(_DESCRIPTIONS)


def open_device(spec: str, target: Target, *, timeout: float = 60) -> Device:
    """Return the device `spec` names, checked against `target` as far as the name tells; nothing is contacted yet.

    Args:
        timeout: seconds each step on the device may take.

    Raises:
        UsageError: no such device (nearest name given), or an address that cannot be read.
        Unsupported: the device has another architecture than the target.
        ToolMissing: emulator or ssh is not installed.
    """
    kind, _, address = spec.partition(":")
    if kind == "ssh" and address:
        return SshDevice(address, timeout=timeout)
    if kind == "rpc" and address:
        return RpcDevice(address, timeout=timeout)
    if spec == "host":
        _same_arch(spec, machine_arch(platform.machine()), target)
        return HostDevice(timeout=timeout)
    if spec == "qemu-aarch64":
        _same_arch(spec, "aarch64", target)
        return QemuDevice("aarch64", timeout=timeout)
    if spec == "qemu-armv7":
        _same_arch(spec, "armv7", target)
        return QemuDevice("armv7", timeout=timeout)
    raise UsageError(f"unknown device '{spec}'{nearest(spec, names())}", fix=f"one of: {', '.join(names())}")


def _same_arch(spec: str, arch: str, target: Target) -> None:
    if target.arch != arch:
        raise Unsupported(
            f"the device is {arch}, the target {target.name} is {target.arch}",
            where=f"--device {spec}",
            fix=f"--device {target.default_device}, or another --target",
        )
