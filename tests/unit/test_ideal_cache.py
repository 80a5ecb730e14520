"""Claims about the cache that benchmarks compare with, on cases that can be counted by hand."""

from __future__ import annotations

from benchmarks.ideal_cache import CacheRequest, PrefixTree, ideal_uncached


def request(prompt: list[int], reply: list[int], start: float, end: float) -> CacheRequest:
    return CacheRequest(prompt, reply, start, end, cached=0)


def test_a_tree_knows_what_it_was_given_and_its_beginnings() -> None:
    tree = PrefixTree()
    tree.insert([1, 2, 3])
    tree.insert([1, 2, 4])
    assert [tree.match(ids) for ids in ([1, 2], [1, 2, 4, 5], [2], [])] == [2, 3, 0, 0]


def test_a_reply_is_known_after_its_end_but_for_its_last_token() -> None:
    first = request([1, 2, 3], [4, 5], 0.0, 1.0)
    assert ideal_uncached([first, request([1, 2, 3, 4, 5, 6], [], 2.0, 3.0)]) == 3 + 2
    assert ideal_uncached([first, request([1, 2, 3, 4, 5, 6], [], 0.5, 3.0)]) == 3 + 3


def test_siblings_that_arrive_while_one_runs_share_its_prompt() -> None:
    siblings = [request([1, 2, 3, 10 + k], [], 0.1 * k, 9.0) for k in range(4)]
    assert ideal_uncached(siblings) == 4 + 1 + 1 + 1


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    assert ideal_uncached([request([1, 2], [], 0.0, 1.0), request([1, 2], [], 2.0, 3.0)]) == 2 + 1
