"""Optional packages: which extra brings each, and one message wherever one is missing."""

from importlib.util import find_spec

from multitune.core.errors import MissingExtraError

# extra of pyproject.toml -> the packages that it brings, as a reader knows them
EXTRAS = {
    "api": "openai",
    "audit": "py3langid and vaderSentiment",
    "excel": "openpyxl",
    "peft": "PEFT",
    "quantize": "bitsandbytes",
    "ray": "Ray",
    "serve": "FastAPI, httpx2, llguidance, prometheus-client and uvicorn",
    "sql": "SQLAlchemy",
    "track": "TensorBoard",
    "tune": "Optuna",
}


def missing_extra(place: str, extra: str) -> MissingExtraError:
    """What to raise where the packages of an extra are not installed.

    Args:
        place: what needs them, such as `serve` or `track`.
        extra: its name in pyproject.toml.
    """
    return MissingExtraError(
        f"{place}: needs {EXTRAS[extra]}, not installed here. Run: pip install 'multitune[{extra}]'; from a checkout: "
        f"pip install -e '.[{extra}]'"
    )


def require_extra(place: str, extra: str, module: str) -> None:
    """Refuse, before anything is begun, what an extra is needed for.

    Args:
        place: as of `missing_extra`.
        extra: its name in pyproject.toml.
        module: that it brings.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(module) is None:
        raise missing_extra(place, extra)


def missing_package(place: str, package: str, command: str = "") -> MissingExtraError:
    """What to raise where a package that no extra brings is not installed.

    Args:
        place: what needs it, such as `task 'tweets': data.sql`.
        package: its name.
        command: that installs it; `pip install PACKAGE` when empty.
    """
    return MissingExtraError(
        f"{place}: needs {package}, not installed here. Run: {command or f'pip install {package}'}"
    )
