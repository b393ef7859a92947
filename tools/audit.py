"""Whether the packages that CI installs have holes that are known, by pip-audit, where its sources can be reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PATIENCE = 300  # seconds


def known_holes(constraints: Path) -> tuple[list[str], str]:
    """A sentence for each known hole, and one that says how many packages were looked up, or why none could be."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", constraints, "--no-deps", "--disable-pip"]
    try:
        done = subprocess.run(
            [*command, "--format=json", "--progress-spinner=off"], capture_output=True, text=True, timeout=PATIENCE
        )
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"Audit SKIPPED: no answer after {PATIENCE} s, so nobody looked for known holes."
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return [], f"Audit SKIPPED: pip-audit could not ask anybody ({why})."
    known = [package for package in packages if "vulns" in package]
    if not known:
        return [], f"Audit SKIPPED: of {len(packages)} packages none could be looked up from here."
    holes = [
        f"{package['name']} {package['version']} has a known hole, {hole['id']}: raise it in {constraints.name} to "
        f"{' or '.join(hole['fix_versions']) or 'a version without it, once there is one'}."
        for package in known
        for hole in package["vulns"]
    ]
    return holes, f"Audit: {len(known)} of {len(packages)} packages looked up, {len(holes)} known holes."
