"""The result as text for the panel."""

from __future__ import annotations

import html

from slicer.i18n import tr as _

from rareunet.bundle import Label
from rareunet.prediction import Prediction
from rareunet.wording import capital


def volumes_table(scan: str, prediction: Prediction) -> str:
    """HTML: the scan, a coloured row per structure with its volume, then what was done and what to know.

    Args:
        scan: its name; another one may be chosen by now.
        prediction: what the core found in it.
    """
    rows = "".join(_row(label, prediction.volumes_ml[label.name]) for label in prediction.labels)
    table = (
        '<table width="100%" cellpadding="3">'
        f'<tr><td></td><td><b>{_("Structure")}</b></td><td align="right"><b>{_("Volume (ml)")}</b></td></tr>'
        f"{rows}</table>"
    )
    warnings = "".join(f"<p>⚠ {_text(sentence)}</p>" for sentence in prediction.warnings)
    model = prediction.model
    what = _text(prediction.describe()).replace(" s.", "&nbsp;s.")  # the unit stays beside its number
    name = _("Model {name} {version}.").format(name=model["name"], version=model["version"])
    done = f"{what}<br>{html.escape(name)}"
    return f"<b>{html.escape(scan)}</b>{table}{warnings}<p>{done}</p>"


def _row(label: Label, volume_ml: float) -> str:
    color = "#{:02x}{:02x}{:02x}".format(*label.color)
    volume = f"{volume_ml:.2f}" if volume_ml else _("not found")
    return (
        f'<tr><td width="18"><font color="{color}">■</font></td>'
        f'<td>{_text(label.name)}</td><td align="right">{volume}</td></tr>'
    )


def _text(sentence: str) -> str:
    return html.escape(capital(sentence), quote=False)
