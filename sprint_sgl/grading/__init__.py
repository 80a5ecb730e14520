r"""Grading: is a model's answer the same as the gold answer?

extract     the answer in a model's text: boxes, tags, short final answers
prose       the answer in a sentence
notation    an answer, in LaTeX or plain text, as tokens
answer_parser   tokens as values: numbers, sets, intervals, equations, words (with `expressions`, `units`,
            `splitting` and `values`)
comparing   two values: same, different, or undecided (with `scalars`)
worker      processes that compare within limits of time and memory

The rule: two texts are the same answer only if both can be read completely. If a text cannot be read, or the
comparison cannot be decided, the match is UNDECIDED: never right, reported separately, and left to a judge if there
is one.
Paper, appendix A.4: Math-Verify with SymPy. Departure: Math-Verify reads the part of a text that it recognises, drops
the rest, and compares within an absolute tolerance, so that `4` equals `4t`, and 1/2006! equals 1/2004!. Here its
parser only reads complete formulas that `expressions` does not know (sums, integrals, limits).
"""
