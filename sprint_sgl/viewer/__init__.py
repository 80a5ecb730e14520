"""A trajectory as a page that loads nothing: who wrote when, what waited for what, and all that was written.

    sprint-sgl view trajectory.json

`timeline` lays the calls out, `writing` turns model text into safe markup, `page` puts both into one file.
"""
