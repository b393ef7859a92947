"""``python tools/install_missing.py``: installs what the course needs and this machine lacks; changes nothing that is there.

Runs on Colab and Kaggle before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"


def main() -> int:
    """Returns pip's exit code, 0 if there was nothing to do."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    missing = [line for line in lines if line and not is_installed(re.split(r"[^\w.-]", line)[0])]
    if not missing:
        return 0
    print(f"Installing what is missing here: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        # What is there stays as it is: handed the present versions as constraints, pip cannot replace one of them.
        present = Path(folder) / "present.txt"
        present.write_text("".join(f"{name}=={version}\n" for name, version in installed().items()), encoding="utf-8")
        return subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--constraint", present, *missing]).returncode


def is_installed(name: str) -> bool:
    """Whether a distribution of that name is here, in any version."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def installed() -> dict[str, str]:
    """The version of every distribution here, by its name."""
    versions: dict[str, str] = {}
    for found in metadata.distributions():
        name, version = found.metadata["Name"], found.metadata["Version"]
        if name and version:  # a broken installation can lack them
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)  # the first on the path is what Python imports
    return versions


if __name__ == "__main__":
    sys.exit(main())
