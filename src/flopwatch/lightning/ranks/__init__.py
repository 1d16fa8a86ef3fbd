"""All processes of a run: each publishes what it did, the first one reads what is there, and nobody waits for anybody.

`ranks` is what the session speaks with; `publishing` what a rank writes, `reading` how the first one adds it up,
`stopping` how all come to end at the same step, `marks` which steps have a record on every rank, `store` where it is.
"""
