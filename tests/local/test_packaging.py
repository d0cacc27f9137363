from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from local.packaging import package, zipped

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uploads() -> dict[str, bytes]:
    return {}


@pytest.fixture(scope="module")
def packaged(uploads: dict[str, bytes]) -> dict[str, object]:
    return dict(json.loads(package(ROOT / "template.yaml", "bucket", uploads.__setitem__)))


def names(content: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(content)).namelist()


def test_code_is_uploaded_and_referred_to(packaged: dict[str, object], uploads: dict[str, bytes]) -> None:
    text = json.dumps(packaged)
    assert '"CodeUri": {"Bucket": "bucket", "Key": "StartRekeyFunction.zip"}' in text
    assert '"DefinitionUri": {"Bucket": "bucket", "Key": "RotateMasterKey.json"}' in text
    assert "app.py" in names(uploads["StartRekeyFunction.zip"])
    assert json.loads(uploads["RotateMasterKey.json"])["StartAt"]


def test_layer_holds_the_package_below_python(packaged: dict[str, object], uploads: dict[str, bytes]) -> None:
    assert "Layer" in json.dumps(packaged)
    inside = names(uploads["Layer.zip"])
    assert "python/element_rekey/errors.py" in inside
    assert not [name for name in inside if "__pycache__" in name or not name.startswith("python/element_rekey/")]


def test_nothing_else_is_changed(packaged: dict[str, object]) -> None:
    text = json.dumps(packaged)
    for words in ('"Fn::GetAtt": ["Table", "Arn"]', '"SettlingSeconds"', '"DeletionPolicy": "Retain"', '"python3.13"'):
        assert words in text


def test_same_sources_make_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1")
    first = zipped(tmp_path)
    (tmp_path / "app.py").touch()
    assert zipped(tmp_path) == first
