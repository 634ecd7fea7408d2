#!/usr/bin/env bash
# pytest-xdist 3.8.0 passes over `xdist_group` under pytest 9.2.0, and says nothing.
#
# Expected: with `--dist loadgroup` tests of one group run in one process, so that what they share is made once.
# Seen (Python 3.11.7): the six tests of a group run in two processes with pytest 9.2.0, and in one with pytest 8.4.2.
# xdist writes the group behind a test's node id, in an attribute that pytest 9.2 no longer reads. Suites that start a
# cluster or a database once a group start one in each process, and tests of a group that must not overlap may do so.
#
#     bash findings/xdist_groups_are_passed_over.sh        # exits with 1 when that has changed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > test_group.py << 'PYTHON'
import os
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(6))
def test_of_the_group(number):
    time.sleep(0.2)
    with open("processes", "a") as file:
        file.write(f"{os.getpid()}\n")
PYTHON

python3 -m venv venv
processes() {
  venv/bin/pip install -q "pytest==$1" pytest-xdist==3.8.0
  rm -f processes
  venv/bin/python -m pytest -q -n 2 --dist loadgroup test_group.py > log
  sort -u processes | wc -l
}
old=$(processes 8.4.2) new=$(processes 9.2.0)
echo "processes that ran the group: $old with pytest 8.4.2, $new with pytest 9.2.0"
[ "$old" = 1 ] && [ "$new" = 2 ]
