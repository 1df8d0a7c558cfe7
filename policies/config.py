"""Every setting, with its default and its meaning. Read by `store.settings` from TOML and environment.

Models are frozen and refuse unknown keys: a typo in a config file is one clear line, not silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from policies.prefix_cache import PrefixCache


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
    prefix_cache: PrefixCache = Field(
        "bounded",
        description="cached prefixes while learning: `salt` uses none of older weights, `bounded` some steps"
        " old but of the same version, `off` any (stale), `none` does not cache",
    )
    prefix_cache_steps: int = Field(4, ge=1, description="how many steps old under `bounded`, at most")
    threads: int = Field(1, ge=1)
    start_timeout_s: float = Field(300.0, gt=0)
    extra_args: tuple[str, ...] = ()


class ServingConfig(_Section):
    """How much the learner may slow the server down while there are requests."""

    max_slowdown: float = Field(0.05, gt=0, le=1, description="mean slowdown of the server by the learner")
    min_work: float = Field(0.5, gt=0, le=1, description="share of its time that the learner always works")
    starved_after_s: float = Field(60.0, gt=0, description="working at the minimum for so long is an alert")


class BusConfig(_Section):
    """The MQTT broker. No url means the embedded one (amqtt, loopback, generated credentials)."""

    url: str | None = Field(None, description="mqtt://user:password@host:port; absent: the embedded one")
    agent: str = Field("agent", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="id of this agent in topics")
    port: int = Field(0, ge=0, le=65535, description="port of the embedded broker; 0 takes a free one")


class SourceConfig(_Section):
    """Log files to follow, beside the bus."""

    watch: tuple[str, ...] = Field((), description="log files, folders of them, or glob patterns")
    poll_s: float = Field(1.0, gt=0)


class LabelConfig(_Section):
    """When a label is sure enough to act on."""

    label_above: float = Field(
        0.5, ge=0, le=1, description="confidence from which a verdict is given; below it is `unknown`"
    )
    train_above: float = Field(
        0.9, ge=0, le=1, description="confidence from which `ignored` makes an example"
    )
    meaning: Literal["auto", "off"] = Field(
        "auto",
        description="read next turns also by sentence vectors, where the extra `semantics` is installed",
    )


class JudgeConfig(_Section):
    """A judge model over an OpenAI-compatible endpoint; no say unless it passes its calibration set."""

    url: str | None = Field(None, description="like http://127.0.0.1:8001; absent: no judge")
    model: str = Field("judge", description="name of the model in requests")
    key_variable: str = Field(
        "OPENAI_API_KEY", description="environment variable with the key, where one is needed"
    )
    votes: int = Field(3, ge=1, le=15, description="requests for each direction; more than half must agree")
    timeout_s: float = Field(60.0, gt=0)


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
    scale: float | None = Field(
        None,
        gt=0,
        description="Apollo's scale; absent: sqrt(n / rank), steps as long as Adam's (the paper: 1)",
    )
    parameters: str = Field(
        "all", description="which learn: all but embeddings, queries, gates, or a pattern over their names"
    )
    gradients: Literal["auto", "whole", "in_backward"] = Field(
        "auto",
        description="in_backward holds one tensor's gradient at a time, for a second backward pass; "
        "auto: whole on a CPU",
    )
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
    serving: ServingConfig = ServingConfig()
    bus: BusConfig = BusConfig()
    source: SourceConfig = SourceConfig()
    labels: LabelConfig = LabelConfig()
    judge: JudgeConfig = JudgeConfig()
    training: TrainingConfig = TrainingConfig()
    guard: GuardConfig = GuardConfig()
    http: HttpConfig = HttpConfig()
    log: LogConfig = LogConfig()
