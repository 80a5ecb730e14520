"""Views of runs: on a terminal, and as HTML pages that load nothing from elsewhere.

terminal          a run as it happens, and its cost
pages             HTML pages from templates, and charts
trajectory_page   the page of `sprint-sgl view`, with:
timeline          when each call ran
dag               the graph of a curated trace
model_text        model output as safe HTML
saved_replies     trajectories in saved replies of the server
"""
