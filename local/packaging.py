"""The template as ``sam package`` would leave it: code in S3, everything else untouched but one bound.

Unlike ``sam build``, the layer holds this application's package only; its dependencies are installed in the interpreter
that runs the functions here, so nothing is downloaded and nothing is compiled for another machine.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def package(template: Path, bucket: str, upload: Callable[[str, bytes], object]) -> str:
    """Upload what the template refers to by path; returns a copy of it, as JSON, that refers to S3."""
    document: dict[str, Any] = yaml_parse(template.read_text(encoding="utf-8"))
    # Here waits are scaled down, and the settling time with them; its least value is for waits that take their time.
    document.get("Parameters", {}).get("SettlingSeconds", {}).pop("MinValue", None)
    for name, resource in document["Resources"].items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::Serverless::Function":
                upload(f"{name}.zip", zipped(template.parent / properties["CodeUri"]))
                properties["CodeUri"] = {"Bucket": bucket, "Key": f"{name}.zip"}
            case "AWS::Serverless::LayerVersion":
                upload(f"{name}.zip", zipped(template.parent / properties["ContentUri"], below="python"))
                properties["ContentUri"] = {"Bucket": bucket, "Key": f"{name}.zip"}
            case "AWS::Serverless::StateMachine":
                upload(f"{name}.json", (template.parent / properties["DefinitionUri"]).read_bytes())
                properties["DefinitionUri"] = {"Bucket": bucket, "Key": f"{name}.json"}
            case _:
                pass
    return json.dumps(document)


def zipped(folder: Path, below: str = "") -> bytes:
    """The folder's Python files as a zip, under ``below`` inside of it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(sources(folder)):
            entry = zipfile.ZipInfo(f"{below}/{file.relative_to(folder)}".lstrip("/"), EARLIEST)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED  # an entry of its own making does not inherit the archive's
            archive.writestr(entry, file.read_bytes())
    return content.getvalue()


def sources(folder: Path) -> Iterator[Path]:
    """What belongs into a zip: no caches, no lists of requirements."""
    return (file for file in folder.rglob("*") if file.suffix in {".py", ".typed", ".json"} and file.is_file())
