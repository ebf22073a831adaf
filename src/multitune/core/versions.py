"""What a run was made with: packages, Python and the machine."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from multitune.core.plugins import plugin_packages
from multitune.core.results.run import Machine, Versions

PACKAGES = ("multitune", "torch", "transformers", "datasets", "scikit-learn", "scipy", "numpy", "sacrebleu")


def installed(package: str) -> str | None:
    """Version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(*more: str) -> Versions:
    """Packages (and `more` of them), Python and machine of this process."""
    return Versions(
        packages={name: installed(name) for name in (*PACKAGES, *more, *plugin_packages())},
        python=platform.python_version(),
        machine=Machine(system=platform.platform(), processor=_processor(), cores=os.cpu_count()),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
