"""What Flower, Ray and Hugging Face would tell others, switched off; a variable that the user has set is kept."""

from __future__ import annotations

import os

NO_REPORTS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Usage reports, and looks for newer versions."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes Ray's processes bind to 127.0.0.1; else they listen on every interface, whatever address `ray.init` is given.
The name is odd on Linux: on the systems that it names, this is how Ray keeps firewalls from asking."""


def keep_private() -> None:
    """Set the variables for this process and those that it starts; to be called before the packages are imported."""
    wanted = NO_REPORTS if "RAY_ADDRESS" in os.environ else NO_REPORTS | LOOPBACK
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
