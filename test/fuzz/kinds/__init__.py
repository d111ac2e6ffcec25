# SPDX-License-Identifier: Apache-2.0
"""What is tried. Each module of this folder is a kind: ``fuzz.frame.Kind`` says what it holds."""
