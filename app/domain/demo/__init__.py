"""A made-up business: children's retail and wholesale in Greater Jakarta, of any size.

The business is drawn chunk by chunk of customers, each chunk from its own random stream, so that a
million customers need no more memory than ten thousand and the same options always give the same
bytes. Nothing here knows a database or a clock: the day on which history ends is an option.

`business.generate` is the way in. Times are UTC, money is in minor units of the rupiah (1/100).
"""
