"""The pages hold together: links lead somewhere, the index knows all, nothing names a machine."""

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from skein.settings import ClientSettings, Settings
from tests.architecture import documents

INDEX = documents.DOCS / "README.md"
PACKAGES = ("skein", "flight_server", "control_api", "schemas", "flight_core")
KINDS = ("tutorial", "how-to", "reference", "explanation")

every_page = pytest.mark.parametrize("page", documents.pages(), ids=documents.name)


@every_page
def test_links_lead_somewhere(page):
    broken = [link for link in documents.links(page) if not _leads_somewhere(page, link)]
    assert not broken


def _leads_somewhere(page, link):
    if re.match(r"[a-z]+:", link):
        return True  # elsewhere: nothing here reaches out to the internet
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in documents.anchors(target)


def test_the_index_has_every_page():
    listed = {(INDEX.parent / link.partition("#")[0]).resolve() for link in documents.links(INDEX)}
    missing = [page for page in documents.DOCS.rglob("*.md") if page != INDEX and page not in listed]
    assert not missing


def test_every_page_is_of_one_kind():
    folders = {page.relative_to(documents.DOCS).parts[0] for page in documents.DOCS.rglob("*/*.md")}
    assert folders == {*KINDS, "decisions"}


@every_page
def test_a_page_has_one_title(page):
    titles = re.findall(r"^# .+$", documents.prose(page), re.MULTILINE)
    assert len(titles) == 1
    assert documents.prose(page).lstrip().startswith(titles[0])


@every_page
def test_no_page_names_a_place_on_a_machine(page):
    text = page.read_text()
    assert str(documents.ROOT) not in text
    assert str(Path.home()) + "/" not in text
    assert not re.findall(r"(?<![\w.~$}])/(?:home|Users|root|tmp|var/folders)/\S+", text)


@every_page
def test_python_in_a_page_is_python(page):
    for language, code in documents.blocks(page):
        if language == "python":
            ast.parse(code)


@every_page
def test_what_a_page_imports_of_ours_exists(page):
    """But for the module that a page is about to add, which it names by its path."""
    missing = [
        f"{module}.{name}"
        for language, code in documents.blocks(page)
        if language == "python"
        for module, name in _ours(code)
        if f"`{module.replace('.', '/')}.py`" not in page.read_text() and not _exists(module, name)
    ]
    assert not missing


def _ours(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in PACKAGES:
            yield from ((node.module, alias.name) for alias in node.names)


def _exists(module, name):
    return find_spec(module) is not None and hasattr(import_module(module), name)


@every_page
def test_the_settings_that_a_page_names_exist(page):
    assert not _unknown_settings(page.read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_settings_that_messages_name_exist(package):
    sources = (documents.ROOT / package).rglob("*.py")
    unknown = {
        documents.name(path): names for path in sources if (names := _unknown_settings(path.read_text()))
    }
    assert not unknown


def _unknown_settings(text):
    named = set(re.findall(r"\bSKEIN_[A-Z0-9_]*[A-Z0-9]\b", text))
    fields = {*Settings.model_fields, *ClientSettings.model_fields}
    known = {f"SKEIN_{field.upper()}" for field in fields}
    return {name for name in named - known if not name.startswith("SKEIN_SECRET_")}  # as many as one likes


def test_the_licence_is_the_full_text_of_apache_2():
    text = (documents.ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    for number in range(1, 10):
        assert re.search(rf"^   {number}\. [A-Z]", text, re.MULTILINE)
