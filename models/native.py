"""LightGBM itself, a row at a time: what scores a bundle whose compiled form did not prove equal.

The C API's fast call for single rows is bound once a model; the decision kernel calls it by its address
(`kernels.lightgbm_raw`), so that the choice between candidates, money and order stay where they are. It takes five to
seven microseconds a candidate and model of 100 trees, where the compiled form takes a tenth of one, and the kernel
ten times as long an opportunity: a worker then carries less, and what it cannot answer in time it does not answer.
"""

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import kernels
from models.errors import ArtifactError

# Of LightGBM's c_api.h.
_RAW_SCORE, _FLOAT64 = 1, 1
_PARAMETERS = b"num_threads=1 verbosity=-1"


class NativeModels:
    """Models as LightGBM loaded them, and what a kernel needs to call them.

    Attributes:
        handles: int64[M + 2]: address of the call, address of each model's prepared call, room for a length.
    """

    def __init__(self, model_texts: Sequence[str], n_features: int) -> None:
        """Loads models.

        Args:
            model_texts: as `Booster.model_to_string()` gives them.
            n_features: columns of a row.

        Raises:
            ArtifactError: LightGBM refuses a model.
        """
        self._library = _library()
        self.n_features = n_features
        function = self._library.LGBM_BoosterPredictForMatSingleRowFast
        calls = [self._prepare(text) for text in model_texts]
        addresses = [ctypes.cast(function, ctypes.c_void_p).value, *calls, 0]
        self.handles: NDArray[np.int64] = np.array(addresses, dtype=np.uint64).view(np.int64)

    @property
    def n_models(self) -> int:
        """Models loaded."""
        return len(self.handles) - 2

    def score_rows(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores float64[N, M] of rows float64[N, F], by the very call that the decision kernel makes."""
        out = np.empty((len(values), self.n_models))
        row = self.room()
        for place, given in enumerate(values):
            row[:-1] = given
            for m in range(self.n_models):
                out[place, m] = kernels.lightgbm_raw(self.handles, m, row)
        return out

    def room(self) -> NDArray[np.float64]:
        """float64[F + 1]: space for a row and its score, as `kernels.lightgbm_raw` takes it."""
        return np.zeros(self.n_features + 1, dtype=np.float64)

    def _prepare(self, text: str) -> int:
        """Loads one model and prepares its call; both are given back when this object is."""
        library = self._library
        booster, call, rounds = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
        self._insist(
            library.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(rounds), ctypes.byref(booster)
            )
        )
        weakref.finalize(self, library.LGBM_BoosterFree, booster)
        self._insist(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster, _RAW_SCORE, 0, -1, _FLOAT64, ctypes.c_int32(self.n_features), _PARAMETERS,
                ctypes.byref(call),
            )
        )  # fmt: skip
        weakref.finalize(self, library.LGBM_FastConfigFree, call)
        return call.value or 0

    def _insist(self, code: int) -> None:
        if code != 0:
            reason = self._library.LGBM_GetLastError().decode(errors="replace")
            raise ArtifactError(f"LightGBM must load the model, does not: {reason}")


def _library() -> Any:
    import lightgbm as lgb

    # The C API is public; only where the library was found is not.
    library = vars(lgb.basic)["_LIB"]
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library
