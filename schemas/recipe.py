"""The recipe: what the YAML may say, with every default.

Fields marked RUNTIME decide how fast and how a build runs, never its bytes; they are in no fingerprint.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.masks_config import MasksConfig
from schemas.rules import Rule
from schemas.synthesize import SynthesizeConfig

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class ColumnMap(StageConfig):
    """Which of the pool's columns is what. Unnamed columns are carried along as extra."""

    url: str = "url"
    caption: str = "caption"
    key: str | None = None
    """The source's own unique key; when named, sample_id is its hash instead of url + caption."""
    sha256: str | None = None
    boxes: str | None = None
    """list<struct{label, x, y, w, h}> in pixels, or the same as a JSON string: annotations or a detector's."""
    points: str | None = None
    """list<struct{label, x, y}> in pixels, or JSON; `masks` may be asked for with them."""
    texts: str | None = None
    """Lines of text in the picture, as OCR read them: list<struct{text, x, y, w, h}> in pixels, or JSON."""
    captions: str | None = None
    """Further captions of the same picture, for the teacher of `synthesize`: list<string>, or JSON."""
    language: str | None = None


class PoolConfig(StageConfig):
    """The input table."""

    paths: Annotated[list[str], RUNTIME, Field(min_length=1)]
    """Files, globs, folders or fsspec URLs; relative ones are relative to the recipe's folder. Where a
    pool lies decides nothing; what is in it does."""
    format: Literal["auto", "parquet", "csv", "tsv", "jsonl"] = "auto"
    """By file name when auto; `.gz` and `.zst` on top of any text format are understood."""
    columns: ColumnMap = ColumnMap()
    extra: bool = True
    """Carry the other columns to the shards' JSON."""
    part_rows: Positive = 2000


class ResizeConfig(StageConfig):
    """Resize on download. Meanings are those of img2dataset's Resizer; see its README, 'resize_mode'."""

    mode: Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"] = "border"
    size: Positive = 256
    only_if_bigger: bool = False
    format: Literal["jpg", "png", "webp"] = "jpg"
    quality: Annotated[int, Field(ge=0, le=100)] = 95
    """JPEG and WebP quality, or PNG compression 0–9."""
    upscale: Literal["nearest", "bilinear", "area", "cubic", "lanczos"] = "lanczos"
    downscale: Literal["nearest", "bilinear", "area", "cubic", "lanczos"] = "area"
    skip_reencode: bool = False
    min_size: Annotated[int, Field(ge=0)] = 0
    """Reject images whose shorter side is below this."""
    max_aspect: Annotated[float, Field(ge=1)] = 1e9

    @model_validator(mode="after")
    def _png(self) -> Self:
        if self.format == "png" and self.quality > 9:
            raise ValueError(f"quality is PNG's compression, 0-9, and not {self.quality}; write e.g. quality: 6")
        return self


class DownloadConfig(StageConfig):
    """Fetching from a web that is not trusted."""

    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 10.0
    """Longest pause without a byte."""
    total_timeout_s: Seconds = 30.0
    """Whole request, redirects excluded, retries excluded."""
    max_bytes: Positive = 20_000_000
    max_pixels: Positive = 100_000_000
    """Width × height from the header, before any decoding."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further tries after timeouts, connection errors, 408, 425, 429 and 5xx."""
    backoff_s: Annotated[float, Field(ge=0)] = 0.5
    """First pause; doubles each time. Retry-After wins when it is shorter than total_timeout_s."""
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 5
    allow_private: list[str] = []
    """Host patterns (`*.internal.example`) that may resolve to private, loopback or link-local addresses."""
    respect_robots_tag: list[str] = ["noai", "noimageai", "noindex", "noimageindex"]
    """X-Robots-Tag directives that reject (img2dataset's defaults). Empty: ignore the header."""
    user_agent_token: str = "pairmill"
    """Our name in `X-Robots-Tag: name: directive`; directives for other agents don't concern us."""
    verify_sha256: bool = True
    """Reject when the pool promises another sha256 than the bytes have."""
    verify_tls: bool = True
    user_agent: str = "Mozilla/5.0 (compatible; pairmill; +https://github.com/pairmill/pairmill)"
    resize: ResizeConfig | None = None
    """None: the original bytes, untouched."""
    concurrency: Annotated[int, RUNTIME, Field(gt=0, le=4096)] = 128
    """Transfers in flight per worker."""
    per_host: Annotated[int, RUNTIME, Field(gt=0)] = 8
    """Transfers in flight per host and worker."""
    resize_threads: Annotated[int, RUNTIME, Field(gt=0)] = 1
    """Threads per worker that resize, beside the one that fetches."""
    connect_to: Annotated[dict[str, str], RUNTIME] = {}
    """Host pattern → address[:port], as curl's --connect-to: for tests and proxies. The address is the user's own
    choice and is not checked; redirects are matched anew."""


class ImageConfig(StageConfig):
    """Facts about the image; has no settings."""


class CaptionConfig(StageConfig):
    """Facts about the caption; has no settings."""


class PdqConfig(StageConfig):
    """PDQ hash; has no settings."""


class ClipConfig(StageConfig):
    """CLIP embeddings and score through open_clip."""

    model: str
    """open_clip model name, `hf-hub:…`, or `local-dir:…` (relative to the recipe's folder)."""
    pretrained: str | None = None
    """open_clip tag or checkpoint path; null for hf-hub and local-dir."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on GPU, fp32 on CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_size: Positive = 64
    """Decisive: the batch shape changes the last bits of a matrix product."""
    threads: Positive = 1
    """Torch threads per worker. Decisive for the same reason."""


class MeasureConfig(StageConfig):
    """Which measures to take; a measure that is null is not taken."""

    image: ImageConfig | None = ImageConfig()
    caption: CaptionConfig | None = CaptionConfig()
    pdq: PdqConfig | None = None
    clip: ClipConfig | None = None


class NearConfig(StageConfig):
    """Near duplicates by PDQ. Defaults: ThreatExchange, pdq/README.md (match ≤ 31 of 256, discard quality ≤ 49)."""

    radius: Annotated[int, Field(ge=0, le=63)] = 31
    min_quality: Annotated[int, Field(ge=0, le=100)] = 50


class SemanticConfig(StageConfig):
    """Semantic duplicates by cosine of CLIP image embeddings (SemDeDup, arXiv 2303.09540)."""

    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.96


class DedupConfig(StageConfig):
    """Which links make a duplicate group."""

    exact: bool = True
    near: NearConfig | None = NearConfig()
    semantic: SemanticConfig | None = None


class SelectConfig(StageConfig):
    """Rules in order, and which member of a duplicate group survives."""

    rules: list[Rule] = []
    best: list[str] = []
    """SQL order terms, best first, e.g. `clip_score desc`; ties go to the smaller sample_id."""


class ShardConfig(StageConfig):
    """The shards."""

    max_samples: Positive = 10_000
    max_bytes: Positive | None = None
    """Close a shard before its image bytes exceed this."""
    seed: int = 0
    """Of the global shuffle."""
    val_share: Share = 0.0
    """Share of samples, by hash of sample_id, that go to val-*.tar."""


class EngineConfig(StageConfig):
    """How the build runs; decides no byte."""

    kind: Annotated[Literal["ray", "local"], RUNTIME] = "ray"
    workers: Annotated[int, RUNTIME, Field(ge=0)] = 0
    """Workers per stage; 0: as many as the CPUs (or GPUs) of the machine or cluster."""
    retries: Annotated[int, RUNTIME, Field(ge=0)] = 1
    """Further tries of a part whose stage raised."""
    address: Annotated[str | None, RUNTIME] = None
    """Ray cluster address; null starts Ray in this machine."""


class Recipe(StageConfig):
    """The whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pool: PoolConfig
    download: DownloadConfig = DownloadConfig()
    measure: MeasureConfig = MeasureConfig()
    dedup: DedupConfig | None = None
    select: SelectConfig = SelectConfig()
    masks: MasksConfig | None = None
    synthesize: SynthesizeConfig | None = None
    shards: ShardConfig = ShardConfig()
    engine: Annotated[EngineConfig, RUNTIME] = EngineConfig()
