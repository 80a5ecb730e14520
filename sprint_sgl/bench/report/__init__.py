"""The report of benchmark runs, and tables for the terminal.

`runs` reads folders into the records of each method; `figures` summarises and compares methods with `statistics`;
`findings` explains (stages, savings by length, causes of failures); `tables`, `charts`, `page` and `profiles` show.
"""
