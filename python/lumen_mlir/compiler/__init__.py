# SPDX-License-Identifier: Apache-2.0
"""From a module of the ``lumen`` dialect to code: targets, the driver of the stages, signatures.

The order of the passes is in ``pipelines``. Imports ``formats``, ``ir``, ``passmanager``, ``pipelines``,
``storage`` and ``support``; knows no models.
"""
