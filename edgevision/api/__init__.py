"""The chain as Python functions, with the words of the command line.

Each function does what the command of its name does and returns what that command shows. Artefacts go to the folder
`out` (laid out by `edgevision.workspace`); nothing there is replaced unless `overwrite` is given.

>>> from edgevision import api
>>> checked = api.check("cas_vit.onnx", target="rpi5")
Traceback (most recent call last):
    ...
edgevision.errors.UsageError: cannot read the network: No such file or directory
  where: cas_vit.onnx
"""

from edgevision.api.calibrating import calibrate
from edgevision.api.compressing import compress
from edgevision.api.deploying import check, deploy, verify
from edgevision.api.measuring import profile
from edgevision.api.reporting import report
from edgevision.api.reproducing import reproduce
from edgevision.api.training import train

__all__ = ["calibrate", "check", "compress", "deploy", "profile", "report", "reproduce", "train", "verify"]
