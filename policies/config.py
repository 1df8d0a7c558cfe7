"""Every setting, with its default and its meaning. Read by `store.settings` from TOML and environment.

Models are frozen and refuse unknown keys: a typo in a config file is one clear line, not silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    start_timeout_s: float = Field(
        300.0, gt=0, description="for the server to be ready, and as much again for the learner"
    )
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
    ca_file: Path | None = Field(None, description="mqtts: who signed the broker")
    certificate: Path | None = Field(None, description="mqtts: the loop's own, for a broker that asks")
    key: Path | None = Field(None, description="its private key (PEM, mode 0600)")


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
    full_rate_uses: int = Field(
        16, ge=1, description="uses from which a round learns at the full rate; shorter ones at a part of it"
    )
    corrections_per_batch: int = Field(2, ge=1)
    uses_per_example: int = Field(4, ge=1, description="times each correction is trained on")
    reminder_share: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="of the corrections in a batch, the share that was learned in earlier rounds",
    )
    start_after_examples: int = Field(8, ge=1, description="start a round when so many wait ...")
    start_after_s: float = Field(10.0, ge=0, description="... or when nothing new came for so long")
    max_decision_tokens: int = Field(64, ge=4, description="labelled tokens of a corrected answer")
    max_replay_tokens: int = Field(24, ge=4, description="labelled tokens of a twin or general answer")
    max_context_tokens: int = Field(1024, ge=32, description="a longer context loses its oldest turns")
    deviation_weight: float = Field(
        8.0, ge=1, description="weight of tokens that deviate from the rejected answer"
    )
    objective: Literal["likelihood", "preference", "unpaired", "distillation", "stripping"] = Field(
        "likelihood", description="what is made of a correction (docs/objectives.md)"
    )
    preference_beta: float = Field(0.1, gt=0, description="of preference and unpaired")
    preference_likelihood: float = Field(
        0.5, ge=0, description="share of the corrected answer's likelihood beside preference"
    )
    reference: Literal["base", "version"] = Field(
        "base", description="of preference: the frozen base, or the weights when an example was met first"
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


class RehearsalConfig(_Section):
    """Further decision points that a correction is practised on; `aim = 0` turns it off."""

    aim: int = Field(
        18, ge=0, description="corrections of one rule and their rehearsals, together; fewer ones get more"
    )
    most: int = Field(9, ge=0, description="rehearsals of one correction")
    uses: int = Field(
        1,
        ge=1,
        description="times each rehearsal is trained on in a round of one rule; twice and three times as"
        " often in one of two and of more",
    )
    seconds: float = Field(
        60.0, gt=0, description="of asking the server before a round; then it trains on what there is"
    )
    at_once: int = Field(8, ge=1, le=64, description="requests under way at once")
    max_tokens: int = Field(96, ge=8, description="of an answer that is asked for")


_NAME = r"^(source:(mqtt|log|cli|http)|agent:.+|author:.+)$"
_PROVEN = r"^(source:(mqtt|log|cli|http)|agent:.+|author:[^@]+@.+)$"


class TrustConfig(_Section):
    """Whose corrections train: `trusted` as they come, `normal` within limits, `untrusted` once accepted.

    An author is what the sender says: write `author:NAME@AGENT` to trust one that a certain agent names.
    """

    trusted: tuple[Annotated[str, Field(pattern=_PROVEN)], ...] = Field(
        ("source:cli", "source:http"),
        description="source:mqtt|log|cli|http, agent:ID, or author:NAME@AGENT",
    )
    untrusted: tuple[Annotated[str, Field(pattern=_NAME)], ...] = Field(
        (), description="the same, or author:NAME; it wins over `trusted`"
    )
    default: Literal["auto", "trusted", "normal", "untrusted"] = Field(
        "auto",
        description="of all others; auto: trusted with the embedded broker, whose password only you have,"
        " and normal with bus.url",
    )
    quota: int = Field(100, ge=1, description="corrections of one author at `normal`; more are held")
    quota_agent: int = Field(
        100, ge=1, description="of all authors of one agent: raise it where several people share one"
    )
    quota_hours: float = Field(24.0, gt=0)
    author_share: float = Field(
        0.5, gt=0, le=1, description="of the last correction slots, while others wait, for an author or agent"
    )
    conversation_share: float = Field(0.5, gt=0, le=1, description="the same for one conversation")
    window: int = Field(40, ge=4, description="how many correction slots are the last")
    repeated: int = Field(
        3, ge=2, description="from so many equal answers of an agent to different questions all are held"
    )
    outlier: float = Field(
        6.0, gt=0, description="a loss or gradient so many deviations above the median is held"
    )
    outlier_after: int = Field(12, ge=4, description="... once there are so many to compare with")


class LimitConfig(_Section):
    """How much one sender may send. What is over is counted and kept as a dead letter, never dropped."""

    message_bytes: int = Field(8_388_608, ge=1024, description="size of one message on the bus")
    messages_per_minute: int = Field(60_000, ge=1, description="of one agent on the bus, as a mean")
    request_bytes: int = Field(1_048_576, ge=1024, description="size of one HTTP request")
    requests_per_minute: int = Field(600, ge=1, description="HTTP requests that change something; more: 429")


class GuardConfig(_Section):
    """Probes: how often, and how much worse is too much."""

    every_steps: int = Field(
        10, ge=1, description="steps between two probes; a passed probe is a durable version"
    )
    keep_versions: int = Field(5, ge=2, description="the newest versions; those with a tag are always kept")
    keep_daily: int = Field(7, ge=0, description="also the last version of each of so many days ...")
    keep_weekly: int = Field(4, ge=0, description="... and weeks that have one")
    keep_trainer_states: int = Field(
        2,
        ge=1,
        description="newest versions whose moments are kept; a rollback to another begins with fresh ones",
    )
    nll_increase: float = Field(0.05, gt=0, description="relative rise of general NLL that is a breach")
    facts_drop: float = Field(
        0.05, gt=0, lt=1, description="fall of exact-match facts, and multiple choice, that is a breach"
    )
    follow_drop: float = Field(
        0.15, gt=0, lt=1, description="fall of the follow-rate of learned directions that is a breach"
    )
    own_drop: float = Field(0.05, gt=0, lt=1, description="fall of the probes of your own that is a breach")
    repetition: float = Field(0.1, gt=0, description="rise of the share of repeated words that is a breach")
    length_change: float = Field(0.5, gt=0, description="relative change of answers' length that is a breach")
    entropy_change: float = Field(0.5, gt=0, description="relative change of the entropy that is a breach")
    kl_to_base: float = Field(
        0.5, gt=0, description="nats a token on the base's own answers that are a breach"
    )
    leak: float = Field(
        0.15, gt=0, description="the same under the worst of the agent's system turns, first tokens only"
    )
    checks_per_false_alarm: float = Field(
        1000.0, ge=1, description="a sound model is taken for worse once in so many checks, at most"
    )
    noise_checks: int = Field(2, ge=0, description="checks at the start that measure the noise of the probes")
    probes_file: Path | None = Field(None, description="YAML file with probes of your own (docs/probes.md)")
    cause_s: float = Field(20.0, ge=0, description="time to find which examples caused a breach; 0: all did")
    cause_share: float = Field(
        0.5, gt=0, le=1, description="share of the worst example's harm from which one is guilty, too"
    )
    backoff: float = Field(0.5, gt=0, le=1, description="factor on the learning rate after a breach")
    recovery: float = Field(2.0, ge=1, description="factor on it after each passed check, until it is whole")


class RetentionConfig(_Section):
    """How long things are kept. What a learned step, a correction or a label in force needs stays."""

    answers_days: float | None = Field(30.0, gt=0, description="the server's record of its answers")
    dead_letters_days: float | None = Field(90.0, gt=0)
    label_history_days: float | None = Field(90.0, gt=0, description="labels and votes that hold no longer")
    outbox_days: float | None = Field(30.0, gt=0, description="events that were published on the bus")
    commands_days: float | None = Field(
        90.0, gt=0, description="what answered commands asked and brought, prompts of steer too; ids stay"
    )
    offsets_days: float | None = Field(30.0, gt=0, description="places in log files that are gone")
    conversations_days: float | None = Field(
        180.0, gt=0, description="the text of conversations from which nothing was learned; ids stay"
    )
    every_s: float = Field(3600.0, gt=0, description="between two sweeps")
    batch: int = Field(200, ge=1, description="rows that one transaction removes at most")


class SteeringConfig(_Section):
    """The instant layer: vectors in the residual stream, for what the weights have not learned yet."""

    auto: bool = Field(False, description="make and switch on a vector for each corrected direction, at once")
    depth: float = Field(0.5, ge=0, le=1, description="at which part of the model's depth it is added")
    instant_nll: float = Field(
        1.12,
        gt=1,
        description="general NLL under an instant vector, in times of that without: it is made as strong as"
        " this allows",
    )
    most_pairs: int = Field(10, ge=1, description="newest corrections of a direction that make its vector")
    most_nll: float = Field(
        1.5, gt=1, description="general NLL under all vectors, at most so many times that without"
    )


class HttpConfig(_Section):
    """`/healthz`, `/readyz`, `/metrics` of the loop."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535, description="0 takes a free port")


class UiConfig(_Section):
    """The pages of `run.py ui`: the history, for a browser on this machine (extra `ui`)."""

    enabled: bool = Field(False, description="`up` runs them, too; `run.py ui` then prints their address")
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
    rehearsal: RehearsalConfig = RehearsalConfig()
    guard: GuardConfig = GuardConfig()
    trust: TrustConfig = TrustConfig()
    limits: LimitConfig = LimitConfig()
    retention: RetentionConfig = RetentionConfig()
    steering: SteeringConfig = SteeringConfig()
    http: HttpConfig = HttpConfig()
    ui: UiConfig = UiConfig()
    log: LogConfig = LogConfig()
