"""Auctions a CPU second of rtbgym, run by an interpreter of its own: it needs NumPy 1, which Clearbid does not.

    python benchmarks/rtbgym_rival.py AUCTIONS VOLUME

Prints one JSON object. Nothing of Clearbid is imported. VOLUME is how many auctions a step of its environment has,
about: it draws them from a normal law. The multiplier is the same in all steps and the budget never binds.
"""

import importlib
import json
import sys
import time
from importlib.metadata import version


def main() -> None:
    auctions, volume = int(sys.argv[1]), int(sys.argv[2])
    gym = importlib.import_module("rtbgym")
    normal = importlib.import_module("rtbgym.utils").NormalDistribution
    world = gym.RTBEnv(
        step_per_episode=24,
        initial_budget=10**12,
        search_volume_distribution=normal(mean=volume, std=0.1 * volume, random_state=1),
        random_state=1,
    )
    world.reset()
    world.step(1.0)  # a first call is not timed
    done = impressions = 0
    began = time.process_time()
    while done < auctions:
        info = world.step(1.0)[-1]
        done += int(info["search_volume"])
        impressions += int(info["impression"])
    seconds = time.process_time() - began
    print(json.dumps({
        "auctions": done, "impressions": impressions, "cpu_s": seconds, "volume": volume,
        "versions": {name: version(name) for name in ("scope-rl", "numpy")},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
