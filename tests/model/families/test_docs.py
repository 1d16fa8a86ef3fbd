from pathlib import Path

from flopwatch.model.conventions import CONVENTIONS
from flopwatch.model.families import ARCHITECTURES

DOCS = Path(__file__).parents[3] / "docs"


def test_every_model_type_is_documented():
    models = (DOCS / "models.md").read_text()
    assert [name for name in ARCHITECTURES if f"`{name}`" not in models] == []
    assert f"[{len(ARCHITECTURES)} model types]" in (DOCS.parent / "README.md").read_text()


def test_every_convention_is_documented():
    conventions = (DOCS / "conventions.md").read_text()
    assert [name for name in CONVENTIONS if f"| `{name}` |" not in conventions] == []
