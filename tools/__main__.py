"""``python -m tools COMMAND``: the commands behind the Makefile's targets for those who edit lessons."""

from __future__ import annotations

import argparse
import sys

from speaker_lib.utils.errors import SpeakerError

from . import commands
from .errors import ToolError
from .project import Project
from .site import site

COMMANDS = {
    "notebooks": (commands.notebooks, "make the committed notebooks and the README's figures anew (profile laptop)"),
    "check": (commands.check, "say what is wrong with the committed notebooks"),
    "lab": (commands.lab, "copy every lesson to build/lab, where JupyterLab opens it"),
    "smoke": (commands.smoke, "lay out every lesson in build/smoke, where nbval runs it"),
    "student": (commands.student, "make the student edition: build/student, and build/student.zip to hand out"),
    "release": (commands.release, "pack the finished runs of the lessons: build/finished-runs.tar.gz"),
    "house": (commands.draw_house, "draw the picture of the library anew"),
    "reference": (commands.write_reference, "write docs/reference.md anew"),
    "site": (site, "make the course's pages in both languages: build/site"),
    "audit": (commands.audit, "say which packages of constraints.txt have known holes"),
    "repository": (commands.repository, "give the course another address; every badge, cell and page follows"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools", description="Make and check the lessons.")
    adding = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, (_, help_text) in COMMANDS.items():
        added = adding.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        if name == "repository":
            added.add_argument("address", metavar="URL", help="https://github.com/OWNER/NAME")
        if name == "student":
            added.add_argument("--without-solutions", action="store_true", help="leave them out, for homework")
    options = vars(parser.parse_args(arguments))
    function, _ = COMMANDS[options.pop("command")]
    try:
        return function(Project.read(), **options)
    except (ToolError, SpeakerError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
