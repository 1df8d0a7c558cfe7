"""Every setting, with its default and its meaning. Read by `store.settings` from TOML and environment.

Models are frozen and refuse unknown keys: a typo in a config file is one clear line, not silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerConfig(_Section):
    """The vLLM server whose weights are live."""

    model: str = Field("smollm2", description="`smollm2` (embedded), a folder, or a Hugging Face name")
    url: str | None = Field(None, description="a server you started with our plugin; absent: we start one")
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535, description="0 takes a free port")
    arena: Path | None = Field(None, description="folder of the shared weights; absent: one under /dev/shm")
    max_model_len: int = Field(2048, ge=128)
    kv_cache_gib: int = Field(1, ge=1, description="CPU only: memory for the key-value cache")
    threads: int = Field(1, ge=1)
    start_timeout_s: float = Field(300.0, gt=0)
    extra_args: tuple[str, ...] = ()


class BusConfig(_Section):
    """The MQTT broker. No url means the embedded one (amqtt, loopback, generated credentials)."""

    url: str | None = Field(None, description="mqtt://user:password@host:port; absent: the embedded one")
    agent: str = Field("agent", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="id of this agent in topics")
    port: int = Field(0, ge=0, le=65535, description="port of the embedded broker; 0 takes a free one")


class SourceConfig(_Section):
    """Log files to follow, beside the bus."""

    watch: tuple[str, ...] = Field((), description="JSONL files or glob patterns")
    poll_s: float = Field(1.0, gt=0)


class LabelConfig(_Section):
    """When a label is sure enough to act on."""

    train_above: float = Field(
        0.9, ge=0, le=1, description="confidence from which `ignored` makes an example"
    )


class TrainingConfig(_Section):
    """The recipe of research: two corrections, one twin, one general replay a batch."""

    enabled: bool = True
    learning_rate: float = Field(2e-4, gt=0)
    warmup_steps: int = Field(3, ge=0)
    corrections_per_batch: int = Field(2, ge=1)
    uses_per_example: int = Field(4, ge=1, description="times each correction is trained on")
    start_after_examples: int = Field(8, ge=1, description="start a round when so many wait ...")
    start_after_s: float = Field(10.0, ge=0, description="... or when nothing new came for so long")
    max_decision_tokens: int = Field(64, ge=4, description="labelled tokens of a corrected answer")
    max_replay_tokens: int = Field(24, ge=4, description="labelled tokens of a twin or general answer")
    max_context_tokens: int = Field(1024, ge=32, description="a longer context loses its oldest turns")
    deviation_weight: float = Field(
        8.0, ge=1, description="weight of tokens that deviate from the rejected answer"
    )
    margin_weight: float = Field(0.5, ge=0)
    margin: float = Field(2.0, ge=0)
    kl_weight: float = Field(4.0, ge=0, description="weight of staying the base model on twins")
    replay_kl_weight: float = Field(8.0, ge=0, description="the same on general replay")
    rank: int | None = Field(64, ge=1, description="Apollo rank; absent: min(256, n // 4) per tensor")
    threads: int = Field(1, ge=1)
    nice: int = Field(10, ge=0, le=19)
    seed: int = 0


class GuardConfig(_Section):
    """Probes: how often, and how much worse is too much."""

    every_steps: int = Field(
        10, ge=1, description="steps between two probes; a passed probe is a durable version"
    )
    keep_versions: int = Field(5, ge=2)
    nll_increase: float = Field(0.05, gt=0, description="relative rise of general NLL that is a breach")
    facts_drop: float = Field(0.10, gt=0, description="fall of exact-match facts that is a breach")
    follow_drop: float = Field(
        0.34, gt=0, description="fall of the follow-rate of learned directions that is a breach"
    )
    kl_to_base: float = Field(
        0.5, gt=0, description="nats a token on the base's own answers that are a breach"
    )
    leak: float = Field(
        0.25, gt=0, description="the same under the worst of the agent's system turns, first tokens only"
    )
    z: float = Field(2.0, ge=0, description="a worsening must also be so many standard errors from zero")


class HttpConfig(_Section):
    """`/healthz`, `/readyz`, `/metrics` of the loop."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535, description="0 takes a free port")


class LogConfig(_Section):
    """What is written to stderr and `logs/`."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(_Section):
    """The whole configuration. Every key has a default: no file is needed to start."""

    home: Path | None = Field(None, description="state folder; absent: $XDG_STATE_HOME/heedloop")
    server: ServerConfig = ServerConfig()
    bus: BusConfig = BusConfig()
    source: SourceConfig = SourceConfig()
    labels: LabelConfig = LabelConfig()
    training: TrainingConfig = TrainingConfig()
    guard: GuardConfig = GuardConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
