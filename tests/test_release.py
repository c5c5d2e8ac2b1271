# pytest tests/test_release.py
"""What a release says of itself in several places is the same everywhere (docs/release.md)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zsad_bench import registry

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_version_licence_and_date_are_said_once():
    assert (CITATION["version"], CITATION["license"]) == (PROJECT["version"], PROJECT["license"])
    head = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert head, "CHANGELOG.md begins with `## VERSION (DATE)`"
    assert head[1] == PROJECT["version"]
    date = CITATION.get("date-released", "unreleased")
    assert head[2] == str(date), "CITATION.cff has the date of the release, and none before it"


def test_the_citation_has_what_its_format_asks_for():
    """The required keys of the Citation File Format 1.2.0, and an author by name."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert all(author.get("name") or author.get("family-names") for author in CITATION["authors"])
    assert CITATION["type"] in ("software", "dataset")


def test_third_party_names_every_dependency():
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    named = {canonicalize_name(word) for word in re.findall(r"[\w.-]+", text)}
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() for line in lines]
    asked = {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *extras]}
    assert not asked - named - {canonicalize_name(PROJECT["name"])}


def test_third_party_names_every_method_and_every_file_of_sentences():
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    methods = [cls for cls in registry.classes("methods").values() if cls.paper]
    assert [cls.title for cls in methods if f"| {cls.title}" not in text and f", {cls.title}" not in text] == []
    files = sorted(path.name for path in (ROOT / "zsad_bench" / "prompts").glob("*.yaml"))
    assert [name for name in files if f"{name}`" not in text] == []
