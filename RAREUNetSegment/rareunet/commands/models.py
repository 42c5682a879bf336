"""`python -m rareunet models`, `verify`, `import-model` and `import-checkpoint`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rareunet.bundle import Bundle
from rareunet.errors import message_of
from rareunet.installed_models import installed_models
from rareunet.wording import times


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="NAME_OR_PATH",
        help="installed models or models' folders; none means all installed",
    )


def add_import_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zip", type=Path, metavar="FILE.zip", help="zip of a model's folder")


def add_import_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="FILE.pth", help="checkpoint of the published code")
    parser.add_argument(
        "--config", required=True, type=Path, metavar="config.yaml", help="the configuration saved beside it"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of the model to write; its name if not given"
    )
    parser.add_argument("--name", help="name of the model; from the data set's name if not given")
    parser.add_argument("--labels", metavar='"name,name"', help="names of the foreground classes 1, 2, ...")


def run_models(_: argparse.Namespace) -> int:
    """Prints the installed models; returns the exit code."""
    code = 0
    names = installed_models()
    if not names:
        print("There is no packaged and no imported model. Give a model's folder to `segment --model`.")
    for name in names:
        try:
            bundle = Bundle.load(name)
        except (ValueError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            code = 1
        else:
            print(describe(bundle))
            if name != bundle.name:
                print(f"  imported, called   {name}")
    return code


def describe(bundle: Bundle) -> str:
    """A model for a person, as lines of text."""
    spacing = times(reversed(bundle.reference_spacing_mm))
    lines = [
        f"{bundle.name} {bundle.version}  {bundle.title}",
        f"  structures         {', '.join(f'{label.value} {label.name}' for label in bundle.labels)}",
        f"  channels           {', '.join(bundle.channel_names)}",
        f"  reference spacing  {spacing} mm, entry depths 0 to {bundle.deepest}",
    ]
    if bundle.resolution_card:
        head = f"{'mean':>6}{'SD':>7}{'scans':>7}{'volume error %':>16}"
        lines.append(f"  {'expected Dice at':<24}{'R x A x S (mm)':<18}{head}")
    for row in bundle.resolution_card:
        size = times(reversed(row["spacing_mm"]))
        lines.append(
            f"  {row['condition']:<24}{size:<18}{row['dice_mean']:>6.3f}{row['dice_sd']:>7.3f}"
            f"{row['cases']:>7}{_signed(row.get('volume_error_percent_mean')):>16}"
        )
    return "\n".join(lines)


def _signed(percent: float | None) -> str:
    return "-" if percent is None else f"{round(percent):+d}"


def run_verify(arguments: argparse.Namespace) -> int:
    """Checks hashes and schema of models; returns the exit code."""
    names = arguments.models or installed_models()
    if not names:
        print("there is no installed model to verify: give a model's folder.", file=sys.stderr)
    good = bool(names)
    for name in names:
        try:
            sha256 = Bundle.load(name).sha256
        except (ValueError, OSError) as error:
            print(f"{name}: bad: {error}", file=sys.stderr)
            good = False
        else:
            print(f"{name}: good, SHA-256 of the weights {sha256}")
    return 0 if good else 1


def run_import_model(arguments: argparse.Namespace) -> int:
    """Puts a zipped model among the user's own; returns the exit code."""
    from rareunet.model_import import import_model

    try:
        folder = import_model(arguments.zip)
        model = describe(Bundle.load(folder))
    except (ValueError, OSError) as error:
        print(f"rareunet import-model: {message_of(error)}", file=sys.stderr)
        return 1
    print(f"{model}\nit lies in {folder}: choose it by `segment --model {folder.name}`")
    return 0


def run_import_checkpoint(arguments: argparse.Namespace) -> int:
    """Turns a checkpoint of the published code into a model; returns the exit code."""
    from rareunet.published_checkpoint import import_checkpoint

    labels = None if arguments.labels is None else [name.strip() for name in arguments.labels.split(",")]
    try:
        bundle = import_checkpoint(
            arguments.checkpoint, arguments.config, arguments.output, name=arguments.name, labels=labels
        )
    except (ValueError, OSError) as error:
        print(f"rareunet import-checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"{describe(bundle)}\nwritten to {bundle.folder}")
    return 0
