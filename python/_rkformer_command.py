# SPDX-License-Identifier: Apache-2.0
"""`rkformer` as pip installs it: the command that the wheel carries, in place of this process. A module of its own, so
that numpy is not loaded first."""
import os
import sys


def main() -> None:
    """Does not return."""
    here = os.path.dirname(os.path.abspath(__file__))
    command = os.path.join(here, "rkformer", "bin", "rkformer")
    if not os.path.isfile(command):
        sys.exit(
            "rkformer: this package was built without the command: install libmicrohttpd-dev, libcurl4-openssl-dev and "
            "libyaml-dev and build it again, or take a release wheel"
        )
    os.execv(command, ["rkformer", *sys.argv[1:]])
