"""The commands: each verb parses its flags, calls one function of `edgevision.api`, and shows the result."""

from edgevision.cli.group import main

__all__ = ["main"]
