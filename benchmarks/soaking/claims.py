"""What must hold of a soak: nothing lost, nothing doubled, nothing that grows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import theilslopes

from benchmarks.fuzzing.bodies import PATHS
from benchmarks.soaking.load import GOOD, LEFT, Outcome
from benchmarks.soaking.machine import Kill, Sample

WARM_UP = 0.25  # of a life, before its growth is measured
SHORTEST = 120.0  # seconds of a life that is judged
GROWTH = {"memory": 0.05, "threads": 0.0, "files": 0.0}  # over the time measured, as a share of the level ...
SLACK = {"memory": 16 * 2**20, "threads": 4.0, "files": 8.0}  # ... and in bytes, threads and files beside it
# The server's threads and files follow the load, and end with it: they are compared at rest.
MEASURED = {"server": ("memory",), "runtime": ("memory", "threads", "files")}
COUNTED = {*PATHS, "/v1/models", "/v1/nothing"}  # the soak itself looks at the others
NOTICED = 30.0  # seconds until a death of the runtime is known
RIGHT = 0.8  # of all answers: the shipped model has 95 %; answers that went to other questions would be wrong


@dataclass(frozen=True)
class Claim:
    said: str
    holds: bool
    figures: str


def claims(
    outcomes: Sequence[Outcome],
    metrics: str,
    samples: Sequence[Sample],
    rests: Sequence[Sample],
    kills: Sequence[Kill],
    log: str,
    left: int,
) -> list[Claim]:
    """`metrics` is the server's own count at the end, `left` the processes that were still there after it."""
    deaths = [kill.noticed for kill in kills if not kill.loading]
    slowest = max((noticed for noticed in deaths if noticed is not None), default=0.0)
    return [
        *lost(outcomes),
        *doubled(outcomes),
        *counted(outcomes, metrics),
        *(rested(rests[0], rests[-1], name) for name in GROWTH if len(rests) > 1),
        *(growth(life, name) for life in lives(samples) for name in MEASURED[life[0].who]),
        Claim(
            "every death of the runtime is noticed",
            None not in deaths and slowest <= NOTICED,
            f"{len(deaths) - deaths.count(None)} of {len(deaths)}; after {slowest:.1f} s at most",
        ),
        Claim("the server's log has no traceback", "Traceback" not in log, f"{len(log.splitlines())} lines"),
        Claim("no process is left behind", not left, f"{left} left"),
    ]


def lost(outcomes: Sequence[Outcome]) -> list[Claim]:
    wrong = [outcome for outcome in outcomes if outcome.wrong or not outcome.statuses]
    good = [outcome for outcome in outcomes if outcome.kind in GOOD]
    answered = [outcome for outcome in good if outcome.answered]
    verdicts = [outcome.right for outcome in answered if outcome.right is not None]
    right, asked = sum(verdicts), len(verdicts)
    first = f"; {wrong[0].kind} {wrong[0].number}: {wrong[0].wrong}" if wrong else ""
    return [
        Claim("every request ends as it should", not wrong, f"{len(wrong)} of {len(outcomes):,} not{first}"),
        Claim("every question is answered", 0 < len(answered) == len(good), f"{len(answered):,} of {len(good):,}"),
        Claim("answers are right as often as ever", right >= RIGHT * asked, f"{right:,} of {asked:,}"),
    ]


def doubled(outcomes: Sequence[Outcome]) -> list[Claim]:
    answered = [outcome for outcome in outcomes if outcome.answered]
    own = sum(outcome.question == outcome.shown for outcome in answered)
    ids, shown = {o.answer_id for o in answered}, {o.shown for o in answered}
    return [
        Claim("each answer is to its own question", own == len(answered), f"{own:,} of {len(answered):,}"),
        Claim("no answer comes twice", len(ids) == len(shown) == len(answered), f"{len(ids):,} ids"),
    ]


def counted(outcomes: Sequence[Outcome], metrics: str) -> list[Claim]:
    """The server's count of its answers agrees with the clients', but for those who left before they had theirs."""
    ours = Counter((o.path, status) for o in outcomes if o.path in COUNTED for status in o.statuses if status > LEFT)
    theirs, finished, tokens, busy = server_counts(metrics)
    theirs = Counter({key: count for key, count in theirs.items() if key[0] in COUNTED})
    gone = sum(LEFT in o.statuses for o in outcomes)
    leavers = sum(o.kind == "leaves" for o in outcomes)
    answered = [o for o in outcomes if o.answered]
    less = {key: (count, theirs[key]) for key, count in ours.items() if theirs[key] < count}
    more = sum(theirs.values()) - sum(ours.values())
    spent = sum(o.tokens for o in answered)
    return [
        Claim(
            "the server has counted every answer", not less, f"{sum(ours.values()):,} answers; {less or 'none'} less"
        ),
        Claim("it has counted no other", 0 <= more <= gone, f"{more} more, {gone} clients left before an answer"),
        Claim(
            "runs that it finished are those that were answered",
            len(answered) <= finished <= len(answered) + leavers,
            f"{finished:,} finished, {len(answered):,} answered, {leavers:,} clients that left",
        ),
        Claim("their tokens, too", tokens >= spent and (finished > len(answered) or tokens == spent), f"{tokens:,}"),
        Claim("no run is left in a place or in the queue", busy == 0, f"{busy:g}"),
    ]


def server_counts(metrics: str) -> tuple[Counter[tuple[str, int]], int, int, float]:
    """Answers by path and status, finished runs, their tokens, runs under way and waiting."""
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


def lives(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples of the server, and of each life of the runtime that was long enough, without their warm-up."""
    found: Mapping[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.who, sample.life].append(sample)
    kept = []
    for life in found.values():
        begun, ended = life[0].second, life[-1].second
        if ended - begun >= SHORTEST:
            kept.append([sample for sample in life if sample.second >= begun + WARM_UP * (ended - begun)])
    return kept


def growth(life: Sequence[Sample], name: str) -> Claim:
    """The slope's median (Theil-Sen) over the life, times its length, against what is tolerated."""
    values = [float(getattr(sample, name)) for sample in life]
    seconds = [sample.second for sample in life]
    length, level = seconds[-1] - seconds[0], median(values)
    grown = float(theilslopes(values, seconds).slope) * length
    return grown_by(grown, level, name, f"no growth: {name} of {life[0].who} {life[0].life}", f"in {length:.0f} s")


def rested(before: Sample, after: Sample, name: str) -> Claim:
    """The server at rest after the soak against the server at rest before it."""
    level = float(getattr(before, name))
    return grown_by(getattr(after, name) - level, level, name, f"no growth: {name} of the server at rest", "since then")


def grown_by(grown: float, level: float, name: str, said: str, when: str) -> Claim:
    allowed = GROWTH[name] * level + SLACK[name]
    unit, size = ("MiB", 2**20) if name == "memory" else (name, 1)
    figures = f"{grown / size:+.1f} {unit} {when} at {level / size:,.0f}; {allowed / size:.1f} are allowed"
    return Claim(said, grown <= allowed, figures)
