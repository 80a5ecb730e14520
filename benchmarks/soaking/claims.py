"""The claims of a soak: no request is lost, none is answered twice, and nothing grows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import theilslopes

from benchmarks.fuzzing.request_bodies import PATHS
from benchmarks.soaking.load import GOOD, LEFT, RequestOutcome
from benchmarks.soaking.machine import Kill, ProcessSample

WARM_UP = 0.25  # the first share of a process's life, in which growth is not measured
MIN_LIFE = 120.0  # seconds; growth is not measured over a shorter life
GROWTH = {"memory": 0.05, "threads": 0.0, "files": 0.0}  # allowed growth as a share of the level ...
SLACK = {"memory": 16 * 2**20, "threads": 4.0, "files": 8.0}  # ... plus bytes, threads and files
# The server's threads and files follow the load, so they are compared at rest.
MEASURED_UNDER_LOAD = {"server": ("memory",), "runtime": ("memory", "threads", "files")}
COUNTED_PATHS = {*PATHS, "/v1/models", "/v1/nothing"}  # the soak itself requests the others
NOTICE_LIMIT = 30.0  # seconds until the death of a runtime is noticed
MIN_CORRECT = 0.8  # share of answers: the shipped model reaches 95 %; an answer to another question is wrong


@dataclass(frozen=True)
class Claim:
    """A claim, whether it holds, and the figures behind it."""

    text: str
    holds: bool
    figures: str


def check_claims(
    outcomes: Sequence[RequestOutcome],
    metrics: str,
    samples: Sequence[ProcessSample],
    rests: Sequence[ProcessSample],
    kills: Sequence[Kill],
    log: str,
    left: int,
) -> list[Claim]:
    """Return all claims. `metrics` is the server's last metrics page, `left` the number of processes that outlived
    it."""
    deaths = [kill.noticed for kill in kills if not kill.loading]
    slowest = max((noticed for noticed in deaths if noticed is not None), default=0.0)
    return [
        *loss_claims(outcomes),
        *duplicate_claims(outcomes),
        *count_claims(outcomes, metrics),
        *(rest_claim(rests[0], rests[-1], name) for name in GROWTH if len(rests) > 1),
        *(growth_claim(life, name) for life in process_lives(samples) for name in MEASURED_UNDER_LOAD[life[0].who]),
        Claim(
            "every death of the runtime is noticed",
            None not in deaths and slowest <= NOTICE_LIMIT,
            f"{len(deaths) - deaths.count(None)} of {len(deaths)}; within {slowest:.1f} s",
        ),
        Claim("the server's log has no traceback", "Traceback" not in log, f"{len(log.splitlines())} lines"),
        Claim("no process is left behind", not left, f"{left} left"),
    ]


def loss_claims(outcomes: Sequence[RequestOutcome]) -> list[Claim]:
    """Check that every request ended as expected and every question was answered."""
    wrong = [outcome for outcome in outcomes if outcome.wrong or not outcome.statuses]
    good = [outcome for outcome in outcomes if outcome.kind in GOOD]
    answered = [outcome for outcome in good if outcome.answered]
    verdicts = [outcome.right for outcome in answered if outcome.right is not None]
    right, asked = sum(verdicts), len(verdicts)
    first = f"; {wrong[0].kind} {wrong[0].number}: {wrong[0].wrong}" if wrong else ""
    return [
        Claim("every request ends as expected", not wrong, f"{len(wrong)} of {len(outcomes):,} do not{first}"),
        Claim("every question is answered", 0 < len(answered) == len(good), f"{len(answered):,} of {len(good):,}"),
        Claim("answers are as often correct as usual", right >= MIN_CORRECT * asked, f"{right:,} of {asked:,}"),
    ]


def duplicate_claims(outcomes: Sequence[RequestOutcome]) -> list[Claim]:
    """Check that each answer belongs to its question, and comes once."""
    answered = [outcome for outcome in outcomes if outcome.answered]
    own = sum(outcome.question == outcome.shown for outcome in answered)
    ids, shown = {o.answer_id for o in answered}, {o.shown for o in answered}
    return [
        Claim("each answer belongs to its question", own == len(answered), f"{own:,} of {len(answered):,}"),
        Claim("no answer comes twice", len(ids) == len(shown) == len(answered), f"{len(ids):,} ids"),
    ]


def count_claims(outcomes: Sequence[RequestOutcome], metrics: str) -> list[Claim]:
    """Check the server's counts against the clients', except for clients that left before their answer."""
    ours = Counter(
        (o.path, status) for o in outcomes if o.path in COUNTED_PATHS for status in o.statuses if status > LEFT
    )
    theirs, finished, tokens, busy = server_counts(metrics)
    theirs = Counter({key: count for key, count in theirs.items() if key[0] in COUNTED_PATHS})
    gone = sum(LEFT in o.statuses for o in outcomes)
    leavers = sum(o.kind == "leaves" for o in outcomes)
    answered = [o for o in outcomes if o.answered]
    less = {key: (count, theirs[key]) for key, count in ours.items() if theirs[key] < count}
    more = sum(theirs.values()) - sum(ours.values())
    spent = sum(o.tokens for o in answered)
    return [
        Claim(
            "the server counted every answer", not less, f"{sum(ours.values()):,} answers; missing: {less or 'none'}"
        ),
        Claim(
            "the server counted no other answer", 0 <= more <= gone, f"{more} more, {gone} clients left before theirs"
        ),
        Claim(
            "the server's finished runs are the answered questions",
            len(answered) <= finished <= len(answered) + leavers,
            f"{finished:,} finished, {len(answered):,} answered, {leavers:,} clients that left",
        ),
        Claim(
            "the server's token count is that of the answers",
            tokens >= spent and (finished > len(answered) or tokens == spent),
            f"{tokens:,}",
        ),
        Claim("no run is left running or waiting", busy == 0, f"{busy:g}"),
    ]


def server_counts(metrics: str) -> tuple[Counter[tuple[str, int]], int, int, float]:
    """Return answers by path and status, finished runs, their tokens, and the runs that run or wait."""
    answers: Counter[tuple[str, int]] = Counter()
    finished = tokens = 0
    busy = 0.0
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            labels, value = sample.labels, int(sample.value)
            if sample.name == "sprint_answers_total":
                path = "/v1/nothing" if labels["path"] == "other" else labels["path"]
                answers[path, int(labels["status"])] += value
            elif sample.name == "sprint_seconds_count":
                finished += value
            elif sample.name == "sprint_tokens_total" and labels["kind"] == "total":
                tokens += value
            elif sample.name in ("sprint_running", "sprint_waiting"):
                busy += sample.value
    return answers, finished, tokens, busy


def process_lives(samples: Sequence[ProcessSample]) -> list[list[ProcessSample]]:
    """Return the samples of the server and of each runtime that lived long enough, without their warm-up."""
    found: Mapping[tuple[str, int], list[ProcessSample]] = defaultdict(list)
    for sample in samples:
        found[sample.who, sample.life].append(sample)
    kept = []
    for life in found.values():
        begun, ended = life[0].second, life[-1].second
        if ended - begun >= MIN_LIFE:
            kept.append([sample for sample in life if sample.second >= begun + WARM_UP * (ended - begun)])
    return kept


def growth_claim(life: Sequence[ProcessSample], name: str) -> Claim:
    """Check the growth over a life: the median slope (Theil-Sen) times the length."""
    values = [float(getattr(sample, name)) for sample in life]
    seconds = [sample.second for sample in life]
    length, level = seconds[-1] - seconds[0], median(values)
    grown = float(theilslopes(values, seconds).slope) * length
    return limited_growth(
        grown, level, name, f"no growth: {name} of {life[0].who} {life[0].life}", f"in {length:.0f} s"
    )


def rest_claim(before: ProcessSample, after: ProcessSample, name: str) -> Claim:
    """Check the growth of the server between its two rests."""
    level = float(getattr(before, name))
    return limited_growth(
        getattr(after, name) - level, level, name, f"no growth: {name} of the server at rest", "since then"
    )


def limited_growth(grown: float, level: float, name: str, text: str, when: str) -> Claim:
    """Return the claim that the growth is within GROWTH and SLACK."""
    allowed = GROWTH[name] * level + SLACK[name]
    unit, size = ("MiB", 2**20) if name == "memory" else (name, 1)
    figures = f"{grown / size:+.1f} {unit} {when} at {level / size:,.0f}; allowed: {allowed / size:.1f}"
    return Claim(text, grown <= allowed, figures)
