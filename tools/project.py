"""What the lessons need to know of the project, read from the one place where it stands: ``pyproject.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import ToolError

try:
    import tomllib
except ImportError:  # Python 3.10, where jupytext brings it
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")


@dataclass(frozen=True)
class Project:
    """A checkout of the course."""

    root: Path
    slug: str  # "OWNER/speaker-course", as GitHub, Colab and Kaggle name a repository
    tag: str  # the release that badges and bootstrap cells refer to

    @classmethod
    def read(cls, root: Path = ROOT) -> Project:
        """Raises ToolError if ``pyproject.toml`` gives no address on GitHub."""
        about = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return cls(root, slug_of(about.get("urls", {}).get("Repository", "")), f"v{about['version']}")

    @property
    def address(self) -> str:
        """Where the repository is cloned from."""
        return f"https://github.com/{self.slug}"

    @property
    def lessons(self) -> list[str]:
        """Their names in order, without endings, whichever half of a pair is there."""
        folder = self.root / "notebooks"
        return sorted({path.stem for ending in ("py", "ipynb") for path in folder.glob(f"[0-9]*.{ending}")})

    @property
    def translations(self) -> list[str]:
        """Lessons in other languages, ``zh-TW/01_baseline``: their prose is their own, their code is that of the lesson."""
        folder = self.root / "notebooks"
        return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/[0-9]*.py"))

    @property
    def notebooks(self) -> list[str]:
        """The lessons in every language, the English ones first."""
        return [*self.lessons, *self.translations]

    def path(self, lesson: str, ending: str) -> Path:
        """The ``py`` or the ``ipynb`` half of a lesson."""
        return self.root / "notebooks" / f"{lesson}.{ending}"


def slug_of(address: str) -> str:
    """``OWNER/NAME`` of an address on GitHub. Raises ToolError for any other: Colab opens notebooks from nowhere else."""
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise ToolError(f"{address!r} is not the address of a repository on GitHub: write it as https://github.com/OWNER/NAME.")
    return match[1]
