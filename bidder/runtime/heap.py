"""Keeps the garbage collector out of the way of deadlines."""

import gc

_YOUNG = 50_000


def settle_heap() -> None:
    """Takes what is loaded by now out of the collector's sight, and lets it look less often.

    Call it once, when models, kernels and campaigns are loaded and before traffic comes. A full collection walks all
    that is alive: with models loaded that is tens of milliseconds, as long as a whole auction. Requests live
    and die in structs that the collector does not track.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)
