# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with models from the hub."""

from lumen_mlir.errors import LumenError


class HubError(LumenError):
    """A name, a repository, a download or the hub's cache is not as expected."""
