"""What a spreadsheet makes of the texts in a CSV file."""

#: What makes it take a text for a formula; the last four are full-width.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
