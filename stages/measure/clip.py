"""CLIP: image and text embeddings and their cosine, through open_clip.

Which model, where its weights lie and what they hash to: `clip_model`. What changes a last bit is fixed by the config
and is part of the identity: the batch cut, the threads, the precision, the kind of device, the libraries. The exact
GPU or CPU model is not: two machines of the same kind may differ in the last bit, and a build may move between them.
"""

import html
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from schemas.recipe import ClipConfig
from schemas.row import Row
from schemas.sample import ClipScore, Pair
from stages.base import Outcome, Resources
from stages.measure import clip_model
from stages.measure.base import MeasureReason, PixelMeasure
from stages.measure.decode import Decoded
from stages.torch_settings import TorchSettings, require_device

if TYPE_CHECKING:
    import torch

_CHARS_PER_TOKEN = 16
"""Text beyond context length × this is cut before tokenization: byte-pair encoding is quadratic in a word's length."""
_MOST_CACHED_WORDS = 200_000


class ClipMeasure(PixelMeasure):
    """Emits ClipScore. Preprocessing is the model's own open_clip transform; captions are cut by its own tokenizer.

    The special tokens' spellings (`<end_of_text>` …) are taken out of captions first: they would end the text early.
    """

    name: ClassVar[str] = "measure/clip"
    accepts: ClassVar[type[Row]] = Pair
    emits: ClassVar[type[Row]] = ClipScore

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config)
        self.clip = config
        # Decided here and carried along, so that a worker computes on what the fingerprint says.
        self.device = clip_model.device_kind(config.device)
        self.precision = clip_model.precision_on(self.device, config.precision)
        self.resources = Resources(cpus=config.threads, gpus=1.0 if self.device == "cuda" else 0.0)
        self._loaded: _Loaded | None = None
        self._identity: dict[str, Any] | None = None

    @property
    def cut(self) -> int:
        return self.clip.batch_size

    def open(self) -> None:
        if self._loaded is None:
            self._loaded = _Loaded(self.clip, self.device, self.precision)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.release()
            self._loaded = None

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length embeddings of any texts: float32, texts × dimensions; (0, 0) for none."""
        cut = self.clip.batch_size
        found = [self._model().embed_text(texts[i : i + cut]) for i in range(0, len(texts), cut)]
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    def pictures(self, looks: "Sequence[torch.Tensor]") -> np.ndarray:
        """Unit-length embeddings of what `look` gave: float32, pictures × dimensions; (0, 0) for none."""
        cut = self.clip.batch_size
        found = [self._model().embed_pictures(looks[i : i + cut]) for i in range(0, len(looks), cut)]
        return np.concatenate(found) if found else np.empty((0, 0), np.float32)

    def look(self, image: Decoded) -> "torch.Tensor":
        """The preprocessed image: float32, 3 × size × size."""
        from PIL import Image

        return self._model().transform(Image.fromarray(image.rgb))

    def gather(self, batch: pa.Table, looks: "Sequence[torch.Tensor]") -> Outcome:
        captions = batch["caption"].to_pylist()
        table = _empty_scores() if not captions else self._scores(batch, captions, looks)
        reason = [MeasureReason.MISSING_CAPTION if c is None else None for c in captions]
        return Outcome(table, pa.array(reason, pa.string()))

    def _scores(self, batch: pa.Table, captions: list[str | None], looks: "Sequence[torch.Tensor]") -> pa.Table:
        image, text = self._model().embed(looks, [c or "" for c in captions])
        score = np.einsum("ij,ij->i", image, text, dtype=np.float32)
        if not np.isfinite(score).all():
            bad = batch["sample_id"][int(np.argmin(np.isfinite(score)))].as_py()
            raise ArithmeticError(f"{self.clip.model} gives no finite embedding for sample {bad}")
        absent = np.array([c is None for c in captions])
        columns = {
            "sample_id": batch["sample_id"].combine_chunks(),
            "clip_score": pa.array(score, pa.float32(), mask=absent),
            "clip_image": _lists(image, absent),
            "clip_text": _lists(text, absent),
        }
        return pa.table(columns)

    def _model(self) -> "_Loaded":
        if self._loaded is None:
            raise RuntimeError("measure/clip is not open")
        return self._loaded

    def fetch_weights(self) -> None:
        """Bring weights named by tag or hub name into the local cache, so that `identity` can hash them."""
        clip_model.fetch(self.clip)
        self._identity = None

    def identity(self) -> dict[str, Any]:
        """Adds the sha256 of every model file, the precision, the kind of device, the libraries; hides paths.

        Imports torch only for built-in model names with a pretrained tag. Raises WrongRequest for an unknown model.
        """
        if self._identity is None:
            mine = super().identity()
            mine["config"] = {"batch_size": self.clip.batch_size, "threads": self.clip.threads}
            mine |= {"device": self.device, "precision": self.precision, "model": clip_model.describe(self.clip)}
            mine["libraries"] |= clip_model.libraries()
            self._identity = mine
        return self._identity


class _Loaded:
    """The model, its transform and its tokenizer on a device, and the torch settings to put back."""

    def __init__(self, config: ClipConfig, device: str, precision: str) -> None:
        import torch

        clip_model.check(config)
        require_device(device, "measure.clip", "clip.device")
        self._settings = TorchSettings(config.threads)
        self.device, self.dtype = device, torch.bfloat16 if precision == "bf16" else torch.float32
        self.model, self.transform, self.tokenizer = clip_model.load(config, device, precision)
        self._forbidden = _special_tokens(self.tokenizer)
        self._cached: dict[str, str] = dict(getattr(self.tokenizer, "cache", {}))
        self._longest = _CHARS_PER_TOKEN * (getattr(self.tokenizer, "context_length", None) or 77)

    def embed(self, looks: "Sequence[torch.Tensor]", captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Unit-length image and text embeddings, float32, rows × dimensions."""
        return self.embed_pictures(looks), self.embed_text(captions)

    def embed_pictures(self, looks: "Sequence[torch.Tensor]") -> np.ndarray:
        """Unit-length image embeddings, float32, rows × dimensions."""
        import torch
        from torch.nn.functional import normalize

        pixels = torch.stack(list(looks)).to(self.device, self.dtype)
        with torch.inference_mode():
            image = normalize(self.model.encode_image(pixels).float(), dim=-1)
        return image.cpu().numpy()

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Unit-length text embeddings, float32, rows × dimensions."""
        import torch
        from torch.nn.functional import normalize

        tokens = self.tokenizer([self.plain(t) for t in texts]).to(self.device)
        self._trim_cache()
        with torch.inference_mode():
            text = normalize(self.model.encode_text(tokens).float(), dim=-1)
        return text.cpu().numpy()

    def plain(self, caption: str) -> str:
        """The caption as the tokenizer may see it: not too long, without special tokens in any HTML disguise."""
        text = caption[: self._longest]
        if self._forbidden is None:
            return text
        bare = html.unescape(html.unescape(text))  # open_clip's tokenizers unescape twice
        return self._forbidden.sub(" ", bare) if self._forbidden.search(bare) else text

    def _trim_cache(self) -> None:
        """open_clip's own tokenizer remembers every word it ever saw; the web has too many."""
        cache: dict[str, str] = getattr(self.tokenizer, "cache", {})
        if len(cache) > _MOST_CACHED_WORDS:
            cache.clear()
            cache.update(self._cached)

    def release(self) -> None:
        import torch

        self._settings.restore()
        if self.device == "cuda":
            del self.model
            torch.cuda.empty_cache()


def _special_tokens(tokenizer: Callable[..., Any]) -> "re.Pattern[str] | None":
    """What spells a special token: `decoder` of open_clip's own tokenizer, `all_special_tokens` of Hugging Face's."""
    inner: Any = getattr(tokenizer, "tokenizer", tokenizer)
    ids = getattr(inner, "all_special_ids", [])
    spelled = getattr(inner, "all_special_tokens", None) or [inner.decoder[i] for i in ids]
    found = [re.escape(s) for s in spelled if s]
    return re.compile("|".join(found), re.IGNORECASE) if found else None


def _lists(embeddings: np.ndarray, absent: np.ndarray) -> pa.Array:
    rows, width = embeddings.shape
    flat = pa.array(embeddings.astype(np.float16).ravel(), pa.float16())
    offsets: Any = pa.array(np.arange(0, (rows + 1) * width, width, dtype=np.int32))
    lists: Any = pa.ListArray.from_arrays
    return lists(offsets, flat, mask=pa.array(absent))


def _empty_scores() -> pa.Table:
    return ClipScore.arrow_schema().empty_table()
