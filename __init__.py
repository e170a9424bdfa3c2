"""tokenzoo: discrete tokenizers of images and audio behind one interface.

    import tokenzoo
    tok = tokenzoo.load("NAME")         # a registry name, a hub id "org/repo", or "file:FOLDER"
    tokens = tok.encode("photo.jpg")    # Tokens: ids int64 [B, K, L]
    picture = tok.decode(tokens)        # exactly the original's size

Nothing heavy is imported until it is used: `import tokenzoo` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .codecs.hooks import HOOKS
from .codecs.version import __version__ as __version__

if TYPE_CHECKING:
    from .codecs.families import build_tokenizer as build_tokenizer
    from .codecs.kinds import register as register
    from .codecs.quantizers import build as build_quantizer  # noqa: F401
    from .codecs.spec import AudioSpec as AudioSpec
    from .codecs.spec import ImageSpec as ImageSpec
    from .codecs.spec import TokenizerSpec as TokenizerSpec
    from .codecs.tokenizer import Tokenizer as Tokenizer
    from .codecs.tokens import Tokens as Tokens
    from .zoo.hub import load as load
    from .zoo.hub import save_pretrained as save_pretrained
    from .zoo.publishing.push import push_to_hub as push_to_hub
    from .zoo.registry import Card as Card
    from .zoo.registry import list_models as list_models
    from .zoo.writing import writable_layouts as writable_layouts

# public name -> (module, attribute)
_LAZY: dict[str, tuple[str, str]] = {
    "load": (".zoo.hub", "load"),
    "save_pretrained": (".zoo.hub", "save_pretrained"),
    "push_to_hub": (".zoo.publishing.push", "push_to_hub"),
    "writable_layouts": (".zoo.writing", "writable_layouts"),
    "list_models": (".zoo.registry", "list_models"),
    "Card": (".zoo.registry", "Card"),
    "Tokens": (".codecs.tokens", "Tokens"),
    "Tokenizer": (".codecs.tokenizer", "Tokenizer"),
    "TokenizerSpec": (".codecs.spec", "TokenizerSpec"),
    "AudioSpec": (".codecs.spec", "AudioSpec"),
    "ImageSpec": (".codecs.spec", "ImageSpec"),
    "build_tokenizer": (".codecs.families", "build_tokenizer"),
    "build_quantizer": (".codecs.quantizers", "build"),
    "register": (".codecs.kinds", "register"),
}

__all__ = ["__version__", *_LAZY]


def _later(name: str) -> Any:
    """The public function `name`, imported when it is called."""
    return lambda *args, **kwargs: __getattr__(name)(*args, **kwargs)


# methods of `Tokenizer` call them, and `codecs` imports nothing of `zoo`
HOOKS.update({name: _later(name) for name in ("load", "save_pretrained", "push_to_hub")})
HOOKS["read_network"] = lambda *args, **kwargs: importlib.import_module(".zoo.network_files", __name__).read_network(*args, **kwargs)
HOOKS["discriminator_files"] = lambda name: importlib.import_module(".zoo.hub", __name__).discriminator_files(name)  # not public
HOOKS["shipped_prior"] = lambda **by: importlib.import_module(".zoo.priors", __name__).shipped_prior(**by)  # not public


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module, __name__), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
