"""Other ways to score the same rows: LightGBM by three of its calls, and compilers of its models where installed.

tl2cgen, treelite and lleaves are no dependencies. Where one cannot be imported, or does not run with the libraries
that are here, the table says so. Compiling takes tl2cgen and lleaves minutes for native categories, an hour for the
largest model, so that by default they get the small numeric one alone.
"""

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm as lgb
import numpy as np
from lightgbm.basic import _LIB, _safe_call
from numpy.typing import NDArray

from benchmarks.peers import SingleRowFast
from benchmarks.scorer_models import FEATURES, Trained

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]

_RAW_SCORE, _FLOAT64 = 1, 1


class Rival(NamedTuple):
    """A way to score: `score` takes float64[N, F], or is None and `why` says why.

    raw: whether it gives raw scores; else probabilities, and the largest difference is between those.
    """

    name: str
    score: Score | None
    why: str = ""
    raw: bool = True


def rivals(model: Trained, folder: Path, *, compiled: bool) -> list[Rival]:
    """All of them for one model.

    Args:
        model: trained. folder: for what compilers write.
        compiled: whether the compilers of models may take the time that they need.
    """
    booster = lgb.Booster(model_str=model.text)
    found = [
        Rival("Booster.predict", lambda rows: _array(booster.predict(rows, raw_score=True, num_threads=1))),
        Rival("C API PredictForMat", _for_mat(booster)),
        Rival("C API single-row fast", _single_rows(model.text)),
    ]
    path = folder / "model.txt"
    path.write_text(model.text)
    found.append(_tried("treelite GTIL", lambda: _treelite(path), raw=True))
    for name, make, raw in (("tl2cgen", _tl2cgen, True), ("lleaves", _lleaves, True)):
        found.append(
            _tried(name, lambda make=make: make(path, folder), raw=raw)
            if compiled
            else Rival(name, None, "not compiled: takes minutes, --compile-all")
        )
    return found


def _tried(name: str, make: Callable[[], Score], *, raw: bool) -> Rival:
    try:
        return Rival(name, make(), raw=raw)
    except ImportError:
        return Rival(name, None, "not installed")
    except Exception as error:  # noqa: BLE001 - whatever a rival raises is why it has no figures
        return Rival(name, None, f"does not run here: {type(error).__name__}: {str(error)[:80]}")


def _array(found: Any) -> Floats:
    return np.asarray(found, dtype=np.float64)


def _for_mat(booster: lgb.Booster) -> Score:
    length = ctypes.c_int64(0)
    handle = booster._handle  # noqa: SLF001 - there is no public way to the C API

    def score(rows: Floats) -> Floats:
        out = np.empty(len(rows))
        assert booster is not None, "the handle is its own"
        _safe_call(
            _LIB.LGBM_BoosterPredictForMat(
                handle, rows.ctypes.data_as(ctypes.c_void_p), _FLOAT64, ctypes.c_int32(len(rows)),
                ctypes.c_int32(rows.shape[1]), 1, _RAW_SCORE, 0, -1, b"num_threads=1", ctypes.byref(length),
                out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
            )
        )  # fmt: skip
        return out

    return score


def _single_rows(text: str) -> Score:
    fast = SingleRowFast([text], FEATURES)
    return lambda rows: _array(fast.scores(rows)[0])


def _treelite(path: Path) -> Score:
    import treelite

    model = treelite.frontend.load_lightgbm_model(path)
    return lambda rows: treelite.gtil.predict(model, rows, nthread=1, pred_margin=True).reshape(-1)


def _tl2cgen(path: Path, folder: Path) -> Score:
    import tl2cgen
    import treelite

    if shutil.which("gcc") is None:
        raise RuntimeError("there is no gcc")
    library = folder / "tl2cgen.so"
    model = treelite.frontend.load_lightgbm_model(path)
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8})
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows), pred_margin=True).reshape(-1)


def _lleaves(path: Path, _folder: Path) -> Score:
    import lleaves

    model = lleaves.Model(model_file=path)
    model.compile(raw_score=True)
    return lambda rows: _array(model.predict(rows, n_jobs=1))
