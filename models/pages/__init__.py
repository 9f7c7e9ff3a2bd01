"""One-file HTML pages: no script, nothing loaded, readable by eye, by keyboard and by a test.

markup   elements that escape what they hold
text     numbers as people read them
blocks   sections, tables, figures, the document
charts   inline SVG: rows of bars, lines over a plane
ranges   inline SVG: numbers with their intervals over one axis
write    a page as a file, refused before the work where it can not be
style    the one style sheet
"""
