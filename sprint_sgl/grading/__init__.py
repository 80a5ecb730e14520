r"""Grading: is the answer that a model gives the same as the gold one?

extract     the answer in a model's text: boxes, tags, short final answers
prose       the answer in a sentence
notation    an answer, in LaTeX or plain, as tokens
reading     tokens as values: numbers, sets, intervals, equations, words (expressions: `expressions`; units: `units`)
comparing   two values: same, different, or undecided (numbers and expressions: `scalars`)
worker      processes that compare, each within its limits of time and memory

The rule: two texts are the same answer only if both were read whole. Whatever cannot be read, or not be decided, is
UNDECIDED: never right, reported apart, and a judge's business where there is one.
Paper, appendix A.4: Math-Verify with SymPy. Departure: math-verify reads what it recognises in a text, drops the rest,
and compares within an absolute tolerance, so that `4` is `4t` and 1/2006! is 1/2004!. Here its
parser reads the formulas that `expressions` does not know (sums, integrals, limits), whole or not at all.
"""
