# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a hub on this machine."""

from own_hub import hub, hub_cache, hub_server

__all__ = ["hub", "hub_cache", "hub_server"]
