"""LightGBM, loaded so that it shares a machine well.

Its OpenMP threads spin while they wait for each other. On cores that other processes use too, which is what a worker
pod's are, a thread then spins for a thread that is not running: measured on 2 busy cores, 57 s instead of 7 s for the
same 30 rounds. OpenMP reads its waiting policy once, when it is loaded, so it is set here, before.
"""

from __future__ import annotations

import os

from taxidask.errors import ModelError

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import lightgbm
except OSError as error:
    raise ModelError(
        f"LightGBM cannot be loaded: {error}", "install OpenMP's runtime, e.g. apt-get install libgomp1"
    ) from error

__all__ = ["lightgbm", "load_booster"]


def load_booster(text: str, features: list[str], what: str) -> lightgbm.Booster:
    """A booster of its text, checked against the features it will be given; `what` is how errors call it."""
    try:
        booster = lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError) as error:  # the latter for parameters that are none
        raise ModelError(f"{what} is no LightGBM model: {error}", "fit and save it again") from error
    if booster.feature_name() != features:
        raise ModelError(f"{what} looks at other features than its card says", "fit and save it again")
    return booster
