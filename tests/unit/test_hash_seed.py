"""Decisions do not depend on how Python orders its sets in one process or another."""

import os
import subprocess
import sys

from tests.support.tree import ROOT

PROGRAM = """
import hashlib
from random import Random
from tests.support.twins import market
from tests.support.twins import NOW_NS

digest = hashlib.sha256()
for seed in range(4):
    random = Random(seed)
    own = market(random, 5, scored=True)
    for answer in own.engine.decide(own.bodies(random, 12, scored=True), [0] * 12, NOW_NS):
        digest.update(answer.response + answer.decisions)
print(digest.hexdigest())
"""


def digest(seed: str) -> str:
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout


def test_decisions_are_the_same_bytes_under_another_hash_seed() -> None:
    assert digest("1") == digest("2")
