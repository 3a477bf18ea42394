"""Devices: one file per way to run a bundle, all with the methods of `device.Device`."""

from __future__ import annotations

import platform

from edgevision.config import nearest
from edgevision.device.csim import CsimDevice
from edgevision.device.device import Device
from edgevision.device.host import HostDevice
from edgevision.device.pushed import refuse_target
from edgevision.device.qemu import QemuDevice
from edgevision.device.rpc import RpcDevice
from edgevision.device.ssh import SshDevice
from edgevision.errors import UsageError
from edgevision.machine import machine_arch
from edgevision.target import Target

_DESCRIPTIONS = {
    "host": "this machine",
    "csim": "the C simulation of a target's engine: checks results, has no time",
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
    """Return the device `spec` names, checked against `target` as far as the name tells; `ready` contacts it.

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
        refuse_target(target, machine_arch(platform.machine()), name=spec)
        return HostDevice(timeout=timeout)
    if spec == "csim":
        return CsimDevice(timeout=timeout)
    if spec == "qemu-aarch64":
        refuse_target(target, "aarch64", name=spec)
        return QemuDevice("aarch64", timeout=timeout)
    if spec == "qemu-armv7":
        refuse_target(target, "armv7", name=spec)
        return QemuDevice("armv7", timeout=timeout)
    raise UsageError(f"unknown device '{spec}'{nearest(spec, names())}", fix=f"one of: {', '.join(names())}")
