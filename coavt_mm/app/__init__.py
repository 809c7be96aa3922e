"""A page over a search index, in the browser: ``coavt app INDEX``.

``collection`` asks index and model, ``page`` lays out what is seen (``cards``: hits and
clips, ``points``: the map), ``files`` hands clips to players, ``guard`` stands before
all of it, ``serving`` starts it. Needs the extra ``app``.
"""
