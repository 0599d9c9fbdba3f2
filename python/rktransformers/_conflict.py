# SPDX-License-Identifier: Apache-2.0
"""A warning if the distribution rk-transformers, which has the same import, is installed too."""

from __future__ import annotations

import os
import sys
from typing import Optional


def installed_beside() -> Optional[str]:
    """The folder of rk-transformers' metadata on sys.path, or None. Reads folder names only: importlib.metadata would take
    longer than all the rest of the import."""
    for place in sys.path:
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for name in names:
            if name.startswith("rk_transformers-") and name.endswith((".dist-info", ".egg-info")):
                return os.path.join(place, name)
    return None


def warn() -> None:
    found = installed_beside()
    if found is not None:
        import warnings

        warnings.warn(
            f"rk-transformers is installed too ({found}), whose import is rktransformers as well: which of the two is imported "
            "depends on what was installed last. Run `pip uninstall rk-transformers`, then `pip install --force-reinstall "
            "rkformer`",
            stacklevel=3,
        )
