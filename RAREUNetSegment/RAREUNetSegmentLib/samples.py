"""The sample scans, which lie beside the extension's sources; the installed extension comes without them."""

from __future__ import annotations

from pathlib import Path

EXTENSION_FOLDER = Path(__file__).resolve().parent.parent
SAMPLE_FOLDER = EXTENSION_FOLDER.parent / "Resources" / "SampleData"
SAMPLE_SCANS = ("hippocampus_050", "hippocampus_230")


def sample_scan(name: str = SAMPLE_SCANS[0]) -> Path | None:
    """File of a sample scan; None where it is not present."""
    path = SAMPLE_FOLDER / f"{name}.nii.gz"
    return path if path.is_file() else None


def register_sample_scans() -> None:
    """Offers the present ones in the module Sample Data."""
    found = [path for path in map(sample_scan, SAMPLE_SCANS) if path is not None]
    if not found:
        return
    import SampleData

    for path in found:
        name = path.name.removesuffix(".nii.gz")
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="RAREUNet",
            sampleName=name,
            thumbnailFileName=str(EXTENSION_FOLDER / "Resources" / "Icons" / "RAREUNetSegment.png"),
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=name,
        )
