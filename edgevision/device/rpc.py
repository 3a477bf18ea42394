"""A board with a TVM RPC server: the walk is uploaded as a library the server loads, so it is the same walk again.

For boards where the TVM wheel exists and ssh does not. The bundle must have shared kernels: a static file has no library
to load into the server.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.bundle.link import walk_library
from edgevision.device import executable, facts
from edgevision.device.answer import by_step, raise_failure, raise_timeout
from edgevision.device.device import RawTiming
from edgevision.device.pushed import need_bundle
from edgevision.device.samples import outputs_of, samples_of
from edgevision.errors import DeviceError, ToolMissing, Unsupported, UsageError
