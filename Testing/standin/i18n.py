"""slicer.i18n: no translation is loaded, so texts come back as they are (Slicer's
Base/Python/slicer/i18n.py).
"""

from __future__ import annotations


def translate(context: str, text: str) -> str:
    if not isinstance(context, str) or not isinstance(text, str):
        raise TypeError("translate(context, text) takes two strings")
    return text


def tr(text: str) -> str:
    return translate("", text)
