"""Links of pages become links of the site; those that lead nowhere are warnings. `make docs` builds it all. Run: pytest THIS"""

import logging
from types import SimpleNamespace

import pytest
from page_blocks import ROOT

pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("not a checkout", allow_module_level=True)

from mkdocs.config import load_config
from mkdocs.structure.files import get_files


@pytest.fixture(scope="module")
def site():
    """The hooks, the settings and the files of `docs/`."""
    config = load_config(str(ROOT / "mkdocs.yml"))
    (hooks,) = [hook for name, hook in config.hooks.items() if name.endswith("site_hooks.py")]
    config.plugins._current_plugin = "test"
    return hooks, config, get_files(config)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "docs/load.md#find-one", "load.md#find-one"),
        ("corpus.md", "../../docs/security.md", "security.md"),
        ("api/quantizers.md", "../../codecs/quantizers/README.md", "../quantizers.md"),
        ("fine-tuning.md", "../configs/image/fine-tune.yaml", "files/configs/image/fine-tune.yaml"),
        ("load.md", "https://example.org/a", "https://example.org/a"),
    ],
)
def test_a_link_leads_to_the_page_or_to_a_copy(site, page, link, expected, caplog):
    hooks, config, files = site
    text = f"See [`x` of it]({link}), and `[not]({link})`.\n\n```text\n[no]({link})\n```\n"
    origin = {v: k for k, v in hooks.outside().items()}.get(page, f"docs/{page}")
    assert (ROOT / origin).is_file()
    hooks_page = SimpleNamespace(file=SimpleNamespace(src_uri=page, generated_by=None))
    with caplog.at_level(logging.WARNING):
        out = hooks.on_page_markdown(text, hooks_page, config, files)
    assert out == text.replace(f"[`x` of it]({link})", f"[`x` of it]({expected})") and not caplog.records


def test_a_link_to_nothing_and_a_broken_address_are_warnings(site, caplog):
    hooks, config, files = site
    page = SimpleNamespace(file=SimpleNamespace(src_uri="load.md", generated_by=None))
    with caplog.at_level(logging.WARNING):
        hooks.on_page_markdown("[a](nothing.md) [b](https://no_host) [c](coding.md)", page, config, files)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "docs/nothing.md, which is not there" in said[0] and "no address" in said[1]
