"""What a person sees: lines on a terminal, and pages that load nothing from anywhere.

`console` and `terminal` write to the terminal. `pages` renders HTML; `trajectory_page` is the viewer's page, with
`timeline` for when each call ran, `dag` for the graph of a curated trace, `model_text` for model output as safe HTML.
"""
