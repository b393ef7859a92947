#!/bin/sh
# Fetches open data: `data/download.sh [NAME] [TARGET]`, hw4 by default; --help says more. It needs Python, but no package.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
  echo "There is no Python 3.10 or later here: install it, then run this again." >&2
  exit 1
}
PYTHONPATH=$here/..${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m speaker_lib download --beside "$(dirname "$0")" "$@"
