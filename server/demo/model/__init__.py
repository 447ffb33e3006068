"""The demo model: a few rules and no intelligence, behind the same HTTP that real models have.

`reading` makes a request into a conversation, `questions` and `queries` know which words ask for what, `deciding`
picks the next tool calls or the answer, `wording` puts results into sentences, `endpoint`, `chunks` and `serving` are
the HTTP.
"""
