# SPDX-License-Identifier: Apache-2.0
"""What a text must be: grammars, and which tokens they allow next.

Imports ``support``; knows tokenizers only by what it asks of them. ``llguidance`` does the work, and is
imported when the first grammar is compiled.
"""
