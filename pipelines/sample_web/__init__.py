"""A small world with perfect ground truth, served over real HTTP on loopback.

`write_pool` writes a table of URLs and captions and, apart from it, the truth; `SampleWebServer` serves the
pictures and the planted troubles. No network, no licence, no random outcome.
"""
